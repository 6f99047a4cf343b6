"""The append-only log under a data set: one file of frames, one of records, row by row.

A row's frame is written before its record, so a process killed at any moment leaves whole rows and at most a
torn tail, which opening drops. Checksums find what a power loss or a bad disk has done, and `synced.json` tells how
many rows there must be: it is written once they are on the disk itself, every second and on closing. It also tells what
the files looked like then: rows before that place are not read again at the next opening, unless somebody else has
changed the files.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffworld.data.frames import Packed, checksum, frames_of
from diffworld.data.schema import ENDED, FINAL, FRAMES, ROWS, STEP, SYNCED, DatasetSchema, Records
from diffworld.runtime.checked import Natural, read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json, write_json
from diffworld.runtime.frames import Film

ROWS_PER_APPEND = 2  # an ended step and its final observation
SYNC_SECONDS = 1.0
"""Time between two syncs while rows are added."""
_OFTEN = 256  # rows between two calls that tell how far a check is

Stamp = tuple[int, int]
"""Bytes of a file, and when it was last changed (ns)."""
SEEN_SECONDS = 60.0
"""How long a reader waits until rows that another process has written come into its sight."""


@dataclass(frozen=True)
class Synced:
    """What `synced.json` says."""

    rows: Natural
    """Rows that were on the disk itself when it was written; with fewer, the data set is damaged."""
    stamps: tuple[Stamp, Stamp] | None = None
    """Of the frames' and the records' file then, every row of which was known to be sound."""


class FrameLog:
    """Rows in the order they came; `records` are in memory, frames stay on the disk.

    Opening raises UserError if the files are missing or unreadable, locked by another writer, corrupt before
    their tail, or hold fewer sound rows than were synced. With `num_rows` they must hold that many instead: a reader
    does not look at the rows from there on, and a writer cuts them off. With `checking` every row is checked, and it is
    called now and then with how many more are.
    """

    def __init__(
        self,
        folder: Path,
        form: DatasetSchema,
        writable: bool,
        num_rows: int | None = None,
        checking: Callable[[int], None] | None = None,
    ) -> None:
        self.folder, self.writable, self.num_rows = folder, writable, 0
        self._record, self._checking = form.record, checking
        self._synced_at = time.monotonic()
        descriptors: list[int] = []
        self._release = weakref.finalize(self, _close_all, descriptors)
        try:
            for name in (FRAMES, ROWS):
                descriptors.append(os.open(folder / name, os.O_RDWR if writable else os.O_RDONLY))
            self._frames_fd, self._rows_fd = descriptors
            if writable:
                fcntl.flock(self._rows_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.frames = frames_of(folder, form, self._frames_fd)
            self.pack = self.frames.pack
            self._synced = _read_synced(folder)  # first: a live writer adds rows, and then says so
            self._open_rows(num_rows)
        except BlockingIOError:
            self._release()
            raise UserError(f"{folder} is being written by another process: stop that one first") from None
        except OSError as error:
            self._release()
            raise UserError(f"cannot open the data set {folder} ({error.strerror}): check it") from error
        except BaseException:
            self._release()
            raise

    def _open_rows(self, num_rows: int | None) -> None:
        """Read and check what is there, as far as it is wanted; a writer cuts off the rest."""
        there = os.fstat(self._rows_fd).st_size // self._record.itemsize
        records: Records = np.fromfile(self.folder / ROWS, self._record, count=there)
        framed = self.frames.whole(records, os.fstat(self._frames_fd).st_size)  # a live writer adds those first
        if num_rows is not None and not 0 <= num_rows <= min(there, framed):
            raise UserError(_too_short(self.folder, min(there, framed), num_rows))
        records = records[: min(there, framed) if num_rows is None else num_rows]
        known = 0 if self._checking else self._known_rows()
        self.num_rows = self._sound_rows(records, known, max(there, framed), num_rows)
        self._records = records[: self.num_rows].copy()
        # Rows of full size in both files, and before `num_rows`, that are not kept.
        self.dropped_rows = len(records) - self.num_rows
        self._unsaid = known < self.num_rows or self._synced is None or self._synced.rows != self.num_rows
        if self.writable:
            self._cut_files()

    @property
    def records(self) -> Records:
        """(num_rows,) records; do not write to them."""
        return self._records[: self.num_rows]

    def gather(self, rows: npt.NDArray[np.int64], out: Film) -> None:
        """The frames of those rows (n,) into `out` (n, H, W, 3)."""
        self._require_open()
        self.frames.gather(rows, self.records, out)

    def append(self, packed: Sequence[Packed], records: Records) -> None:
        """Add rows (n,) and their frames; fills in where those lie, and the checksums.

        UserError if the disk refuses: the log is then as it was before the call.
        """
        self._require_writable()
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()
        end = self.frames.end(self.records)
        self.frames.place(packed, records, end)
        for row, each in enumerate(packed):
            records["crc"][row] = checksum(each.data, records[row : row + 1])
        self._unsaid = True
        try:
            # At explicit offsets, so that nothing left by a failed append can shift what follows.
            _write_all(self._frames_fd, b"".join(each.data for each in packed), end)
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
        known, size, deadline = self.num_rows, self._record.itemsize, time.monotonic() + SEEN_SECONDS
        while True:
            data = os.pread(self._rows_fd, (num_rows - known) * size, known * size)
            new = np.frombuffer(data[: len(data) // size * size], self._record)
            records = np.concatenate([self.records, new])
            seen = min(len(records), self.frames.whole(records, os.fstat(self._frames_fd).st_size))
            if seen >= num_rows:
                return self._remember(new)
            if time.monotonic() > deadline:  # a disk of the network may show them late, but not as late as that
                raise UserError(
                    f"{self.folder} has {seen:,} rows as this machine sees it, and {num_rows:,} as the writer does: "
                    "put it on a disk that all machines share"
                )
            time.sleep(0.05)

    def cut(self, num_rows: int) -> None:
        """Keep the first `num_rows` rows, less an ended step that would lose its final observation."""
        self._require_writable()
        if not 0 <= num_rows <= self.num_rows:
            raise UserError(_too_short(self.folder, self.num_rows, num_rows))
        self.frames.forget()
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
        if not self.writable or not self._unsaid:
            return
        try:
            os.fsync(self._frames_fd)
            os.fsync(self._rows_fd)
            stamps = _stamped(self._frames_fd), _stamped(self._rows_fd)
        except OSError as error:
            raise UserError(f"cannot sync {self.folder} ({error.strerror}): check the disk") from error
        self._say_synced(stamps)
        self._unsaid = False

    def close(self) -> None:
        """Sync what was written, and release the files and the writer's lock; once is enough."""
        try:
            if self._release.alive:
                self.sync()
        finally:
            self._release()

    def _say_synced(self, stamps: tuple[Stamp, Stamp] | None) -> None:
        self._synced = Synced(self.num_rows, stamps)
        write_json(self.folder / SYNCED, asdict(self._synced))

    def _require_open(self) -> None:
        if not self._release.alive:
            raise UserError(f"the data set {self.folder} is closed: open it again")

    def _require_writable(self) -> None:
        self._require_open()
        if not self.writable:
            raise UserError(f"the data set {self.folder} is read-only: open it with writable=True")

    def _known_rows(self) -> int:
        """How many rows were sound when `synced.json` was written, and are still as they were: of files that became
        longer since, only a writer of this log that was killed can be the cause."""
        if self._synced is None or self._synced.stamps is None:
            return 0
        now = _stamp(self._frames_fd), _stamp(self._rows_fd)
        same = (was == is_ or was[0] < is_[0] for was, is_ in zip(self._synced.stamps, now, strict=True))
        return self._synced.rows if all(same) else 0

    def _sound_rows(self, records: Records, known: int, whole: int, wanted: int | None) -> int:
        """How many rows to keep: all but a torn tail and an open end. UserError if there is other damage.

        The first `known` are sound. `whole` is how many are of full size in the longer file.
        """
        sound = self._check(records, known)
        keep = len(records) if sound.all() else int(np.argmin(sound))
        # Of a data set that says nothing of syncs, only the last append can be torn.
        promised = whole - ROWS_PER_APPEND if self._synced is None else self._synced.rows
        short = keep < (promised if wanted is None else wanted)
        bad = keep if keep < len(records) and (short or sound[keep:].any()) else _misplaced_row(records[:keep])
        if bad is not None:
            raise UserError(f"row {bad} of {self.folder} is corrupt: {_ways_out(self.folder, bad)}")
        if short:
            lost = f"{self.folder} has {keep:,} of {max(whole, promised):,} rows: {FRAMES} or {ROWS} was cut short"
            raise UserError(f"{lost}; {_ways_out(self.folder, keep)}")
        return _without_open_end(records[:keep])

    def _check(self, records: Records, known: int) -> npt.NDArray[np.bool_]:
        """(N,) whether each row's checksum is right, read some frames at a time from row `known` on."""
        sound = np.ones(len(records), np.bool_)
        for first in range(known, len(records), _OFTEN):
            part = slice(first, min(first + _OFTEN, len(records)))
            sound[part] = self.frames.checksums(first, records[part]) == records["crc"][part]
            if self._checking:
                self._checking(part.stop - first)
        return sound

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
        if self._synced is not None and self._synced.rows > self.num_rows:
            self._say_synced(None)
        sizes = self.num_rows * self._record.itemsize, self.frames.end(self.records)
        for descriptor, size in zip((self._rows_fd, self._frames_fd), sizes, strict=True):
            if os.fstat(descriptor).st_size != size:  # else even so the file would count as changed
                self._unsaid = True
                os.ftruncate(descriptor, size)


def _stamp(descriptor: int) -> Stamp:
    """What a file looks like now."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _stamped(descriptor: int) -> Stamp:
    """What a file looks like from now on, until somebody changes it.

    The clock that dates changes stands still for some milliseconds. The date is set back by a hair, so that a change
    within the same tick is seen, too.
    """
    status = os.fstat(descriptor)
    with suppress(OSError):  # somebody else's file
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns - 1))
    return _stamp(descriptor)


def _read_synced(folder: Path) -> Synced | None:
    """What was once on the disk itself; None if nothing says so, as in data sets of the version before."""
    path, advice = folder / SYNCED, "restore it from a copy, or delete it"
    if not path.exists():
        return None
    data = read_json(path, advice)
    try:
        return read_as(Synced, {"stamps": None, **data} if isinstance(data, dict) else data, str(path))
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error


def _ways_out(folder: Path, rows: int) -> str:
    """What to do about rows that are damaged or lost, where `rows` are left before them."""
    name, restore = json.dumps(str(folder)), "restore the folder from a copy"
    code = f"from diffworld.data import Dataset; Dataset.open({name}, writable=True, num_rows={rows})"
    return f"{restore}, or keep only its first {rows:,} rows with: python -c {shlex.quote(code)}" if rows else restore


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
