"""One sitting of a run: `diffworld train` as a child process, on this machine or on a node of a cluster.

Loads no torch: it also lives in the workers of a cluster, beside the process that trains.
"""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import check_writable, write_error
from diffworld.runtime.locks import holder
from diffworld.runtime.versions import differing, installed

NEW_SITTING = "\n$ "  # in a log, before each sitting's command
SAVED = (130, -signal.SIGTERM)  # exit codes of a run that was asked to stop, once it trains and before
CHILD = Path(__file__).with_name("child.py")
WAIT_SECONDS = 300.0
"""How long a run waits for the process that trained it before: longer than a server of files (NFSv4) keeps the locks of
a machine that it has lost sight of."""


@dataclass(frozen=True)
class Order:
    """What to do in a sitting; paths are relative to where the sweep was started."""

    options: tuple[str, ...]
    """Of `diffworld train`."""
    lock: Path
    """Of the run folder."""
    log: Path
    threads: int

    @property
    def command(self) -> str:
        """The command, as a user would type it."""
        return shlex.join(["diffworld", "train", *self.options])


class Sitting:
    """A run's process, from its order to its exit code."""

    def __init__(self, order: Order) -> None:
        self.order, self.asked, self.made = order, False, time.monotonic()
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, stop: bool = False, patience: float = 0.0) -> int | str | None:
        """The exit code, or in words why the run could not begin; None while it is at work.

        Begins it, once nobody else trains it. With `stop` it is asked to save and exit. Waits so many seconds for news.
        """
        if self.process is None:
            if stop:
                return -signal.SIGTERM
            if other := holder(self.order.lock):
                if time.monotonic() - self.made > WAIT_SECONDS:
                    return f"{self.order.lock.parent} is still being trained by {other}: stop it"
                time.sleep(min(patience, 1.0))
                return None
            try:
                self.process = self._start()
            except OSError as error:
                return str(write_error(self.order.log, error))
        if stop and not self.asked:
            self.asked = True
            self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.order.log.parent.mkdir(parents=True, exist_ok=True)
        with self.order.log.open("ab") as log:
            log.write(f"{NEW_SITTING}{self.order.command}\n".encode())
            log.flush()
            return subprocess.Popen(
                [sys.executable, str(CHILD), "train", *self.order.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(self.order.threads)},
                process_group=0,  # a terminal's Ctrl-C would reach it beside our own signal, and two kill
            )


Contents = Mapping[str, int]
"""Files of a folder, and the bytes of each."""


@dataclass(frozen=True)
class Shared:
    """What a sweep's own machine has, and each node must have too."""

    folder: Path
    """Where the sweep was started."""
    lock: Path
    """The campaign's own, which the sweep holds."""
    said: str
    """What that file says."""
    versions: Mapping[str, str]
    data: Mapping[Path, Contents]
    """What the runs read, by path."""

    @staticmethod
    def here(lock: Path, data: set[Path]) -> "Shared":
        """What this machine has, which holds the lock."""
        return Shared(Path.cwd(), lock, lock.read_text(), installed(), {path: contents(path) for path in sorted(data)})

    def missing(self) -> str:
        """In words, what this node lacks and what to do about it; empty if it will do. Goes to the sweep's folder."""
        if said := differing(dict(self.versions), installed(), "the sweep"):
            return said
        try:
            os.chdir(self.folder)
        except OSError:
            return f"has no folder {self.folder}: start the sweep where all nodes have one, such as on the shared disk"
        for path, expected in self.data.items():
            if contents(path) != expected:
                there = "other files in" if path.exists() else "no"
                return f"has {there} {path}: give every node the same data in the same path"
        try:
            return self._disk()
        except UserError as error:
            return f"is of no use: {error}"

    def _disk(self) -> str:
        """Whether the shared disk is one, with the renames and locks that runs rely on, and has room; as `missing`."""
        check_writable(tempfile.gettempdir())
        out = self.lock.parent
        try:
            with self.lock.open("r+", errors="replace") as file:
                if file.read() != self.said:
                    raise FileNotFoundError
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return f"does not see in {out} what others lock: mount it with locks that all nodes share (NFSv4)"
                except BlockingIOError:
                    pass
            with tempfile.NamedTemporaryFile("ab", dir=out, prefix=".", suffix=".tmp", delete=False) as first:
                first.write(b"\n")
            with open(first.name, "ab") as second:
                second.write(b"\n")
            os.replace(first.name, renamed := f"{first.name}.tmp")
            whole = Path(renamed).read_bytes() == b"\n\n"
            os.unlink(renamed)
        except FileNotFoundError:
            return f"does not see the sweep's files in {out}: put it on a disk that all nodes share"
        except OSError as error:
            raise write_error(out, error) from error
        return "" if whole else f"cannot append to files in {out}: put it on a disk of files, no store of objects"


def contents(path: Path) -> Contents:
    """The files right in a folder, without hidden ones, and their sizes; of a file itself; nothing if it is missing."""
    try:
        files = [path] if path.is_file() else [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
        return {file.name: file.stat().st_size for file in files}
    except OSError:
        return {}
