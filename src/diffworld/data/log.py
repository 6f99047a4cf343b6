"""The append-only log under a data set: one file of frames, one of records, row by row.

A row's frame is written before its record, so a process killed at any moment leaves whole rows and at most a
torn tail, which opening drops. Checksums find what a power loss or a bad disk has done.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from diffworld.data.schema import ENDED, FINAL, FRAMES, ROWS, STEP, DatasetSchema, Records
from diffworld.runtime.errors import UserError

CRC_BYTES = 4
ROWS_PER_APPEND = 2  # an ended step and its final observation


class FrameLog:
    """Rows in the order they came; `records` are in memory, `frames` are mapped.

    Opening raises UserError if the files are missing or unreadable, locked by another writer, corrupt before
    their tail, or hold fewer sound rows than `num_rows`. With `num_rows`, a reader does not look at the rows
    from there on, and a writer cuts them off.
    """

    def __init__(self, folder: Path, form: DatasetSchema, writable: bool, num_rows: int | None = None) -> None:
        self.folder, self.writable, self.num_rows = folder, writable, 0
        self._form, self._record = form, form.record
        self._map: npt.NDArray[np.uint8] | None = None
        descriptors: list[int] = []
        self.close = weakref.finalize(self, _close_all, descriptors)
        try:
            for name in (FRAMES, ROWS):
                descriptors.append(os.open(folder / name, os.O_RDWR if writable else os.O_RDONLY))
            self._frames_fd, self._rows_fd = descriptors
            if writable:
                fcntl.flock(self._rows_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            records = self._read_records(num_rows)
            self.num_rows = _sound_rows(folder, form, records, num_rows)
            self._records = records[: self.num_rows].copy()
            # Rows of full size in both files, and before `num_rows`, that are not kept.
            self.dropped_rows = len(records) - self.num_rows
            if writable:
                self._cut_files()
        except BlockingIOError:
            self.close()
            raise UserError(f"{folder} is being written by another process: stop that one first") from None
        except OSError as error:
            self.close()
            raise UserError(f"cannot open the data set {folder} ({error.strerror}): check it") from error
        except UserError:
            self.close()
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
        """Wait until every row is on the disk itself, not only in the system's memory."""
        self._require_open()
        try:
            os.fsync(self._frames_fd)
            os.fsync(self._rows_fd)
        except OSError as error:
            raise UserError(f"cannot sync {self.folder} ({error.strerror}): check the disk") from error

    def _require_open(self) -> None:
        if not self.close.alive:
            raise UserError(f"the data set {self.folder} is closed: open it again")

    def _require_writable(self) -> None:
        self._require_open()
        if not self.writable:
            raise UserError(f"the data set {self.folder} is read-only: open it with writable=True")

    def _read_records(self, num_rows: int | None) -> Records:
        """Records of all rows that both files hold whole (records first: a live writer adds them last)."""
        size = os.fstat(self._rows_fd).st_size // self._record.itemsize
        count = min(size, os.fstat(self._frames_fd).st_size // self._form.frame_bytes)
        if num_rows is not None and not 0 <= num_rows <= count:
            raise UserError(_too_short(self.folder, count, num_rows))
        return np.fromfile(self.folder / ROWS, self._record, count=count if num_rows is None else num_rows)

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
        os.ftruncate(self._rows_fd, self.num_rows * self._record.itemsize)
        os.ftruncate(self._frames_fd, self.num_rows * self._form.frame_bytes)


def _sound_rows(folder: Path, form: DatasetSchema, records: Records, expected: int | None) -> int:
    """How many rows to keep: all but a torn tail and an open end. UserError if there is other damage."""
    sound = _checksums(folder / FRAMES, form, records) == records["crc"]
    keep = len(records) if sound.all() else int(np.argmin(sound))
    # Nothing sound at all is no torn tail, but two files (or a description) that do not belong together.
    damaged = sound[keep:].any() or (keep == 0 and len(records) > ROWS_PER_APPEND)
    bad = keep if damaged else _misplaced_row(records[:keep])
    if bad is not None:
        raise UserError(
            f"row {bad} of {folder} is corrupt: restore the folder from a copy, or keep the rows before it "
            f'with Dataset.open("{folder}", writable=True, num_rows={bad})'
        )
    if expected is not None and keep < expected:
        raise UserError(_too_short(folder, keep, expected))
    return _without_open_end(records[:keep])


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
    return f"{folder} holds {rows} rows, not the {wanted} asked for: use the data set of this checkpoint"


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
