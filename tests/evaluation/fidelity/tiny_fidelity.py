"""What the tests of fidelity share: films with a place for every number, small networks, a run folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from diffworld.config import Config, EnvironmentConfig
from diffworld.config.presets import preset
from diffworld.data import Dataset
from diffworld.evaluation.fidelity.starts import RealEpisode, Starts, draw_starts
from diffworld.recipes.networks import Networks, build_networks
from diffworld.runs.folder import Checkpoint, RunFolder

HEIGHT, WIDTH, ACTIONS = 16, 20, 4


def episode(number: int, steps: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> RealEpisode:
    """Noise of its own; the first pixel of frame t is (episode, t // 256, t % 256), and action t is t % ACTIONS."""
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (steps + 1, *size, 3), dtype=np.uint8)
    t = np.arange(steps + 1)
    frames[:, 0, 0] = np.stack([np.full_like(t, number), t // 256, t % 256], axis=1)
    ends = np.zeros(steps, bool)
    ends[-1:] = True
    rewards = rng.integers(-1, 2, steps).astype(np.float32)
    return RealEpisode(t[:-1] % ACTIONS, rewards, ends, lambda first, stop: frames[first:stop])


def some_starts(*lengths: int, count: int = 6, context: int = 4, horizon: int = 12) -> Starts:
    """Windows of noise episodes of these lengths."""
    episodes = [episode(i, length) for i, length in enumerate(lengths or (30, 9, 15))]
    return draw_starts(episodes, count, context, horizon, np.random.default_rng(0))


def tiny_config(env: str = "atari/Breakout") -> Config:
    """Networks of a few channels, as they come from their initialisation."""
    c = preset("demo")
    small = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}
    return replace(
        c,
        env=env,
        precision="float32",
        environment=EnvironmentConfig(height=HEIGHT, width=WIDTH, frame_skip=4),
        denoiser=replace(c.denoiser, **small, cond_channels=16),
        reward_end=replace(c.reward_end, **small, cond_channels=8, lstm_channels=16),
        actor_critic=replace(c.actor_critic, channels=(8, 8), pool=(True, True), lstm_channels=16),
    )


def tiny_networks(config: Config | None = None) -> Networks:
    """Random everywhere, also where training starts at zero, so that every input matters."""
    networks = build_networks(config or tiny_config(), ACTIONS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for _, network in networks.items():
        for p in network.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=generator)
    return networks


def make_run(path: Path, config: Config | None = None, replay_steps: int = 60) -> RunFolder:
    """A run folder with one checkpoint and a replay of noise."""
    config = config or tiny_config()
    run = RunFolder(path)
    run.begin(config)
    progress: dict[str, object] = {"progress": {"saves": 1}}
    if replay_steps:
        fill(run.replay, replay_steps)
        progress["replay_rows"] = replay_steps + 1
    run.save(1, Checkpoint(tiny_networks(config).tensors(), {}, progress), keep=1)
    return run


def fill(path: Path, steps: int, size: tuple[int, int] = (HEIGHT, WIDTH), num_actions: int = ACTIONS) -> None:
    """A data set of one ended episode."""
    real = episode(99, steps, size)
    frames = real.read_frames(0, steps + 1)
    with Dataset.create(path, (*size, 3), num_actions=num_actions) as dataset:
        number = dataset.new_episode() if steps else 0
        for t in range(steps):
            last = t == steps - 1
            final = frames[-1] if last else None
            dataset.append(number, frames[t], int(real.actions[t]), float(real.rewards[t]), last, False, final)
