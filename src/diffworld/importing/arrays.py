"""NumPy arrays (.npz, or .npy files in a folder), and folders of pictures with a log or an array of actions.

Arrays are read without `pickle`. Frames are streamed: of an archive one after the other, as they are unpacked.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from diffworld.game import MAX_ACTIONS, numbered
from diffworld.importing import log
from diffworld.importing.controls import Ints, Outcomes, Ticks, columns_of
from diffworld.importing.recording import (
    BadRecording,
    Footage,
    Recording,
    check_size,
    files_in,
    name_in,
    picked,
    picture,
    shrunk,
)
from diffworld.runtime.frames import Frame

PICTURES = frozenset(".png .jpg .jpeg .bmp .webp .ppm".split())
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
LARGEST_ARRAY = 2**30  # bytes of an array that is not frames
_BOMB = 2**30, 200  # an archive's part larger than this, and so many times larger than its packed form, is no recording
NAMES = {
    "frames": ("frames", "observations", "obs", "images"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminated": ("terminated", "terminations", "terminals", "dones", "done"),
    "truncated": ("truncated", "truncations", "timeouts"),
    "names": ("action_names", "names", "keys"),
}


@dataclass(frozen=True)
class Header:
    """What an array is, read from its first bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


class Arrays:
    """The arrays of an .npz archive or of the .npy files in a folder, by what they are (`NAMES`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.is_dir():
                self._parts: Mapping[str, Path | str] = {file.stem: file for file in sorted(path.glob("*.npy"))}
            else:
                with zipfile.ZipFile(path) as archive:
                    _check_sizes(archive)
                    self._parts = {name.removesuffix(".npy"): name for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise BadRecording(f"it is no archive of arrays ({error})") from error

    def has(self, what: str) -> bool:
        """Whether there is an array of that kind."""
        return any(name in self._parts for name in NAMES[what])

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._parts)

    def header(self, what: str) -> Header:
        """Shape and type of an array; BadRecording for Python objects, which would have to be executed."""
        with self._file(what) as file:
            return _header(file, what)

    def load(self, what: str) -> NDArray[Any]:
        """A whole array that is not frames."""
        header = self.header(what)
        if (size := math.prod(header.shape) * header.dtype.itemsize) > LARGEST_ARRAY:
            raise BadRecording(f"its {what} take {size / 2**30:.1f} GB, which no log of actions does")
        with self._file(what) as file:
            try:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
            except ValueError as error:
                raise BadRecording(f"its {what} end early") from error

    def frames(self, picks: Ints) -> Iterator[NDArray[Any]]:
        """The frames at those places (not decreasing); fewer if the file ends early."""
        with self._file("frames") as file:
            header = _header(file, "frames")
            size = math.prod(header.shape[1:])
            for data in picked(iter(lambda: file.read(size), b""), picks):
                if len(data) == size:
                    yield np.frombuffer(data, np.uint8).reshape(header.shape[1:])

    @contextmanager
    def _file(self, what: str) -> Iterator[IO[bytes]]:
        part = self._parts[next(name for name in NAMES[what] if name in self._parts)]
        try:
            if isinstance(part, Path):
                with part.open("rb") as file:
                    yield file
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(part) as member:
                    yield member
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise BadRecording(f"its {what} cannot be read ({error})") from error


def _check_sizes(archive: zipfile.ZipFile) -> None:
    for part in archive.infolist():
        large, packed = part.file_size > _BOMB[0], part.file_size > _BOMB[1] * max(part.compress_size, 1)
        if large and packed:
            size = f"{part.file_size / 2**30:.1f} GB from {part.compress_size / 2**20:.1f} MB"
            raise BadRecording(f"its part {part.filename[:60]!r} unpacks to {size}: that is no recording")


def _header(file: IO[bytes], what: str) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError, EOFError) as error:
        raise BadRecording(f"its {what} are no NumPy array") from error
    if dtype.hasobject:
        raise BadRecording(f"its {what} are Python objects, which could run code: save numbers or text")
    return Header(tuple(shape), dtype, fortran)


@dataclass(frozen=True)
class ArrayClip(Recording):
    """Frames and actions as arrays."""

    path: Path

    def open(self) -> Footage:
        """See `Recording`."""
        arrays = Arrays(self.path)
        header = arrays.header("frames")
        lay, count = _layout(header), header.shape[0]
        controls = _controls(arrays)

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            return (shrunk(lay(frame), size) for frame in arrays.frames(picks))

        height, width = lay(np.empty(header.shape[1:], np.uint8)).shape[:2]
        notes = [f"{count:,} frames, {len(controls.times):,} actions"]
        return Footage(np.arange(count, dtype=np.float64), False, (height, width), controls, read, notes)


def _layout(header: Header) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What turns one stored frame into (H, W, 3) or (H, W); BadRecording for arrays that are no frames."""
    shape = header.shape
    if header.dtype == np.uint8 and not header.fortran and len(shape) in (3, 4):
        if len(shape) == 3 or shape[3] == 1:
            check_size(*shape[1:3])
            return lambda frame: frame.reshape(shape[1:3])
        if shape[3] in (3, 4):
            check_size(*shape[1:3])
            return lambda frame: frame[..., :3]
        if shape[1] in (1, 3):
            check_size(*shape[2:])
            return lambda frame: np.ascontiguousarray(frame.transpose(1, 2, 0).squeeze())
    order = " in Fortran's order" if header.fortran else ""
    raise BadRecording(f"its frames are {header.dtype} {shape}{order}: give uint8 (T, H, W, 3)")


