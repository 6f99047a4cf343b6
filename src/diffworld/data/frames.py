"""How the frames of a log lie on the disk: as they are, each compressed without loss, or in files of somebody else."""

from __future__ import annotations

import functools
import io
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from diffworld.data.links import Links
from diffworld.data.schema import FRAMES, DatasetSchema, FrameForm, Records
from diffworld.game import GameSpec
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, Frame

Compress = Literal["auto", "on", "off"]
"""Whether frames are compressed; auto goes by their size."""
COMPRESSED_FROM = 128 * 128
"""Pixels from which on auto compresses."""
LARGEST_SIDE, MOST_PIXELS = 16_383, 2**26
"""Of frames that can be compressed."""
CRC_BYTES = 4
_WORKERS = os.cpu_count() or 1
_SMALL = 2**16  # bytes of a frame
_FEW = 4  # frames that no thread is worth being woken for
_LARGEST = 2, 2**16  # bytes of a compressed frame, at most: so many times the raw ones, and some


@dataclass(frozen=True)
class Packed:
    """A frame as a log stores it: its bytes, or of a linked one none, and where it lies."""

    data: bytes
    file: int = 0
    """Number of the file (`Links`)."""
    offset: int = 0
    """Bytes before it in that file."""


class Frames:
    """The frames of a log in a folder, raw: row i's are the i-th `frame_bytes` of the file that `descriptor` reads."""

    def __init__(self, folder: Path, schema: DatasetSchema, descriptor: int) -> None:
        self.folder, self.schema, self.descriptor = folder, schema, descriptor

    def pack(self, frame: Frame) -> Packed:
        """A frame (H, W, 3) as it is to be stored; any thread may call it. UserError if it is none of the game's."""
        return Packed(self.schema.check_frame(frame).tobytes())

    def place(self, packed: Sequence[Packed], records: Records, end: int) -> None:
        """Note in the records of new rows where their frames will lie, from the byte `end` on."""

    def end(self, records: Records) -> int:
        """Bytes that the frames of all these rows take."""
        return len(records) * self.schema.frame_bytes

    def whole(self, records: Records, size: int) -> int:
        """How many rows' frames are there in full in a file of `size` bytes."""
        return size // self.schema.frame_bytes

    def stored(self, row: int, record: Records) -> bytes:
        """What the log itself holds of a row's frame, as far as it is there; `record` (1,) is the row's own."""
        return os.pread(self.descriptor, self.schema.frame_bytes, row * self.schema.frame_bytes)

    def checksums(self, first: int, records: Records) -> npt.NDArray[np.uint32]:
        """(n,) what the checksums of rows from `first` on must be, by what is stored; `records` (n,) are the rows'."""
        rows = (records[place : place + 1] for place in range(len(records)))
        return np.array([checksum(self.stored(first + n, row), row) for n, row in enumerate(rows)], np.uint32)

    def unpack(self, data: bytes, record: Records) -> Frame:
        """The frame that was stored so; ValueError or OSError if it is not what it was."""
        return np.frombuffer(data, np.uint8).reshape(self.schema.spec.frame_shape)

    def forget(self) -> None:
        """The file is about to be cut."""

    def gather(self, rows: npt.NDArray[np.int64], records: Records, out: Film) -> None:
        """The frames of those rows (n,) of the log, into `out` (n, H, W, 3), by several threads where it pays.

        UserError for a row that is not what was written.
        """

        def fill(places: npt.NDArray[np.int64]) -> None:
            for place, row in zip(places.tolist(), rows[places].tolist(), strict=True):
                record = records[row : row + 1]
                data = self.stored(row, record)
                try:
                    if checksum(data, record) != record["crc"][0]:
                        raise ValueError
                    out[place] = self.unpack(data, record)
                except (ValueError, OSError, SyntaxError) as error:
                    why = "is corrupt, or was cut off meanwhile: open it again, or restore it from a copy"
                    raise UserError(f"row {row} of {self.folder} {why}") from error

        places = np.arange(len(rows))
        parts = min(_WORKERS, len(rows) // _FEW)
        if parts < 2:
            fill(places)
        else:
            list(_pool().map(fill, np.array_split(places, parts)))


class MappedFrames(Frames):
    """Raw frames that are mapped into memory, for a log that nobody cuts without telling."""

    _map: npt.NDArray[np.uint8] | None = None

    def checksums(self, first: int, records: Records) -> npt.NDArray[np.uint32]:
        """See `Frames`; small frames in one go, for there may be millions."""
        size, width = self.schema.frame_bytes, records.itemsize
        if size > _SMALL:
            return super().checksums(first, records)
        frames = memoryview(os.pread(self.descriptor, len(records) * size, first * size))
        rest = memoryview(records.tobytes())
        starts = [crc32(frames[at : at + size]) for at in range(0, len(records) * size, size)]
        places = range(0, len(rest), width)
        sums = [crc32(rest[at : at + width - CRC_BYTES], start) for at, start in zip(places, starts, strict=True)]
        return np.array(sums, np.uint32)

    def gather(self, rows: npt.NDArray[np.int64], records: Records, out: Film) -> None:
        """See `Frames`; but checksums are not looked at."""
        if self._map is None or len(self._map) < len(records):
            self._map = None  # unmap first: the new mapping covers the old one
            size = self.end(records)
            # An empty file cannot be mapped.
            mapped = mmap.mmap(self.descriptor, size, prot=mmap.PROT_READ) if size else b""
            self._map = np.frombuffer(mapped, np.uint8).reshape(-1, *self.schema.spec.frame_shape)
        # "clip" lets numpy copy each frame once, straight to its place.
        np.take(self._map, rows, axis=0, out=out, mode="clip")

    def forget(self) -> None:
        """See `Frames`: touching a mapped page past the end of its file is a bus error."""
        self._map = None


class CompressedFrames(Frames):
    """Each frame as a lossless WebP picture; its record says where it begins and how long it is."""

    def pack(self, frame: Frame) -> Packed:
        """See `Frames`."""
        buffer = io.BytesIO()
        # The quickest of its efforts: others take 4 to 20 times as long for a tenth less.
        Image.fromarray(self.schema.check_frame(frame)).save(buffer, "WEBP", lossless=True, quality=0, method=0)
        return Packed(buffer.getvalue())

    def place(self, packed: Sequence[Packed], records: Records, end: int) -> None:
        """See `Frames`."""
        records["bytes"] = [len(each.data) for each in packed]
        records["offset"] = end + np.cumsum(records["bytes"], dtype=np.int64) - records["bytes"]

    def end(self, records: Records) -> int:
        """See `Frames`."""
        return int(records["offset"][-1]) + int(records["bytes"][-1]) if len(records) else 0

    def whole(self, records: Records, size: int) -> int:
        """See `Frames`; a record in between that is damaged does not count."""
        inside = np.flatnonzero(records["offset"].astype(np.float64) + records["bytes"] <= size)
        return int(inside[-1]) + 1 if len(inside) else 0

    def stored(self, row: int, record: Records) -> bytes:
        """See `Frames`."""
        offset, size = int(record["offset"][0]), int(record["bytes"][0])
        possible = size <= _LARGEST[0] * self.schema.frame_bytes + _LARGEST[1] and offset < 2**62
        return os.pread(self.descriptor, size, offset) if possible else b""

    def unpack(self, data: bytes, record: Records) -> Frame:
        """See `Frames`."""
        height, width = self.schema.spec.frame_size
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            if picture.size != (width, height) or picture.mode != "RGB":
                raise ValueError("another picture")
            return np.asarray(picture)


class LinkedFrames(Frames):
    """Frames that stay in files of somebody else, at the places that the records tell. `FRAMES` is empty."""

    def __init__(self, folder: Path, schema: DatasetSchema, descriptor: int) -> None:
        super().__init__(folder, schema, descriptor)
        self.links = Links.read(folder)

    def pack(self, frame: Frame) -> Packed:
        """UserError: this log stores no frames."""
        raise UserError(f"{self.folder} has its frames in other files, and takes no others: write another data set")

    def place(self, packed: Sequence[Packed], records: Records, end: int) -> None:
        """See `Frames`."""
        records["file"], records["offset"] = [each.file for each in packed], [each.offset for each in packed]

    def end(self, records: Records) -> int:
        """See `Frames`."""
        return 0

    def whole(self, records: Records, size: int) -> int:
        """See `Frames`."""
        return len(records)

    def stored(self, row: int, record: Records) -> bytes:
        """See `Frames`: nothing, so that a checksum is of the record alone."""
        return b""

    def unpack(self, data: bytes, record: Records) -> Frame:
        """See `Frames`."""
        path = self.links.files[int(record["file"][0])].path
        try:
            with open(path, "rb", buffering=0) as file:
                found = os.pread(file.fileno(), self.schema.frame_bytes, int(record["offset"][0]))
        except OSError as error:
            raise UserError(
                f"{self.folder} has frames in {path}, which cannot be read ({error.strerror}): put it back"
            ) from error
        frame = super().unpack(found, record)
        return frame if self.links.channels == "rgb" else frame[..., ::-1]


def frames_of(folder: Path, schema: DatasetSchema, descriptor: int, mapped: bool = True) -> Frames:
    """The frames of a log, as its schema says; raw ones `mapped` if nobody else cuts the file."""
    if schema.frames != "raw":
        return (CompressedFrames if schema.frames == "webp" else LinkedFrames)(folder, schema, descriptor)
    return (MappedFrames if mapped else Frames)(folder, schema, descriptor)


def read_frames(folder: Path, schema: DatasetSchema, records: Records, rows: npt.NDArray[np.int64]) -> Film:
    """(n, H, W, 3) frames of those rows (n,) of a log that nothing else holds open, and that may be cut meanwhile."""
    out = np.empty((len(rows), *schema.spec.frame_shape), np.uint8)
    with (folder / FRAMES).open("rb") as file:
        frames_of(folder, schema, file.fileno(), mapped=False).gather(rows, records, out)
    return out


def frame_form(spec: GameSpec, compress: Compress) -> FrameForm:
    """How a new data set stores its frames. UserError for frames that cannot be compressed."""
    pixels = spec.height * spec.width
    possible = max(spec.frame_size) <= LARGEST_SIDE and pixels <= MOST_PIXELS
    if compress == "on" and not possible:
        raise UserError(f"frames of {spec.height}x{spec.width} are too large to be compressed: leave out --compress on")
    wanted = pixels >= COMPRESSED_FROM if compress == "auto" else compress == "on"
    return "webp" if wanted and possible else "raw"


def checksum(data: bytes, record: Records) -> int:
    """Of a row: of its frame's bytes, and then of its record (1,) without the checksum."""
    return crc32(record.tobytes()[:-CRC_BYTES], crc32(data))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_WORKERS, "frames")
