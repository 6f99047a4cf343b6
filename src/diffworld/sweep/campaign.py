"""A campaign: runs as processes, some side by side. None can take down another, and all stop together."""

import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from diffworld.config import Config
from diffworld.evaluation.statistics import Interval
from diffworld.runs.folder import LOCK, RunFolder
from diffworld.runtime.device import resolve_threads
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import check_writable, read_json
from diffworld.runtime.locks import held
from diffworld.runtime.metrics import METRICS_FILE
from diffworld.runtime.progress import Display
from diffworld.sweep.plan import PlannedRun
from diffworld.sweep.sitting import NEW_SITTING, SAVED, Order, Sitting
from diffworld.training.interrupt import Interrupted, StopRequest

LOOK_SECONDS = 0.2  # between two looks at the runs
COUNT_SECONDS = 2.0  # between two looks at how far they are
SEEN_SECONDS = 60.0  # until a file that another machine wrote is seen here (NFS)
MOST_LOSSES = 3  # of a run in a row, without a checkpoint in between


Configs = Mapping[PlannedRun, Config]
"""Every run, and its configuration."""


@dataclass(frozen=True)
class News:
    """What became of a run: it began, was lost with its node, ended with an exit code, or failed to begin."""

    run: PlannedRun
    what: Literal["began", "lost", "ended", "failed"]
    said: str = ""
    code: int = 0


class Place(Protocol):
    """Where runs are trained."""

    def open(self, lock: Path, configs: Configs) -> None:
        """Get ready for those runs of the campaign that holds the lock; UserError where one could never be trained."""

    def room(self) -> bool:
        """Whether another run may be added."""

    def add(self, run: PlannedRun) -> None:
        """Train a run as soon as may be."""

    def news(self, stop: bool) -> Iterable[News]:
        """What has happened since the last call; with `stop` all runs are to save and exit."""

    def close(self) -> None:
        """End what is left."""


class ThisMachine:
    """Trains `jobs` runs side by side, which share the processor's cores."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.sittings, self.fresh = jobs, dict[PlannedRun, Sitting](), list[PlannedRun]()

    def open(self, lock: Path, configs: Configs) -> None:
        """Take note of the runs."""
        self.configs = configs

    def room(self) -> bool:
        """Whether fewer than `jobs` are at work."""
        return len(self.sittings) < self.jobs

    def add(self, run: PlannedRun) -> None:
        """Train it from now on."""
        self.sittings[run] = Sitting(order(run, self.threads(run)))
        self.fresh.append(run)

    def threads(self, run: PlannedRun) -> int:
        """How many threads a run computes with: its share of the cores, or as many as it began with."""
        return resolve_threads(self.configs[run].small, RunFolder(run.folder).threads, self.jobs)

    def news(self, stop: bool) -> Iterable[News]:
        """Look at each process."""
        for run, sitting in list(self.sittings.items()):
            said = sitting.look(stop)
            if run in self.fresh:
                self.fresh.remove(run)
                if not isinstance(said, str):
                    yield News(run, "began")
            if said is not None:
                del self.sittings[run]
                yield ended(run, said)

    def close(self) -> None:
        """Kill what is left: after a second Ctrl-C only."""
        for sitting in self.sittings.values():
            sitting.kill()


def order(run: PlannedRun, threads: int) -> Order:
    """The order to train a run."""
    return Order(run.options, run.folder / LOCK, run.log, threads)


def ended(run: PlannedRun, said: int | str) -> News:
    """The news of a sitting's end."""
    return News(run, "failed", said) if isinstance(said, str) else News(run, "ended", code=said)


