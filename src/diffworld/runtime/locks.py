"""Lock files: held by one process at a time, of whatever machine shares the disk, and free once it is gone."""

import errno
import fcntl
import functools
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import write_error

PATIENCE = 1.0
"""Seconds until a lock counts as held: `holder` takes it too, for an instant."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def held(path: Path, taken: str) -> Iterator[None]:
    """Hold the lock file `path`, which is made if need be, and says who holds it.

    Raises: UserError if another process holds it (the message begins with `taken`), or the disk has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", errors="replace")
    except OSError as error:
        raise write_error(path.parent, error) from error
    with file:
        _take(file, path, taken)
        yield


def _take(file: TextIO, path: Path, taken: str) -> None:
    try:
        if not _locked(file.fileno(), fcntl.LOCK_EX, PATIENCE):
            raise UserError(f"{taken} by {holder(path) or 'another process'}: wait for that one, or stop it")
        file.truncate(0)
        file.write(_me())
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise UserError(f"{path.parent} is on a disk without file locks: choose another, such as NFSv4") from error
        raise write_error(path.parent, error) from error


def holder(path: Path) -> str:
    """Who holds the lock file at this moment, such as "process 7 on node-3"; empty if nobody does."""
    try:
        with path.open(errors="replace") as file:
            return "" if _locked(file.fileno(), fcntl.LOCK_SH) else _words(file.read())
    except OSError:
        return ""


def _words(said: str) -> str:
    """What a lock file says, without the random part that tells a process from others of its number."""
    found = re.fullmatch(r"(process [0-9]+ on [A-Za-z0-9._-]+) [0-9a-f]+", said)
    return found[1] if found else "another process"


def check_held(path: Path) -> None:
    """UserError if the lock file names another process than this one.

    A server of files may take a lock from a machine that it has lost sight of, and give it to another.
    """
    try:
        said = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    if said != _me():
        raise UserError(
            f"{_words(said)} has taken over in {path.parent}, for the disk had lost sight of this machine: leave it to "
            "that one"
        )


def _locked(descriptor: int, kind: int, patience: float = 0.0) -> bool:
    """Try for some seconds to lock an open file; whether it is."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)


def _me() -> str:
    return _name(os.getpid())


@functools.cache
def _name(process: int) -> str:
    return f"process {process} on {socket.gethostname()} {secrets.token_hex(4)}"