def _controls(arrays: Arrays) -> Ticks:
    """Actions, rewards and ends; the action i is the one taken on frame i."""
    if not arrays.has("actions"):
        raise BadRecording(f"it has no array 'actions', only {', '.join(arrays.names)[:200]}")
    actions = arrays.load("actions")
    told = {what: arrays.load(what).reshape(-1) for what in ("rewards", "terminated", "truncated") if arrays.has(what)}
    for what, values in told.items():
        if values.dtype.kind not in "biuf" or len(values) < len(actions):
            raise BadRecording(f"it has {len(values)} {what} of type {values.dtype} for {len(actions)} actions")
        told[what] = values[: len(actions)].astype(np.float64 if what == "rewards" else np.bool_)
    names = [str(name) for name in arrays.load("names").reshape(-1)] if arrays.has("names") else []
    return replace(ticks_of(actions, names), told=Outcomes(**told))


def ticks_of(actions: NDArray[Any], names: Sequence[str] = ()) -> Ticks:
    """Actions as ticks 0, 1, 2 and so on: whole numbers (T,) are one choice; zeros and ones (T, K) keys; other whole
    numbers (T, K) choices; any others axes. BadRecording for what is none of these.

    `names`: of the values of one choice, else of the K columns.
    """
    kind, width = actions.dtype.kind, actions.shape[1] if actions.ndim == 2 else 1
    if kind not in "biuf" or actions.ndim not in (1, 2) or not actions.size:
        raise BadRecording(f"its actions are {actions.dtype} {actions.shape}: give numbers (T,) or (T, K)")
    if width > MAX_ACTIONS:
        raise BadRecording(f"its actions have {width} columns")
    times, one = np.arange(len(actions), dtype=np.float64), width == 1 and kind in "iu"
    if not one and kind != "f" and np.isin(actions, (0, 1)).all():
        return Ticks(times, buttons={name: down == 1 for name, down in columns_of(actions, "key", names).items()})
    columns = columns_of(actions, "action", () if one else names)
    if kind == "f":
        return Ticks(times, axes={name: values.astype(np.float64) for name, values in columns.items()})
    choices = {name: values.astype(np.int64) for name, values in columns.items()}
    most = int(actions.max()) + 1
    labels = {
        name: tuple(names) if one and names else numbered(int(values.max()) + 1) for name, values in choices.items()
    }
    if actions.min() < 0 or most > MAX_ACTIONS or (one and most > len(labels["action"])):
        given = f", and have {len(names)} names" if one and names else ""
        raise BadRecording(f"its actions go from {actions.min()} to {actions.max()}{given}")
    return Ticks(times, choices=choices, labels=labels)


@dataclass(frozen=True)
class PictureClip(Recording):
    """A folder of pictures, in the order of their names' numbers, and a log or an array of actions in it or beside."""

    folder: Path
    actions: Path

    def open(self) -> Footage:
        """See `Recording`."""
        found = [path for path in self.folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file()]
        pictures = sorted(found, key=lambda path: _counted(path.stem))
        with picture(pictures[0], _FORMATS, pictures[0].name) as first:
            size = (first.height, first.width)
        times = np.arange(len(pictures), dtype=np.float64)
        if self.actions.suffix in log.SUFFIXES:
            controls, notes = log.read_log(self.actions).controls(times, clock=False)
        else:
            arrays = Arrays(self.actions if self.actions.suffix == ".npz" else self.actions.parent)
            controls, notes = _controls(arrays), []

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            for pick in picks:
                with picture(pictures[pick], _FORMATS, pictures[pick].name) as opened:
                    frame = shrunk(opened, size)
                yield frame

        return Footage(times, False, size, controls, read, [f"{len(pictures):,} pictures", *notes])


def _counted(stem: str) -> list[Any]:
    """What puts frame 2 before frame 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", stem)]


def find(source: Path) -> list[ArrayClip]:
    """The archives, and the folders that have arrays as files."""
    archives = [path for _, path in files_in(source, {".npz"}) if path.stem != "actions"]
    folders = [path.parent for _, path in files_in(source, {".npy"}) if path.stem in NAMES["frames"]]
    return [ArrayClip(name_in(source, path), path) for path in sorted({*archives, *folders} - {source.parent})]


def find_pictures(source: Path) -> list[PictureClip]:
    """The folders of pictures that have actions, a folder itself and those in it."""
    found = []
    for folder in sorted({path.parent for _, path in files_in(source, PICTURES)} - {source.parent}):
        around = (folder, folder.parent) if folder.name in NAMES["frames"] else (folder,)
        names = [f"actions{suffix}" for suffix in (".npy", ".npz", *log.SUFFIXES)]
        if actions := next((path for place in around for name in names if (path := place / name).is_file()), None):
            found.append(PictureClip(name_in(source, folder), folder, actions))
    return found
