"""What was trained as one file, to be given away: a zip archive of data alone, and never unpacked to disk.

    diffworld.json        {"format": 1, "version": of the diffworld that wrote it}
    config.json           the configuration, without paths
    game.json             the GameSpec; a name that would import a module has lost it
    weights.safetensors   "network.name", floating point, not compressed
    starts.safetensors    windows that dreams start from: frames, has_frame, actions; and where they are known the
                          actions that followed, with their number
    LICENCE.txt           what others may do with it, where somebody said so

Reading trusts nothing. Other parts, shapes that do not fit the game, and parts that would unpack to more than they may
are refused; where a size tells, before anything is unpacked.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from diffworld import __version__
from diffworld.config import Config, config_from
from diffworld.game import GameSpec
from diffworld.runs.folder import CONFIG, GAME
from diffworld.runs.starts import MAX_STARTS, Window
from diffworld.runtime.checked import checked
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import atomic_file, encoded, parse_json

FORMAT = 1
ABOUT, WEIGHTS, STARTS, LICENCE = "diffworld.json", "weights.safetensors", "starts.safetensors", "LICENCE.txt"
MOST_PACKED = 300
"""Actions that followed a start, at most."""
LARGEST_TEXT = 2**20
"""Bytes of a part that is text."""
_PARTS, _OPTIONAL = (ABOUT, CONFIG, GAME, WEIGHTS, STARTS), (LICENCE,)
_HEAD = 2**16  # bytes that the description of tensors takes, at most, in a file of starts
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes


@dataclass(frozen=True)
class Packed:
    """What stands in such a file: weights by 'network.name', windows for dreams to start from."""

    config: Config
    spec: GameSpec
    weights: dict[str, Tensor]
    windows: Sequence[Window]
    licence: str = ""


def write_packed(packed: Packed, path: Path) -> None:
    """Write the file, whole or not at all; UserError if it cannot be written."""
    config = replace(packed.config, data="", init_from="", env=_harmless(packed.config.env))
    spec = replace(packed.spec, name=_harmless(packed.spec.name))
    windows = {
        "frames": np.stack([window.frames for window in packed.windows]),
        "has_frame": np.stack([window.has_frame for window in packed.windows]),
        "actions": np.stack([window.actions for window in packed.windows]),
        **_following(packed.windows),
    }
    parts = {
        ABOUT: json.dumps({"format": FORMAT, "version": __version__}).encode(),
        CONFIG: config.to_json().encode(),
        GAME: json.dumps(spec.to_json(), indent=2).encode(),
        WEIGHTS: safetensors.torch.save({name: tensor.contiguous() for name, tensor in packed.weights.items()}),
        STARTS: safetensors.numpy.save(windows),
        **({LICENCE: encoded(packed.licence)} if packed.licence else {}),
    }
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in parts.items():
            kind = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), data, kind)


def read_packed(path: Path) -> Packed:
    """Read such a file; UserError, one line, for anything else and for damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is no exported game, or damaged ({one_line(error)}): get it again") from error


def _read(archive: zipfile.ZipFile) -> Packed:
    parts = archive.infolist()
    names = [part.filename for part in parts]
    if odd := [name for name in names if name not in _PARTS + _OPTIONAL]:
        raise UserError(f"it holds {one_line(odd[0], 60)!r}, which no exported game does")
    if missing := [name for name in _PARTS if names.count(name) != 1] or [n for n in _OPTIONAL if names.count(n) > 1]:
        raise UserError(f"it has {names.count(missing[0])} parts called {missing[0]}")
    sizes = {part.filename: part.file_size for part in parts}
    for name in {*names} - {WEIGHTS, STARTS}:
        _check_size(name, sizes[name], LARGEST_TEXT)
    about = parse_json(archive.read(ABOUT), ABOUT)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        said = about.get("format") if isinstance(about, dict) else None
        raise UserError(f"it has format {one_line(said, 20)}, not {FORMAT}: use the diffworld that wrote it")
    config = config_from(parse_json(archive.read(CONFIG), CONFIG), CONFIG)
    checked(config)
    spec = GameSpec.from_json(parse_json(archive.read(GAME), GAME))
    n, an_action = config.context_frames, 8 if spec.actions.is_discrete else spec.actions.size
    a_window = n * (math.prod(spec.frame_shape) + 1 + an_action) + MOST_PACKED * an_action + 8
    _check_size(STARTS, sizes[STARTS], _HEAD + MAX_STARTS * a_window)
    stored = archive.getinfo(WEIGHTS)
    if stored.compress_type != zipfile.ZIP_STORED or stored.file_size != stored.compress_size:
        raise UserError(f"its {WEIGHTS} are compressed, which an export never does")
    try:
        windows = _windows(safetensors.numpy.load(archive.read(STARTS)), spec, n)
        weights = safetensors.torch.load(archive.read(WEIGHTS))
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"its tensors are damaged ({one_line(error)}): get it again") from error
    if bad := [
        name for name, tensor in weights.items() if not tensor.is_floating_point() or not tensor.isfinite().all()
    ]:
        raise UserError(f"its weights {one_line(bad[0], 60)} are no finite numbers")
    licence = archive.read(LICENCE).decode(errors="replace") if LICENCE in names else ""
    spec = replace(spec, name=_harmless(spec.name))
    return Packed(replace(config, data="", init_from="", env=_harmless(config.env)), spec, weights, windows, licence)


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise UserError(f"its {name} unpacks to {size:,} bytes, more than {most:,}")


