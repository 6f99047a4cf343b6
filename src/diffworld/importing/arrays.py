"""NumPy arrays (.npz, or .npy files in a folder), and folders of pictures with a log or an array of actions.

Arrays are read without `pickle`. Frames are streamed: of an archive one after the other, as they are unpacked.
"""

from __future__ import annotations

import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffworld.importing import log
from diffworld.importing.controls import Ints, Outcomes, Ticks
from diffworld.importing.recording import BadRecording, Footage, check_size, shrunk
from diffworld.runtime.frames import Frame
from diffworld.spec import MAX_ACTIONS, numbered

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

    @property
    def bytes(self) -> int:
        """Of all its values."""
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays:
    """The arrays of an .npz archive or of the .npy files in a folder, by what they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.is_dir():
                there = {file.stem: file for file in sorted(path.glob("*.npy"))}
                self._parts: Mapping[str, Path | str] = there
            else:
                with zipfile.ZipFile(path) as archive:
                    self._check(archive)
                    self._parts = {name.removesuffix(".npy"): name for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise BadRecording(f"it is no archive of arrays ({error})") from error

    def has(self, what: str) -> bool:
        """Whether there is an array of that kind (`NAMES`)."""
        return any(name in self._parts for name in NAMES[what])

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._parts)

    def header(self, what: str) -> Header:
        """Shape and type of an array."""
        with self._file(what) as file:
            return _header(file, what)

    def load(self, what: str) -> NDArray[Any]:
        """A whole array that is not frames."""
        with self._file(what) as file:
            header = _header(file, what)
            if header.bytes > LARGEST_ARRAY:
                raise BadRecording(f"its {what} take {header.bytes / 2**30:.1f} GB, which no log of actions does")
            data = file.read(header.bytes)
        if len(data) < header.bytes:
            raise BadRecording(f"its {what} end early")
        return np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")

    def frames(self, picks: Ints) -> Iterator[NDArray[Any]]:
        """The frames at those places (not decreasing); fewer if the file ends early."""
        with self._file("frames") as file:
            header = _header(file, "frames")
            one = Header(header.shape[1:], header.dtype, False)
            shown, place = None, -1
            for pick in picks:
                while place < pick:  # an archive can only be read on and on
                    skipped = pick - place - 1
                    if skipped and not isinstance(file, zipfile.ZipExtFile):
                        file.seek(skipped * one.bytes, 1)
                        place += int(skipped)
                    data = file.read(one.bytes)
                    if len(data) < one.bytes:
                        return
                    shown, place = np.frombuffer(data, one.dtype).reshape(one.shape), place + 1
                assert shown is not None
                yield shown

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

    @staticmethod
    def _check(archive: zipfile.ZipFile) -> None:
        for part in archive.infolist():
            large, packed = part.file_size > _BOMB[0], part.file_size > _BOMB[1] * max(part.compress_size, 1)
            if large and packed:
                size = f"{part.file_size / 2**30:.1f} GB from {part.compress_size / 2**20:.1f} MB"
                raise BadRecording(f"its part {part.filename[:60]!r} unpacks to {size}: that is no recording")


def _header(file: IO[bytes], what: str) -> Header:
    """Read an array's first bytes; BadRecording for Python objects, which would have to be executed."""
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
class ArrayClip:
    """Frames and actions as arrays."""

    name: str
    path: Path

    def open(self) -> Footage:
        """See `Recording`."""
        arrays = Arrays(self.path)
        header = arrays.header("frames")
        lay = _layout(header)
        height, width = lay(np.empty(header.shape[1:], np.uint8)).shape[:2]
        controls = _controls(arrays, header.shape[0])

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            for frame in arrays.frames(picks):
                yield shrunk(lay(frame), size)

        notes = [f"{header.shape[0]:,} frames, {len(controls.times):,} actions"]
        return Footage(np.arange(header.shape[0], dtype=np.float64), False, (height, width), controls, read, notes)


