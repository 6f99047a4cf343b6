"""A data set that takes no time to make."""

from pathlib import Path

import numpy as np

from diffworld.data import Dataset
from diffworld.game import ActionSpace, GameSpec


def noise_spec(num_actions: int = 3, height: int = 16, width: int = 16) -> GameSpec:
    """A recording of noise: no game can be made of it."""
    return GameSpec("atari/Noise", height, width, ActionSpace.discrete(num_actions))


def fill(path: Path, steps: int, num_actions: int = 3, height: int = 16, width: int = 16) -> Path:
    """One episode of noise, every other step rewarded; returns `path`."""
    rng = np.random.default_rng(steps)
    with Dataset.create(path, noise_spec(num_actions, height, width)) as dataset:
        number = dataset.new_episode()
        for t in range(steps):
            frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
            last = t == steps - 1
            dataset.append(number, frames[0], t % num_actions, float(t % 2), last, False, frames[1] if last else None)
    return path
