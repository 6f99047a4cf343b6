"""A lock is held by one process, freed by its death, and given up where another has taken it over."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diffworld.runtime.errors import UserError
from diffworld.runtime.locks import check_held, held, holder

HOLD = """
import sys, pathlib
from diffworld.runtime.locks import held
with held(pathlib.Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_holder_is_dead(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    assert holder(lock) == ""
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=pipe, stdout=pipe, text=True)
    with other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        name = f"process {other.pid} on {os.uname().nodename}"
        assert holder(lock) == name
        said = f"^the run is taken by {re.escape(name)}: wait for that one, or stop it$"
        with pytest.raises(UserError, match=said), held(lock, "the run is taken"):
            pytest.fail("two hold it")
        other.kill()
        other.wait()
    assert holder(lock) == ""
    with held(lock, "the run is taken"):
        assert holder(lock) == f"process {os.getpid()} on {os.uname().nodename}"
        check_held(lock)
    assert holder(lock) == ""


def test_who_asks_is_in_nobodys_way(tmp_path: Path) -> None:
    lock, done = tmp_path / ".lock", threading.Event()

    def ask() -> None:
        while not done.is_set():
            holder(lock)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            with held(lock, "taken"):
                pass
    finally:
        done.set()
        asking.join()


def test_a_holder_whose_lock_was_given_away_is_told(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    check_held(lock)  # nobody ever held it
    with held(lock, "taken"):
        lock.write_text("process 7 on another 0123abcd")
        with pytest.raises(
            UserError, match=rf"process 7 on another has taken over in {tmp_path}, for the disk had lost"
        ):
            check_held(lock)
        lock.write_bytes(b"\xff\x00")
        with pytest.raises(UserError, match="another process has taken over"):
            check_held(lock)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOLCK, "is on a disk without file locks: choose another, such as NFSv4"),
        (errno.EOPNOTSUPP, "without file locks"),
        (errno.EIO, "cannot write"),
    ],
)
def test_a_disk_that_cannot_lock(number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=said), held(tmp_path / ".lock", "taken"):
        pytest.fail("held without a lock")


def test_what_fails_while_it_is_held_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), held(tmp_path / ".lock", "taken"):
        raise ConnectionResetError
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), held(tmp_path / "file" / ".lock", "taken"):
        pytest.fail("held in a file")