def _layout(header: Header) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What turns one stored frame into (H, W, 3) or (H, W); BadRecording for arrays that are no frames."""
    shape = header.shape
    if header.dtype != np.uint8 or header.fortran or len(shape) not in (3, 4):
        order = " in Fortran's order" if header.fortran else ""
        raise BadRecording(f"its frames are {header.dtype} {shape}{order}: give uint8 (T, H, W, 3)")
    if len(shape) == 3 or shape[3] == 1:
        check_size(*shape[1:3])
        return lambda frame: frame.reshape(shape[1:3])
    if shape[3] in (3, 4):
        check_size(*shape[1:3])
        return lambda frame: frame[..., :3]
    if shape[1] in (1, 3):
        check_size(*shape[2:])
        return lambda frame: np.ascontiguousarray(frame.transpose(1, 2, 0).squeeze())
    raise BadRecording(f"its frames are {header.dtype} {shape}: give uint8 (T, H, W, 3)")


def _controls(arrays: Arrays, frames: int) -> Ticks:
    """Actions, rewards and ends; the action i is the one taken on frame i."""
    if not arrays.has("actions"):
        raise BadRecording(f"it has no array 'actions', only {', '.join(arrays.names)[:200]}")
    actions = arrays.load("actions")
    rest = {what: arrays.load(what).reshape(-1) for what in ("rewards", "terminated", "truncated") if arrays.has(what)}
    for what, values in rest.items():
        if values.dtype.kind not in "biuf" or len(values) < len(actions):
            raise BadRecording(f"it has {len(values)} {what} of type {values.dtype} for {len(actions)} actions")
    names = arrays.load("names") if arrays.has("names") else None
    ends = {what: rest[what][: len(actions)] != 0 for what in ("terminated", "truncated") if what in rest}
    rewards = rest["rewards"][: len(actions)].astype(np.float64) if "rewards" in rest else None
    told = Outcomes(rewards, ends.get("terminated"), ends.get("truncated"))
    given = [] if names is None else [str(name) for name in names.reshape(-1)]
    return replace(ticks_of(actions, given), told=told)


def ticks_of(actions: NDArray[Any], names: Sequence[str] = ()) -> Ticks:
    """Actions as ticks 0, 1, 2 and so on: whole numbers (T,) are one choice; zeros and ones (T, K) keys; other whole
    numbers (T, K) choices; any others axes. BadRecording for what is none of these.

    `names`: of the values of one choice, else of the K columns.
    """
    if actions.dtype.kind not in "biuf" or actions.ndim not in (1, 2) or not actions.size:
        raise BadRecording(f"its actions are {actions.dtype} {actions.shape}: give numbers (T,) or (T, K)")
    times = np.arange(len(actions), dtype=np.float64)
    columns = actions[:, None] if actions.ndim == 1 else actions
    whole = actions.dtype.kind != "f"
    if columns.shape[1] == 1 and whole and actions.dtype.kind != "b":
        numbers = columns[:, 0].astype(np.int64)
        labels = tuple(names) or numbered(int(numbers.max()) + 1)
        if numbers.min() < 0 or numbers.max() >= min(len(labels), MAX_ACTIONS):
            raise BadRecording(f"its actions go from {numbers.min()} to {numbers.max()}, and have {len(labels)} names")
        return Ticks(times, choices={"action": numbers}, labels={"action": labels})
    own = len(names) == columns.shape[1]
    called = (
        list(names) if own else ["action"] if columns.shape[1] == 1 else [f"action {i}" for i in range(len(columns[0]))]
    )
    if columns.shape[1] > MAX_ACTIONS:
        raise BadRecording(f"its actions have {columns.shape[1]} columns")
    if whole and np.isin(columns, (0, 1)).all():
        keys = called if own else [name.replace("action", "key") for name in called]
        return Ticks(times, {name: columns[:, i] == 1 for i, name in enumerate(keys)})
    if whole:
        if columns.min() < 0 or columns.max() >= MAX_ACTIONS:
            raise BadRecording(f"its actions go from {columns.min()} to {columns.max()}")
        choices = {name: columns[:, i].astype(np.int64) for i, name in enumerate(called)}
        counted = {name: numbered(int(values.max()) + 1) for name, values in choices.items()}
        return Ticks(times, choices=choices, labels=counted)
    return Ticks(times, axes={name: columns[:, i].astype(np.float64) for i, name in enumerate(called)})


@dataclass(frozen=True)
class PictureClip:
    """A folder of pictures, in the order of their names' numbers, and a log or an array of actions in it or beside."""

    name: str
    folder: Path

    def open(self) -> Footage:
        """See `Recording`."""
        pictures = pictures_in(self.folder)
        if not pictures:
            raise BadRecording("it has no pictures")
        with _picture(pictures[0]) as first:
            size = (first.height, first.width)
        times = np.arange(len(pictures), dtype=np.float64)
        source = actions_of(self.folder)
        if source is None:
            raise BadRecording("it has no actions beside its pictures: actions.npy, actions.jsonl or actions.csv")
        if source.suffix in log.SUFFIXES:
            controls, notes = log.read_log(source).controls(times, clock=False)
        else:
            arrays = Arrays(source if source.suffix == ".npz" else source.parent)
            controls, notes = _controls(arrays, len(pictures)), []

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            for pick in picks:
                with _picture(pictures[pick]) as picture:
                    frame = shrunk(picture, size)
                yield frame

        return Footage(times, False, size, controls, read, [f"{len(pictures):,} pictures", *notes])


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie in a folder itself, frame 2 before frame 10."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file()]
    return sorted(found, key=lambda path: [int(part) if part.isdigit() else part for part in _parts(path.stem)])


def actions_of(folder: Path) -> Path | None:
    """The file with the actions of a folder of pictures."""
    around = (folder, folder.parent) if folder.name in NAMES["frames"] else (folder,)
    names = [f"actions{suffix}" for suffix in (".npy", ".npz", *log.SUFFIXES)]
    return next((path for place in around for name in names if (path := place / name).is_file()), None)


def _parts(stem: str) -> list[str]:
    return re.split(r"(\d+)", stem)


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                check_size(picture.height, picture.width)
                yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadRecording(f"its picture {path.name} has too many pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadRecording(f"its picture {path.name} cannot be read ({' '.join(str(error).split())[:80]})") from error


def find(folder: Path) -> list[ArrayClip]:
    """The archives in a folder and the folders in it, and the folders that have arrays as files."""
    archives = [path for path in folder.rglob("*.npz") if path.is_file() and path.stem != "actions"]
    folders = [path.parent for name in NAMES["frames"] for path in folder.rglob(f"{name}.npy")]
    return [ArrayClip(_relative(path, folder), path) for path in sorted({*archives, *folders})]


def find_pictures(folder: Path) -> list[PictureClip]:
    """The folders of pictures that have actions, a folder itself and those in it."""
    folders = {path.parent for path in folder.rglob("*") if path.suffix.lower() in PICTURES}
    return [PictureClip(_relative(path, folder), path) for path in sorted(folders) if actions_of(path)]


def _relative(path: Path, folder: Path) -> str:
    return folder.name if path == folder else path.relative_to(folder).as_posix()
