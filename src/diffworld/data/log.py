"""The append-only log under a data set: one file of frames, one of records, row by row.

A row's frame is written before its record, so a process killed at any moment leaves whole rows and at most a
torn tail, which opening drops. Checksums find what a power loss or a bad disk has done, and `synced.json` tells how
many rows there must be: it is written once they are on the disk itself, every second and on closing.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shlex
import time
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from diffworld.data.schema import ENDED, FINAL, FRAMES, ROWS, STEP, SYNCED, DatasetSchema, Records
from diffworld.runtime.checked import Natural, read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json, write_json

CRC_BYTES = 4
ROWS_PER_APPEND = 2  # an ended step and its final observation
SYNC_SECONDS = 1.0
"""Time between two syncs while rows are added."""
SEEN_SECONDS = 60.0
"""How long a reader waits until rows that another process has written come into its sight."""


@dataclass(frozen=True)
class Synced:
    """What `synced.json` says."""

    rows: Natural
    """Rows that were on the disk itself when it was written; with fewer, the data set is damaged."""


class FrameLog:
    """Rows in the order they came; `records` are in memory, `frames` are mapped.

    Opening raises UserError if the files are missing or unreadable, locked by another writer, corrupt before
    their tail, or hold fewer sound rows than were synced. With `num_rows` they must hold that many instead: a reader
    does not look at the rows from there on, and a writer cuts them off.
    """

    def __init__(self, folder: Path, form: DatasetSchema, writable: bool, num_rows: int | None = None) -> None:
        self.folder, self.writable, self.num_rows = folder, writable, 0
        self._form, self._record = form, form.record
        self._map: npt.NDArray[np.uint8] | None = None
        self._synced_at = time.monotonic()
        descriptors: list[int] = []
        self._release = weakref.finalize(self, _close_all, descriptors)
        try:
            for name in (FRAMES, ROWS):
                descriptors.append(os.open(folder / name, os.O_RDWR if writable else os.O_RDONLY))
            self._frames_fd, self._rows_fd = descriptors
            if writable:
                fcntl.flock(self._rows_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._synced = _synced_rows(folder)  # first: a live writer adds rows, and then says so
            whole = self._whole_rows()
            records = self._read_records(min(whole), num_rows)
            self.num_rows = self._sound_rows(records, max(whole), num_rows)
            self._records = records[: self.num_rows].copy()
            # Rows of full size in both files, and before `num_rows`, that are not kept.
            self.dropped_rows = len(records) - self.num_rows
            if writable:
                self._cut_files()
        except BlockingIOError:
            self._release()
            raise UserError(f"{folder} is being written by another process: stop that one first") from None
        except OSError as error:
            self._release()
            raise UserError(f"cannot open the data set {folder} ({error.strerror}): check it") from error
        except UserError:
            self._release()
            raise

    @property
    def records(self) -> Records:
        """(num_rows,) records; do not write to them."""
        return self._records[: self.num_rows]

    @property
    def frames(self) -> npt.NDArray[np.uint8]:
        """(num_rows or more, H, W, 3) frames, mapped read-only. Keep copies of them, not views: those do not
        outlive `cut`."""
        if self._map is None or len(self._map) < self.num_rows:
            self._require_open()
            self._map = None  # unmap first: the new mapping covers the old one
            shape = (self.num_rows, *self._form.spec.frame_shape)
            size = self.num_rows * self._form.frame_bytes
            # An empty file cannot be mapped.
            mapped = mmap.mmap(self._frames_fd, size, prot=mmap.PROT_READ) if size else b""
            self._map = np.frombuffer(mapped, np.uint8).reshape(shape)
        return self._map

    def append(self, frames: npt.NDArray[np.uint8], records: Records) -> None:
        """Add rows (n, H, W, 3) and (n,); fills in the checksums.

        UserError if the disk refuses: the log is then as it was before the call.
        """
        self._require_writable()
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()
        for row, frame in enumerate(frames):
            body = records[row : row + 1].tobytes()[:-CRC_BYTES]
            records["crc"][row] = crc32(body, crc32(frame.tobytes()))
        try:
            # At explicit offsets, so that nothing left by a failed append can shift what follows.
            _write_all(self._frames_fd, frames.tobytes(), self.num_rows * self._form.frame_bytes)
            _write_all(self._rows_fd, records.tobytes(), self.num_rows * self._record.itemsize)
            self._remember(records)
        except OSError as error:
            with suppress(OSError):
                self._cut_files()
            raise UserError(
                f"cannot write to {self.folder} ({error.strerror}): free space or check permissions, "
                f"then resume; its {self.num_rows} rows are safe"
            ) from error
        except BaseException:  # an interrupt between the two writes
            self._cut_files()
            raise

    def refresh(self, num_rows: int) -> None:
        """Of a reader: see the rows up to `num_rows` too, which another process has written since. Only those are read.

        UserError if they do not come into sight, as where two machines see different disks.
        """
        self._require_open()
        deadline = time.monotonic() + SEEN_SECONDS
        while min(self._whole_rows()) < num_rows:  # a disk of the network may show them late
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self.folder} has {min(self._whole_rows()):,} rows as this machine sees it, and {num_rows:,} as "
                    "the writer does: put it on a disk that all machines share"
                )
            time.sleep(0.05)
        size, new = self._record.itemsize, num_rows - self.num_rows
        self._remember(np.frombuffer(os.pread(self._rows_fd, new * size, self.num_rows * size), self._record))

    def cut(self, num_rows: int) -> None:
        """Keep the first `num_rows` rows, less an ended step that would lose its final observation."""
        self._require_writable()
        if not 0 <= num_rows <= self.num_rows:
            raise UserError(_too_short(self.folder, self.num_rows, num_rows))
        self._map = None  # touching a mapped page past the end of its file is a bus error
        # Of exact length: later rows get a new array, so whoever holds the old one keeps it as it was.
        self._records = self._records[: _without_open_end(self._records[:num_rows])]
        self.num_rows = len(self._records)
        try:
            self._cut_files()
        except OSError as error:
            raise UserError(f"cannot cut {self.folder} ({error.strerror}): check its permissions") from error

    def sync(self) -> None:
        """Wait until every row is on the disk itself, not only in the system's memory, and let `synced.json` say so."""
        self._require_open()
        self._synced_at = time.monotonic()
        if not self.writable or self._synced == self.num_rows:
            return
        try:
            os.fsync(self._frames_fd)
            os.fsync(self._rows_fd)
        except OSError as error:
            raise UserError(f"cannot sync {self.folder} ({error.strerror}): check the disk") from error
        self._say_synced()

    def close(self) -> None:
        """Sync what was written, and release the files and the writer's lock; once is enough."""
        try:
            if self._release.alive:
                self.sync()
        finally:
            self._release()

    def _say_synced(self) -> None:
        write_json(self.folder / SYNCED, asdict(Synced(self.num_rows)))
        self._synced = self.num_rows

    def _require_open(self) -> None:
        if not self._release.alive:
            raise UserError(f"the data set {self.folder} is closed: open it again")

    def _require_writable(self) -> None:
        self._require_open()
        if not self.writable:
            raise UserError(f"the data set {self.folder} is read-only: open it with writable=True")

    def _read_records(self, count: int, num_rows: int | None) -> Records:
        """Records of the first `num_rows` of the `count` rows that both files hold whole, by default of all."""
        if num_rows is not None and not 0 <= num_rows <= count:
            raise UserError(_too_short(self.folder, count, num_rows))
        return np.fromfile(self.folder / ROWS, self._record, count=count if num_rows is None else num_rows)

    def _whole_rows(self) -> tuple[int, int]:
        """How many rows are of full size in the records, and in the frames: a live writer adds those first."""
        records = os.fstat(self._rows_fd).st_size // self._record.itemsize
        return records, os.fstat(self._frames_fd).st_size // self._form.frame_bytes

    def _sound_rows(self, records: Records, whole: int, wanted: int | None) -> int:
        """How many rows to keep: all but a torn tail and an open end. UserError if there is other damage.

        `whole` is how many are of full size in the longer file.
        """
        sound = _checksums(self.folder / FRAMES, self._form, records) == records["crc"]
        keep = len(records) if sound.all() else int(np.argmin(sound))
        # Of a data set that says nothing of syncs, only the last append can be torn.
        promised = whole - ROWS_PER_APPEND if self._synced is None else self._synced
        short = keep < (promised if wanted is None else wanted)
        bad = keep if keep < len(records) and (short or sound[keep:].any()) else _misplaced_row(records[:keep])
        if bad is not None:
            raise UserError(f"row {bad} of {self.folder} is corrupt: {_ways_out(self.folder, bad)}")
        if short:
            lost = f"{self.folder} has {keep:,} of {max(whole, promised):,} rows: {FRAMES} or {ROWS} was cut short"
            raise UserError(f"{lost}; {_ways_out(self.folder, keep)}")
        return _without_open_end(records[:keep])

    def _remember(self, records: Records) -> None:
        total = self.num_rows + len(records)
        if total > len(self._records):
            grown = np.zeros(max(2 * len(self._records), total, 1024), self._record)
            grown[: self.num_rows] = self.records
            self._records = grown
        self._records[self.num_rows : total] = records
        self.num_rows = total

    def _cut_files(self) -> None:
        """Cut both files after the last row; records first, so that none is ever without its frame."""
        if self._synced is not None and self._synced > self.num_rows:
            self._say_synced()
        os.ftruncate(self._rows_fd, self.num_rows * self._record.itemsize)
        os.ftruncate(self._frames_fd, self.num_rows * self._form.frame_bytes)


