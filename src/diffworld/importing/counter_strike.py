"""Counter-Strike as it is published: HDF5 files of 1000 frames with 51 numbers each, alone, in folders, or in tars.

Tars stay packed: an HDF5 file is read where it lies in them. So are frames: `frame_0_x` and its like are bytes at one
place of the file, so HDF5, which does one thing at a time, is asked for the places only.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from diffworld.game import Choice, GameSpec
from diffworld.game.counter_strike import ACTIONS, KEYS, STEPS_PER_SECOND, counter_strike
from diffworld.importing.controls import Ints, Outcomes, Ticks
from diffworld.importing.recording import (
    BadRecording,
    Footage,
    Recording,
    check_size,
    files_in,
    needs,
    shrunk,
)
from diffworld.runtime.frames import Frame

HDF5, TAR = ".hdf5", ".tar"
LOOKS = f"HDF5 files ({HDF5}) of Counter-Strike, or tars ({TAR}) of them"
MOST_FRAMES = 10**6
_TRIED = 3  # frames whose colours are looked at
_BLOCK = 512  # bytes, of a tar

Number = NDArray[np.float64]


@dataclass(frozen=True)
class Match(Recording):
    """One HDF5 file, which begins at a place of a file: its own, or a tar. `wrong` is what keeps it from being read."""

    channels: ClassVar[Literal["rgb", "bgr"]] = "bgr"
    path: Path
    begin: int = 0
    size: int = 0
    wrong: str = ""
    outcomes: bool = False

    @property
    def game(self) -> GameSpec:
        """See `Recording`."""
        return counter_strike()

    @property
    def file(self) -> Path:
        """See `Recording`."""
        return self.path

    def with_outcomes(self) -> Match:
        """See `Recording`."""
        return replace(self, outcomes=True)

    def open(self) -> Footage:
        """See `Recording`."""
        if self.wrong:
            raise BadRecording(self.wrong)
        with self._opened() as stored:
            frames = _Frames(stored)
            count, size = frames.count, frames.shape[:2]
            acted = stored.numbers("y", count, ACTIONS.size)
            helpers = stored.numbers("helperarr", count, 2) if self.outcomes else None
            first = frames.read(stored, 0)
        places = None
        if frames.places is not None:
            places = frames.places + self.begin
            with self.path.open("rb") as file:  # HDF5 says where; whoever wrote the file may have said otherwise
                if not np.array_equal(_at(file.fileno(), int(places[0]), frames.shape), first):
                    places = None
        ticks = _ticks(acted, helpers)

        def read(picks: Ints, into: tuple[int, int]) -> Iterator[Frame]:
            for frame in self._frames(frames, places, picks):
                yield shrunk(np.ascontiguousarray(frame[..., ::-1]), into)

        tried = np.linspace(0, count - 1, min(count, _TRIED)).astype(np.int64)
        notes = _colours(np.stack(list(read(tried, size))))
        return Footage(ticks.times, True, size, ticks, read, notes, places=places)

    def _frames(self, frames: _Frames, places: Ints | None, picks: Ints) -> Iterator[Frame]:
        """The frames at those places as they are stored."""
        if places is None:
            with self._opened() as stored:
                for pick in picks.tolist():
                    yield frames.read(stored, pick)
            return
        with self.path.open("rb") as file:
            for pick in picks.tolist():
                yield _at(file.fileno(), int(places[pick]), frames.shape)

    @contextmanager
    def _opened(self) -> Iterator[_Stored]:
        h5py = needs("h5py", "csgo")
        with self.path.open("rb") as file:
            size = self.size or os.fstat(file.fileno()).st_size
            with h5py.File(_Part(file.fileno(), self.begin, size), "r") as opened:
                yield _Stored(h5py, opened)


class _Part(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, descriptor: int, begin: int, size: int) -> None:
        self._descriptor, self._begin, self._size, self._place = descriptor, begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._place))
        data = os.pread(self._descriptor, wanted, self._begin + self._place)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)


class _Stored:
    """An HDF5 file that somebody else wrote: links to elsewhere, and arrays that lie elsewhere, are refused."""

    def __init__(self, h5py: Any, file: Any) -> None:
        self.h5py, self.file = h5py, file

    def column(self, place: int, what: str) -> Any:
        """The array of one frame, opened and not read. By way of h5py's lower half: there are thousands in a file."""
        name, h5, links = f"frame_{place}_{what}", self.h5py, self.file.id.links
        if not links.exists(name.encode()):
            raise BadRecording(f"{name} is missing")
        if links.get_info(name.encode()).type != h5.h5l.TYPE_HARD:
            raise BadRecording(f"{name} is a link to elsewhere")
        column = h5.h5o.open(self.file.id, name.encode())
        if not isinstance(column, h5.h5d.DatasetID) or self._lies_elsewhere(column.get_create_plist()):
            raise BadRecording(f"{name} is no array of this file")
        return column

    def _lies_elsewhere(self, made: Any) -> bool:
        return bool(made.get_layout() == self.h5py.h5d.VIRTUAL or made.get_external_count())

    def numbers(self, what: str, count: int, size: int) -> Number:
        """(count, size) the numbers of every frame."""
        found = np.zeros((count, size))
        for place in range(count):
            column = self.column(place, what)
            if column.shape != (size,) or column.dtype.kind not in "fiub":
                shape = "x".join(map(str, column.shape)) or "one"
                raise BadRecording(f"frame_{place}_{what} has {shape} numbers ({column.dtype}), not {size}")
            self.read(column, found[place])
        return found

    def read(self, column: Any, into: NDArray[Any]) -> None:
        """A whole array, into another one of its shape."""
        everything = self.h5py.h5s.ALL
        column.read(everything, everything, into)


