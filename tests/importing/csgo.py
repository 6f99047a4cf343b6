"""Counter-Strike's files as they are published, small: a few frames each, alone or in tars."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffworld.game.counter_strike import ACTIONS, FRAME_SIZE

Change = Callable[[Any], None]


def frames_of(count: int, seed: int) -> NDArray[np.uint8]:
    """(count, 150, 280, 3) RGB: sand below a sky that goes by, all different."""
    rng = np.random.default_rng(seed)
    height, width = FRAME_SIZE
    coarse = rng.integers(0, 60, (8, 15, 3)) + np.array([120, 90, 40.0])
    coarse[:3] = 110, 130, 140
    frames = []
    for number in range(count):
        moved = np.roll(coarse + number, number, axis=1).clip(0, 255).astype(np.uint8)
        frames.append(np.asarray(Image.fromarray(moved).resize((width, height), Image.Resampling.BICUBIC)))
    return np.stack(frames)


def actions_of(count: int, seed: int) -> NDArray[np.uint8]:
    """(count, 51) of the game."""
    return ACTIONS.sample(np.random.default_rng(seed), count)


def write_match(
    path: Path,
    count: int = 12,
    seed: int = 0,
    outcomes: Mapping[int, tuple[int, int]] | None = None,
    change: Change = lambda file: None,
    **options: Any,
) -> Path:
    """A file of `count` frames; `outcomes` are [kill, death] by frame; `change` does what it likes to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames, actions = frames_of(count, seed), actions_of(count, seed)
    with h5py.File(path, "w") as file:
        for place in range(count):
            file.create_dataset(f"frame_{place}_x", data=np.ascontiguousarray(frames[place][..., ::-1]), **options)
            file.create_dataset(f"frame_{place}_y", data=actions[place].astype(np.float64))
            file.create_dataset(f"frame_{place}_xaux", data=np.zeros(54))
            file.create_dataset(
                f"frame_{place}_helperarr", data=np.array((outcomes or {}).get(place, (0, 0)), np.float64)
            )
        change(file)
    return path


def write_tar(path: Path, members: Iterable[tuple[str, Path]]) -> Path:
    """A tar of files under those names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, file in members:
            data = file.read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
