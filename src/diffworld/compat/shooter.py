"""The published shooter: its weights' sizes, and the places its dreams start from.

A starting place (`spawn`) is a folder of four arrays: full_res.npy (n, 3, H, W) and low_res.npy (n, 3, h, w) in RGB,
0 to 255, act.npy (n, A) with the actions on them, and next_act.npy (T, A) with those that came after.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffworld.compat.sizes import levels_of, tensor_size
from diffworld.config import Config, preset
from diffworld.game.counter_strike import ACTIONS
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError, one_line

ARRAYS = {"full_res": 4, "low_res": 4, "act": 2, "next_act": 2}
"""Files of a starting place, and how many axes each has."""
LARGEST_FILE = 2**28
"""Bytes of the largest array that is read."""


@dataclass(frozen=True, eq=False)
class Spawn:
    """A place where dreams start."""

    frames: NDArray[np.uint8]
    """(n, H, W, 3), the current one last."""
    actions: NDArray[np.uint8]
    """(n, A), taken on them."""
    following: NDArray[np.uint8]
    """(T, A), taken after them."""
    factor: int
    """How many times smaller, a side, the frames of its first stage are."""


def read_spawns(folder: Path) -> list[Spawn]:
    """The starting places in a folder, or the folder as one; UserError, one line, for what is none.

    Small frames are made anew of the large ones, as in training: the published ones have specks.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the folder of starting places, such as csgo/spawn, with --spawn")
    places = [folder] if (folder / "act.npy").exists() else sorted(each for each in folder.iterdir() if each.is_dir())
    if not places:
        raise UserError(f"{folder} has no starting places: it should hold folders with {', '.join(ARRAYS)}.npy each")
    spawns = [_read_spawn(place) for place in places]
    first = spawns[0]
    for place, spawn in zip(places, spawns, strict=True):
        if spawn.frames.shape != first.frames.shape or spawn.factor != first.factor:
            raise UserError(f"{place} has frames of {spawn.frames.shape}, not {first.frames.shape} as {places[0]}")
    return spawns


def _read_spawn(folder: Path) -> Spawn:
    arrays = {name: _read_array(folder / f"{name}.npy", axes) for name, axes in ARRAYS.items()}
    full, low, act, following = (arrays[name] for name in ARRAYS)
    count, _, height, width = full.shape
    factor = height // max(low.shape[2], 1)
    shapes = {
        "full_res": (count, 3, height, width),
        "low_res": (count, 3, height // max(factor, 1), width // max(factor, 1)),
        "act": (count, ACTIONS.size),
        "next_act": (len(following), ACTIONS.size),
    }
    for name, wanted in shapes.items():
        if arrays[name].shape != wanted or not count or factor < 2:
            raise UserError(f"{folder / name}.npy has shape {arrays[name].shape}; in such a place it is {wanted}")
    actions = [np.array([_action(folder, row) for row in rows], np.uint8) for rows in (act, following)]
    frames = np.ascontiguousarray(np.moveaxis(full, 1, -1).round().clip(0, 255)).astype(np.uint8)
    return Spawn(frames, actions[0], actions[1].reshape(-1, ACTIONS.size), factor)


def _read_array(path: Path, axes: int) -> NDArray[Any]:
    """Numbers as they are in the file; never anything that would have to be run."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path} is too large for a starting place")
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path} ({one_line(error)}): give the starting places as published") from error
    if not isinstance(array, np.ndarray) or array.ndim != axes or array.dtype.kind not in "fiub":
        raise UserError(f"{path} is no array of numbers with {axes} axes: give the starting places as published")
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds numbers that are not finite: it is damaged")
    return array


def _action(folder: Path, row: NDArray[Any]) -> Any:
    try:
        return ACTIONS.check(row)
    except UserError as error:
        raise UserError(f"{folder} has an action that is none of Counter-Strike's: {error}") from None


def imported_shooter(tensors: Mapping[str, Tensor], factor: int) -> Config:
    """The configuration of a run with published weights of both stages; UserError if they are none."""
    base = preset("csgo")
    # Beside its context a network is given the noisy frame, and the upsampler the small one too.
    denoiser = replace(base.denoiser, **_sizes(tensors, "denoiser", beside=1))
    upsampler = replace(base.upsampler, factor=factor, **_sizes(tensors, "upsampler", beside=2))
    config = read_as(Config, asdict(replace(base, denoiser=denoiser, upsampler=upsampler)), "published configuration")
    config.check_networks()
    return config


def _sizes(tensors: Mapping[str, Tensor], name: str, beside: int) -> dict[str, Any]:
    """The settings of a network that its tensors' shapes tell; all else is taken to be as published."""
    inner = f"{name}.inner_model"
    return {
        "context_frames": tensor_size(tensors, f"{inner}.conv_in.weight", 1) // 3 - beside,
        "cond_channels": tensor_size(tensors, f"{inner}.cond_proj.0.weight"),
        **levels_of(tensors, f"{inner}.unet.d_blocks"),
    }
