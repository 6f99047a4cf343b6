"""Files that are whole or absent: a kill or a full disk never leaves half of one under its own name."""

import errno
import json
import math
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from diffworld.runtime.errors import UserError, one_line

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
_ADVICE = {
    **dict.fromkeys(_FULL, "free some space and run the same command again"),
    **dict.fromkeys(_FORBIDDEN, "choose another folder, or change its permissions"),
    **dict.fromkeys(_IN_THE_WAY, "something else has that name; move it away or choose another path"),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
}


def give_up_output() -> None:
    """Let nothing more be written to standard output, lest Python itself complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_error(path: Path | str, error: BaseException, doing: str = "write") -> UserError:
    """Return the one line that says why `path` cannot be written, or what else was tried, and what to do about it."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and "No space left" in str(error):  # libraries that wrap the system's error
        number = errno.ENOSPC
    reason = one_line(error) if number is None else os.strerror(number)
    advice = _ADVICE.get(number or 0, "check the disk and run the same command again")
    return UserError(f"cannot {doing} {path}: {reason}; {advice}")


def check_writable(folder: Path | str) -> None:
    """UserError now rather than after hours, if files cannot be written to a folder that may not be there yet.

    A file without a name is written for it, and is gone at once: permissions alone say nothing of a full disk or one
    that is mounted read-only.
    """
    place = Path(folder).absolute()
    try:
        there = next(path for path in (place, *place.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\n")
            file.flush()
    except OSError as error:
        raise write_error(folder, error) from error


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it takes the place of `path`.

    The temporary name ends in `.tmp`, so tell writers that guess a format from the name which one is meant.
    Parent folders are made. On failure the temporary file is removed and `path` is as before.

    Raises: UserError if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    with _taking_the_place(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success, flushed to disk, it takes the name `path`.

    What a killed run left of an earlier attempt at the same path is removed first, so one process at a time
    may write a given folder. A folder already at `path` is replaced, and for an instant neither has the name:
    what must always be there (a checkpoint) should get a name of its own each time.

    Raises: UserError if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with _taking_the_place(path, temporary):
        if old.is_dir() and not path.exists():  # a kill came between the two renames below
            os.rename(old, path)
        _remove(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        for inner in [*temporary.rglob("*"), temporary]:
            _sync(inner)
        _remove(old)
        if path.is_dir():
            os.rename(path, old)
        os.rename(temporary, path)
    _remove(old)


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, whole or not at all. Raises: UserError, see `atomic_file`."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded(data) if isinstance(data, str) else data)


def encoded(text: str) -> bytes:
    """Text as UTF-8; of a path that the locale could not decode, the bytes as JSON too would escape them."""
    return text.encode(errors="backslashreplace")


def write_json(path: Path | str, obj: Any) -> None:
    """Write `obj` as indented JSON in its own key order.

    Raises: ValueError on NaN or infinity, which JSON does not have (see `without_nan`); UserError, see
    `atomic_file`.
    """
    write_atomic(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, advice: str = "restore it from a copy") -> Any:
    """Return what a JSON file from anywhere holds.

    Raises: UserError, one line that ends with the advice, if it cannot be read or is no JSON, as NaN is none.
    """
    try:
        return parse_json(path.read_bytes(), path, advice)
    except OSError as error:
        raise UserError(f"cannot read {path} ({os.strerror(error.errno or 0)}): {advice}") from error


def parse_json(data: bytes, name: Path | str, advice: str = "get it again") -> Any:
    """What the bytes of a JSON file say. Raises: UserError, as `read_json`."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot read {name} (it is no JSON: {one_line(error)}): {advice}") from error


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def without_nan(obj: Any) -> Any:
    """Return `obj`, a tree of mappings and sequences, with None for every number that is not finite."""
    if isinstance(obj, Mapping):
        return {key: without_nan(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [without_nan(value) for value in obj]
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj


def append_line(path: Path | str, line: str) -> None:
    """Append `line` and its newline to `path`; a line counts only once its newline is there.

    A torn last line, left by a kill, is dropped first; see `append` for the rest. So the file is at any time a row of
    whole lines and at most one torn one.
    """
    if "\n" in line:
        raise ValueError("a line must not contain a newline")
    append(path, line.encode() + b"\n", _end_of_lines)


def append(path: Path | str, data: bytes, find_end: Callable[[FileIO], int] | None = None) -> None:
    """Append `data` to `path`; a write that fails is taken back. One process at a time may append to a file.

    What a file has after the place that `find_end` gives is dropped first.

    Raises: UserError if the disk is full or the file cannot be written.
    """
    path = Path(path)
    with as_user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
            end = find_end(file) if find_end else file.seek(0, os.SEEK_END)
            try:
                file.truncate(end)
                file.seek(end)
                while data:  # a full disk may take a part before it refuses the rest
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(end)
                raise


def _end_of_lines(file: FileIO) -> int:
    """Where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) in (b"", b"\n"):
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def whole_lines(data: bytes) -> list[str]:
    """Return the lines of an appended file, without a last one whose newline is missing."""
    return data[: data.rfind(b"\n") + 1].decode(errors="replace").split("\n")[:-1]


@contextmanager
def as_user_errors(path: Path, written: Path | None = None) -> Iterator[None]:
    """Turn failures to write `path`, or `written` in its stead, into UserError; other errors stay what they are."""
    written = written or path
    try:
        yield
    except UserError as error:  # of a file inside, which the user knows by the name that it was to have
        raise UserError(str(error).replace(str(written), str(path))) from error
    except Exception as error:
        refused = _of_the_system(error)
        name = str(getattr(refused, "filename", None) or path)
        ours = name in map(str, [path, written, *path.parents]) or name.startswith(f"{written}{os.sep}")
        if not ours or (refused is None and "No space left" not in str(error)):
            raise
        raise write_error(path, refused or error) from error


def _of_the_system(error: BaseException | None) -> OSError | None:
    """The system's own error behind one of a library, if there is any."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def _taking_the_place(path: Path, temporary: Path) -> Iterator[None]:
    """Inside, `temporary` is made and takes the place of `path`; where that fails, it is removed."""
    with as_user_errors(path, temporary):
        try:
            yield
            _sync(path.parent)
        except BaseException:
            _remove(temporary)
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