def _synced_rows(folder: Path) -> int | None:
    """Rows that were once on the disk itself; None if nothing says so, as in data sets of the version before."""
    path, advice = folder / SYNCED, "restore it from a copy, or delete it"
    if not path.exists():
        return None
    data = read_json(path, advice)
    try:
        return read_as(Synced, data, str(path)).rows
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error


def _ways_out(folder: Path, rows: int) -> str:
    """What to do about rows that are damaged or lost, where `rows` are left before them."""
    name, restore = json.dumps(str(folder)), "restore the folder from a copy"
    code = f"from diffworld.data import Dataset; Dataset.open({name}, writable=True, num_rows={rows})"
    return f"{restore}, or keep only its first {rows:,} rows with: python -c {shlex.quote(code)}" if rows else restore


def _checksums(path: Path, form: DatasetSchema, records: Records) -> npt.NDArray[np.uint32]:
    """(N,) checksum of each row, read one frame at a time."""
    frame = bytearray(form.frame_bytes)
    size, data = records.dtype.itemsize, memoryview(records.tobytes())
    sums = np.zeros(len(records), np.uint32)
    with path.open("rb") as file:
        for row in range(len(records)):
            file.readinto(frame)
            sums[row] = crc32(data[row * size : (row + 1) * size - CRC_BYTES], crc32(frame))
    return sums


def _misplaced_row(records: Records) -> int | None:
    """First row out of order: a final observation comes right after an ended step, and nothing after it."""
    flags, episode = records["flags"], records["episode"]
    final, ended = (flags & FINAL) != 0, (flags & ENDED) != 0
    wrong = (final & ended) | (final == ((flags & STEP) != 0))
    wrong[:1] |= final[:1]
    wrong[1:] |= (final[1:] != ended[:-1]) | (final[1:] & (episode[1:] != episode[:-1]))
    order = np.argsort(episode, kind="stable")
    row, following = order[:-1], order[1:]
    wrong[following[final[row] & (episode[row] == episode[following])]] = True
    return int(np.argmax(wrong)) if wrong.any() else None


def _without_open_end(records: Records) -> int:
    """Number of rows without a last step that says it ended but has no final observation after it."""
    return len(records) - int(len(records) > 0 and records["flags"][-1] & ENDED != 0)


def _too_short(folder: Path, rows: int, wanted: int) -> str:
    advice = "restore it from a copy, or use the data set of this checkpoint"
    return f"{folder} holds {rows} rows, not the {wanted} asked for: {advice}"


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
