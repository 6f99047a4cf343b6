"""A campaign: runs as child processes, some side by side. None can take down another, and all stop together."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diffworld.config import Config
from diffworld.evaluation.statistics import Interval
from diffworld.runs.folder import RunFolder
from diffworld.runtime.device import resolve_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json, write_error
from diffworld.runtime.metrics import METRICS_FILE
from diffworld.runtime.progress import Display
from diffworld.sweep.plan import PlannedRun
from diffworld.training.interrupt import Interrupted, StopRequest

LOOK_SECONDS = 0.2  # between two looks at the children
COUNT_SECONDS = 2.0  # between two looks at how far they are
NEW_SITTING = "\n$ "  # in a log, before each sitting's command
SAVED = (130, -signal.SIGTERM)  # exit codes of a run that was asked to stop, once it trains and before


class Campaign:
    """Trains what is left of the runs in `out`, `jobs` at a time.

    configs: the runs in their order.
    expected: the epochs that each will take.
    failures: the runs that failed in this sitting, and how.
    """

    def __init__(self, out: Path, configs: Mapping[PlannedRun, Config], jobs: int, display: Display) -> None:
        self.out, self.configs, self.jobs, self.display = out, configs, jobs, display
        self.expected = {run: config.total_epochs for run, config in configs.items()}
        self.waiting = deque(run for run in configs if not run.finished)
        self.children: dict[PlannedRun, subprocess.Popen[bytes]] = {}
        self.failures: dict[PlannedRun, str] = {}

    def train(self) -> None:
        """Until every run has finished or failed; Interrupted once all have saved, on Ctrl-C or SIGTERM."""
        total, done, counted = sum(self.expected.values()), self.epochs(), time.monotonic()
        bar = self.display.bar(f"{len(self.expected)} runs", "epoch", total, done)
        with _lock(self.out) as lock, StopRequest() as stop, bar as advance:
            try:
                while (self.waiting or self.children) and not stop.asked:
                    while self.waiting and len(self.children) < self.jobs:
                        self._start(self.waiting.popleft(), lock)
                    time.sleep(LOOK_SECONDS)
                    self._reap(stop)
                    if time.monotonic() - counted >= COUNT_SECONDS:
                        before, done, counted = done, self.epochs(), time.monotonic()
                        advance(done - before)
                self._stop()
                while self.children:
                    time.sleep(LOOK_SECONDS)
                    self._reap(stop)
            finally:
                for child in self.children.values():  # some are left after a second Ctrl-C only
                    child.kill()
        if stop.asked:
            raise Interrupted

    def epochs(self) -> int:
        """Epochs that are done in all runs: their records have a line for each."""
        return sum(total if run.finished else _epochs(run, total) for run, total in self.expected.items())

    def _start(self, run: PlannedRun, lock: int) -> None:
        command = ["train", *run.options]
        try:
            run.log.parent.mkdir(parents=True, exist_ok=True)
            with run.log.open("ab") as log:
                log.write(f"{NEW_SITTING}{shlex.join(['diffworld', *command])}\n".encode())
                log.flush()
                self.children[run] = subprocess.Popen(
                    [sys.executable, "-m", "diffworld.cli", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "OMP_NUM_THREADS": str(self._threads(run))},
                    process_group=0,  # a terminal's Ctrl-C would reach it beside our own signal, and two kill
                    pass_fds=[lock],
                )
        except OSError as error:
            self._fail(run, str(write_error(run.log, error)))
        else:
            self.display.line(f"{'goes on' if RunFolder(run.folder).exists() else 'begins'}: {run.name}")

    def _threads(self, run: PlannedRun) -> int:
        """How many threads a run computes with: its share of the cores, or as many as it began with."""
        return resolve_threads(self.configs[run].small, RunFolder(run.folder).threads, self.jobs)

    def _reap(self, stop: StopRequest) -> None:
        for run, child in list(self.children.items()):
            code = child.poll()
            if code is None:
                continue
            del self.children[run]
            if run.finished:
                finished = sum(run.finished for run in self.expected)
                self.display.line(
                    f"finished: {run.name}: {_scores(run)}; {finished} of {len(self.expected)} runs, "
                    f"{self.epochs():,} of {sum(self.expected.values()):,} epochs"
                )
            elif not (stop.asked and code in SAVED):
                ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                self._fail(run, f"{ended}: {last_line(run.log) or 'it said nothing'}")

    def _fail(self, run: PlannedRun, reason: str) -> None:
        self.failures[run] = reason
        self.display.line(f"failed: {run.name}: {reason}")

    def _stop(self) -> None:
        """Ask the children that are left to save and exit."""
        if self.children:
            self.display.line(f"stopping: waiting for {len(self.children)} to save (Ctrl-C again kills)")
        for child in self.children.values():
            child.terminate()


def _epochs(run: PlannedRun, most: int) -> int:
    record = run.folder / METRICS_FILE
    return min(record.read_bytes().count(b"\n"), most) if record.is_file() else 0


def last_line(log: Path) -> str:
    """The last words of a log's last sitting, empty text if there are none."""
    text = log.read_bytes().decode(errors="replace") if log.is_file() else ""
    lines = text.rpartition(NEW_SITTING)[2].splitlines()[1:]  # the first is the command itself
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _scores(run: PlannedRun) -> str:
    summary = read_json(RunFolder(run.folder).summary_path)
    if "agent" not in summary:
        return "a world model alone, with no agent to test"
    agent, random, constant = (
        Interval(*(summary[who][name] for name in ("mean", "low", "high"))) for who in ("agent", "random", "constant")
    )
    return f"{agent} beside random {random} and always {summary['constant']['action']} {constant}"


@contextmanager
def _lock(out: Path) -> Iterator[int]:
    """Hold a campaign's folder; its children inherit the lock, so what outlives a killed sweep still holds it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise write_error(out, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another sweep, or a run that a killed one left behind, is at work in {out}: wait for it, or stop it "
                f"(to find it: pgrep -fl {out})"
            ) from None
        yield file.fileno()