class _Frames:
    """The frames of a file: how many (count), their shape (H, W, 3), and the places (count,) of their first bytes, None
    where HDF5 keeps them packed or in pieces."""

    def __init__(self, stored: _Stored) -> None:
        numbers = sorted(int(match[1]) for name in stored.file if (match := re.fullmatch(r"frame_(\d{1,9})_x", name)))
        self.count = len(numbers)
        if not numbers:
            some = ", ".join(list(stored.file)[:3])
            raise BadRecording(f"it has no frame_0_x{f', but {some}' if some else ''}: is it Counter-Strike's?")
        if numbers[-1] >= MOST_FRAMES:
            raise BadRecording(f"it has a frame {numbers[-1]:,}: no recording is so long")
        places = []
        for place in range(numbers[-1] + 1):
            column = stored.column(place, "x")
            if not place:
                self.shape: tuple[int, int, int] = column.shape
                if len(column.shape) != 3 or column.shape[2] != 3 or column.dtype != np.uint8:
                    raise BadRecording(f"frame_0_x is {column.dtype} {column.shape}, not uint8 (height, width, 3)")
                check_size(*self.shape[:2])
            elif column.shape != self.shape or column.dtype != np.uint8:
                raise BadRecording(f"frame_{place}_x is {column.dtype} {column.shape}, not uint8 {self.shape}")
            places.append(column.get_offset())
        self.places: Ints | None = None if None in places else np.array(places, np.int64)

    def read(self, stored: _Stored, place: int) -> Frame:
        """A frame, by way of HDF5."""
        frame = np.zeros(self.shape, np.uint8)
        stored.read(stored.column(place, "x"), frame)
        return frame


def _at(descriptor: int, place: int, shape: tuple[int, int, int]) -> Frame:
    """A frame from its place in a file; BadRecording if the file ends before."""
    data = os.pread(descriptor, int(np.prod(shape)), place)
    if len(data) != np.prod(shape):
        raise BadRecording("it ends early")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _ticks(acted: Number, helpers: Number | None) -> Ticks:
    """What was done on n frames, from the actions (n, 51) and perhaps kills and deaths (n, 2)."""
    keys, *axes = np.split(acted, np.cumsum([part.size for part in ACTIONS.parts])[:-1], axis=1)
    wrong = ~np.isin(acted, (0, 1)).all(axis=1) | np.any([axis.sum(axis=1) != 1 for axis in axes], axis=0)
    if wrong.any():
        said = f"zeros and ones, {len(KEYS)} of keys and one of each axis of the mouse"
        raise BadRecording(f"frame_{int(np.argmax(wrong))}_y is no action of the game: {ACTIONS.size} {said}")
    choices = [part for part in ACTIONS.parts if isinstance(part, Choice)]
    told = Outcomes()
    if helpers is not None:
        told = Outcomes(helpers[:, 0], helpers[:, 1] > 0)
    return Ticks(
        np.arange(len(acted)) / STEPS_PER_SECOND,
        told,
        buttons={name: keys[:, place] > 0 for place, name in enumerate(KEYS)},
        choices={part.name: axis.argmax(axis=1) for part, axis in zip(choices, axes, strict=True)},
        labels={part.name: part.values for part in choices},
    )


def _colours(frames: NDArray[np.uint8]) -> list[str]:
    """A word where frames are more blue than red, which no map of the published ones is."""
    red, _, blue = frames.mean(axis=(0, 1, 2))
    if blue <= red + 1:
        return []
    return [f"more blue ({blue:.0f}) than red ({red:.0f}): if sand looks blue, the file has RGB where BGR is published"]


def find(source: Path) -> list[Match]:
    """The HDF5 files at a path, in the order of their numbers; a tar that is damaged counts as one."""
    found: list[Match] = []
    for name, path in files_in(source, (HDF5, TAR)):
        found += _in_tar(name, path) if path.suffix.lower() == TAR else [Match(name, path)]
    return sorted(found, key=_order)


def _order(match: Match) -> tuple[float, str]:
    number = re.search(r"_(\d{1,15})\.\w+$", match.name)
    return (float(number[1]) if number else float("inf")), match.name


def _in_tar(name: str, path: Path) -> list[Match]:
    """The HDF5 files in a tar, and one more that says what is wrong with it; nothing of a tar of other things."""
    found, others, wrong = list[Match](), 0, ""
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(HDF5):
                    found.append(_member(name, path, member, size))
                others += not member.isdir()
            end = tar.offset
        with path.open("rb") as file:  # tarfile takes a damaged header for the end
            if any(os.pread(file.fileno(), _BLOCK, end)):
                wrong = f"it is damaged after {len(found):,} files"
    except (tarfile.TarError, OSError, EOFError) as error:
        wrong = f"it is no whole tar ({error}); {len(found):,} files are before that"
    if not others and not wrong:
        wrong = "it is empty"
    return found + ([Match(name, path, wrong=f"{wrong}: fetch it again")] if wrong else [])


def _member(name: str, path: Path, member: tarfile.TarInfo, size: int) -> Match:
    """A file in a tar of `size` bytes."""
    inside, wrong = PurePosixPath(member.name), ""
    if inside.is_absolute() or ".." in inside.parts:
        wrong = "its path leads out of the tar: such a tar was made to do harm"
    elif member.issparse():
        wrong = "it is stored with gaps: unpack the tar"
    elif member.offset_data + member.size > size:
        wrong = "the tar ends within it: fetch the tar again"
    return Match(f"{name}/{member.name}", path, member.offset_data, member.size, wrong)