def _windows(tensors: dict[str, NDArray[Any]], spec: GameSpec, n: int) -> list[Window]:
    """Windows of n frames; UserError for what is none of this game."""
    frames, has_frame, actions = (tensors[name] for name in ("frames", "has_frame", "actions"))
    count, size = len(frames), spec.actions.size
    shape, kind = ((count, n), np.int64) if spec.actions.is_discrete else ((count, n, size), np.uint8)
    expected = {"frames": ((count, n, *spec.frame_shape), np.uint8), "has_frame": ((count, n), np.bool_)}
    for name, (fits, dtype) in {**expected, "actions": (shape, kind)}.items():
        if tensors[name].shape != fits or tensors[name].dtype != dtype:
            raise UserError(f"its starts have {name} {tensors[name].dtype} {tensors[name].shape}, not {fits}")
    low, high = (int(actions.min()), int(actions.max())) if count else (0, 0)
    if not 1 <= count <= MAX_STARTS or low < 0 or high >= (size if spec.actions.is_discrete else 2):
        raise UserError(f"its {count:,} starts have actions from {low} to {high}, which the game does not have")
    if not has_frame[:, -1].all():
        raise UserError("its starts have no frame to begin with")
    later = _later(tensors, actions, size) or [actions[:0, 0]] * count
    windows = zip(frames, has_frame, actions, later, strict=True)
    return [Window(*each[:3], episode=place, following=each[3]) for place, each in enumerate(windows)]


def _following(windows: Sequence[Window]) -> dict[str, NDArray[Any]]:
    """What was done after each window, the shorter ones filled up with zeros, and how many actions that is."""
    known = np.array([min(len(window.following), MOST_PACKED) for window in windows], np.int64)
    longest, like = int(known.max(initial=0)), windows[0].actions
    following = np.zeros((len(windows), longest, *like.shape[1:]), like.dtype)
    for row, (window, count) in enumerate(zip(windows, known, strict=True)):
        following[row, :count] = window.following[:count]
    return {"following": following, "known": known} if longest else {}


def _later(tensors: dict[str, NDArray[Any]], actions: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """What was done after each window; nothing where the file does not say. UserError for what is none of this game."""
    if "following" not in tensors:
        return []
    following, known = tensors["following"], tensors["known"]
    fits = following.shape[:1] + following.shape[2:] == actions.shape[:1] + actions.shape[2:]
    if not fits or following.dtype != actions.dtype or known.shape != actions.shape[:1] or known.dtype != np.int64:
        raise UserError(f"its starts are followed by {following.dtype} {following.shape}, which does not fit them")
    most = 2 if actions.ndim == 3 else size
    if not ((known >= 0) & (known <= following.shape[1])).all() or not ((following >= 0) & (following < most)).all():
        raise UserError("its starts are followed by actions that the game does not have")
    return [each[:count] for each, count in zip(following, known.tolist(), strict=True)]


def _harmless(name: str) -> str:
    """A game's id without the module that would be imported for it: a file of somebody else must not choose one."""
    return f"gym/{name.rpartition(':')[2]}" if name.startswith("gym/") and ":" in name else name