class Campaign:
    """Trains what is left of the runs in `out`, at that place.

    configs: the runs in their order.
    expected: the epochs that each will take.
    failures: the runs that failed in this sitting, and how.
    """

    def __init__(self, out: Path, configs: Configs, place: Place, display: Display) -> None:
        self.out, self.configs, self.place, self.display = out, configs, place, display
        self.expected = {run: config.total_epochs for run, config in configs.items()}
        self.waiting = deque(run for run in configs if not run.finished)
        self.running: set[PlannedRun] = set()
        self.losses: dict[PlannedRun, tuple[int, list[Path]]] = {}
        """How often a run was lost in a row, and the checkpoints it had then."""
        self.failures: dict[PlannedRun, str] = {}
        self.stopping = False

    def train(self) -> None:
        """Until every run has finished or failed; Interrupted once all have saved, on Ctrl-C or SIGTERM."""
        total, done, counted = sum(self.expected.values()), self.epochs(), time.monotonic()
        bar = self.display.bar(f"{len(self.expected)} run{'s' * (len(self.expected) > 1)}", "epoch", total, done)
        lock = self.out / LOCK
        with held(lock, f"the campaign in {self.out} is being trained"), closing(self.place), StopRequest() as stop:
            self.place.open(lock, {run: self.configs[run] for run in self.waiting})
            with bar as advance:
                while self.running or (self.waiting and not stop.asked):
                    while self.waiting and self.place.room() and not stop.asked:
                        self.running.add(run := self.waiting.popleft())
                        self.place.add(run)
                    time.sleep(LOOK_SECONDS)
                    self._hear(stop)
                    if time.monotonic() - counted >= COUNT_SECONDS:
                        before, done, counted = done, self.epochs(), time.monotonic()
                        advance(done - before)
        if stop.asked:
            raise Interrupted

    def epochs(self) -> int:
        """Epochs that are done in all runs: their records have a line for each."""
        return sum(epochs(run, total) for run, total in self.expected.items())

    def _hear(self, stop: StopRequest) -> None:
        asked = stop.asked
        if asked and self.running and not self.stopping:
            self.stopping = True
            self.display.line(f"stopping: waiting for {len(self.running)} to save (Ctrl-C again kills)")
        for news in self.place.news(asked):
            run = news.run
            if news.what == "began":
                how = "goes on" if RunFolder(run.folder).exists() else "begins"
                self.display.line(f"{how}: {run.name}{news.said}")
                continue
            self.running.remove(run)
            if news.what == "failed":
                self._fail(run, news.said)
            elif news.what == "lost":
                self._lose(run, news.said)
            else:
                self._end(run, news.code, asked)

    def _end(self, run: PlannedRun, code: int, asked: bool) -> None:
        until = time.monotonic() + SEEN_SECONDS
        while code == 0 and not run.finished and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        if run.finished:
            finished = sum(run.finished for run in self.expected)
            self.display.line(
                f"finished: {run.name}: {_scores(run)}; {finished} of {len(self.expected)} runs, "
                f"{self.epochs():,} of {sum(self.expected.values()):,} epochs"
            )
        elif not (asked and code in SAVED):
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._fail(run, f"{how}: {last_words(run.log)}")

    def _lose(self, run: PlannedRun, reason: str) -> None:
        """Train it again where there is room: from its last checkpoint."""
        before, had = self.losses.get(run, (0, []))
        has = RunFolder(run.folder).checkpoints()
        count = before + 1 if has == had else 1
        self.losses[run] = count, has
        if count > MOST_LOSSES:
            self._fail(run, f"lost {count} times without a checkpoint in between, at last: {reason}")
        else:
            self.display.line(f"lost, and will go on elsewhere: {run.name}: {reason}")
            self.waiting.appendleft(run)

    def _fail(self, run: PlannedRun, reason: str) -> None:
        self.failures[run] = reason
        self.display.line(f"failed: {run.name}: {reason}")


def epochs(run: PlannedRun, most: int) -> int:
    """How many of its epochs a run has done."""
    if run.finished:
        return most
    record = run.folder / METRICS_FILE
    return min(record.read_bytes().count(b"\n"), most) if record.is_file() else 0


def last_words(log: Path) -> str:
    """What a run that failed has said at last; of a disk that is full this has not come into its log."""
    try:
        check_writable(log.parent)
    except UserError as error:
        return str(error)
    return last_line(log) or "it said nothing"


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
