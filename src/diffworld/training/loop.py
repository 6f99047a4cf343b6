"""The training loop: epochs of a recipe's phases, one after another; resumable anywhere."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np

from diffworld.config import NETWORKS, NetworkName
from diffworld.recipes import COLLECT, TEST
from diffworld.runs.folder import RunFolder
from diffworld.runtime.checked import Amount, Count, Natural
from diffworld.runtime.metrics import MetricsLog
from diffworld.runtime.progress import Display, duration, epoch_line
from diffworld.training.interrupt import Interrupted, Pauses, StopRequest
from diffworld.training.trainer import Averages, Trainer

T = TypeVar("T")

COLLECT_CHUNK = 100  # steps between two looks at the clock
SAVE, STOP, DONE = "save", "stop", "done"
"""What rank 0 tells the others, which wait while it works alone."""


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    epoch: Count = 1
    """The epoch in progress, from 1."""
    phase: Natural = 0
    """Index into the recipe's phases of the phase in progress."""
    done: Natural = 0
    """Steps or updates done in that phase."""
    collecting: bool = True
    """Whether this epoch began with real steps left to take."""
    final_epochs: Natural = 0
    """Finished epochs in which nothing was collected."""
    saves: Natural = 0
    """Checkpoints written."""
    wall_seconds: Amount = 0.0
    """Time spent training, over all its sittings."""
    values: dict[str, float] = field(default_factory=dict)
    """Numbers of this epoch that are no averages."""


@dataclass
class Loop:
    """Runs the phases in order from wherever `progress` says, and saves by the clock."""

    run_folder: RunFolder
    trainer: Trainer
    progress: Progress
    display: Display
    log: MetricsLog | None
    """None in all ranks but the first."""
    stop: StopRequest
    checkpoint_seconds: float
    test: Callable[[int, Pauses], dict[str, float]]
    """Tests the run in that epoch, with pauses wherever it may be stopped; returns what was measured."""
    tests_left: Callable[[int, int], float | None] = lambda epoch, epochs: 0.0
    """Seconds that tests will take in so many epochs after that one, and at the end; None where that is not known."""
    pace: dict[str, float] = field(default_factory=dict)
    """Seconds that a step or an update of each phase took the last time."""
    clock: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    alone: bool = False
    """Whether this is rank 0 and works while the others wait for an order."""

    def run(self) -> None:
        """All epochs that are left; Interrupted, with everything saved, when asked to stop."""
        p, phases = self.progress, self.trainer.recipe.phases
        while not self.finished():
            if p.phase == 0 and p.done == 0:
                p.collecting = self.trainer.recipe.steps_left > 0
            while p.phase < len(phases):
                started, phase, done = time.monotonic(), phases[p.phase], p.done
                self._run_phase(phase)
                name, seconds = f"time/{phase}_seconds", time.monotonic() - started
                p.values[name] = p.values.get(name, 0.0) + seconds
                if p.done > done:
                    self.pace[phase] = seconds / (p.done - done)
                p.phase, p.done = p.phase + 1, 0
            self._end_epoch()
        self.save()

    def finished(self) -> bool:
        """Whether the last epoch is over."""
        p, recipe = self.progress, self.trainer.recipe
        return not (p.phase or p.done or recipe.steps_left > 0 or p.final_epochs < recipe.final_epochs)

    def counters(self) -> dict[str, int | float]:
        """How far the run is, in units."""
        self._tick()
        spec, steps = self.trainer.given.spec, self.trainer.recipe.env_steps
        frame_skip = spec.presented.get("frame_skip", 1) if spec.name.startswith("atari/") else 1
        optimisers = self.trainer.optimisers
        updates = {f"{name}_gradient_steps": optimisers[name].steps for name in NETWORKS if name in optimisers}
        seconds = round(self.progress.wall_seconds, 3)
        return {"env_steps": steps, "game_frames": steps * frame_skip, **updates, "wall_seconds": seconds}

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self._tick()
        self.progress.saves += 1
        checkpoint = self.trainer.checkpoint({"progress": asdict(self.progress)})
        if self.trainer.ranks.first:
            self.run_folder.check_claim()
            self.run_folder.save(self.progress.saves, checkpoint)
        self.saved = time.monotonic()

    def pause_point(self, at_work: bool = True) -> bool:
        """Save if it is time, and stop here if the user asked for it; called wherever a run can go on from.

        Ranks do so together, whichever of them was asked. Where some have more to do than others, those who are done
        (not `at_work`) call it until it returns False: nobody is at work.
        """
        ranks, asked = self.trainer.ranks, self.stop.asked
        due = asked or (not self.finished() and time.monotonic() - self.saved >= self.checkpoint_seconds)
        if not self.alone:
            due, asked, at_work = ranks.any(due, asked, at_work)
        elif due:
            ranks.broadcast(SAVE)
        if due:
            self.save()
        if asked:
            raise Interrupted
        return at_work

    def work_alone(self, work: Callable[[], T]) -> T:
        """What rank 0 finds, for which the others wait: they take part where it saves, and stop where it does.
        Afterwards all stand where it stands."""
        ranks, found = self.trainer.ranks, list[T]()
        if not ranks.several:
            return work()
        if ranks.first:
            self.alone = True
            try:
                found.append(work())
            except Interrupted:
                ranks.broadcast(STOP)
                raise
            finally:
                self.alone = False
            ranks.broadcast(DONE)
        else:
            while (order := ranks.broadcast("")) == SAVE:
                self.save()
            if order == STOP:
                raise Interrupted
        vars(self.progress).update(ranks.broadcast(vars(self.progress)))
        return ranks.broadcast(found)[0]

    def _run_phase(self, phase: str) -> None:
        if phase == COLLECT:
            if self.progress.collecting:
                self.work_alone(self._collect)
                self.trainer.see_new_steps()
        elif phase == TEST:
            found = self.test(self.progress.epoch, self)
            self.progress.values |= found
        else:
            self._update(next(name for name in NETWORKS if name == phase))

    def _collect(self) -> None:
        recipe, p = self.trainer.recipe, self.progress
        assert recipe.collector is not None
        wanted = recipe.steps_wanted(p.epoch, p.done)
        with self.display.bar(f"epoch {p.epoch} collect", "step", wanted, p.done) as advance:
            while p.done < wanted:
                before = recipe.env_steps
                finished = recipe.collector.collect(min(COLLECT_CHUNK, wanted - p.done))
                p.done += recipe.env_steps - before
                advance(recipe.env_steps - before)
                self._count_games(finished)
                self.pause_point()
                wanted = recipe.steps_wanted(p.epoch, p.done)

    def _update(self, name: NetworkName) -> None:
        p, recipe = self.progress, self.trainer.recipe
        updates = recipe.parts[name].updates
        total = updates.first_steps if p.epoch == 1 else updates.steps
        with self.display.bar(f"epoch {p.epoch} {name}", "update", total, p.done) as advance:
            while p.done < total and not recipe.exhausted:
                self.trainer.update(name)
                p.done += 1
                advance(1)
                self.pause_point()

    def _count_games(self, scores: list[float]) -> None:
        values = self.progress.values
        values["collect/games"] = values.get("collect/games", 0.0) + len(scores)
        values["collect/score_sum"] = values.get("collect/score_sum", 0.0) + sum(scores)

    def _end_epoch(self) -> None:
        p = self.progress
        for finished in self.trainer.ranks.all(self.trainer.recipe.take_finished()):
            self._count_games(finished)
        games, score_sum = p.values.pop("collect/games"), p.values.pop("collect/score_sum")
        if games:
            p.values["collect/return"] = float(np.divide(score_sum, games))
        values = {**self.trainer.averages.means(), **p.values}
        if self.log is not None:
            self.run_folder.check_claim()
            self.log.write(p.epoch, self.counters(), values)
        p.final_epochs += not p.collecting
        self.display.line(epoch_line(p.epoch, self.counters(), values, self._left()))
        self.trainer.averages = Averages()
        p.epoch, p.phase, p.done, p.values = p.epoch + 1, 0, 0, {}
        self.pause_point()

    def _left(self) -> str:
        """How long the rest of the run takes at the pace of this epoch; empty where that is not known."""
        p, recipe = self.progress, self.trainer.recipe
        epochs = recipe.collecting_epochs + recipe.final_epochs - p.final_epochs
        work: dict[str, int] = {name: epochs * part.updates.steps for name, part in recipe.parts.items()}
        if recipe.collector is not None:
            work[COLLECT] = recipe.steps_left
        if any(count and phase not in self.pace for phase, count in work.items()):
            return ""
        tests = self.tests_left(p.epoch, epochs)
        seconds = sum(count * self.pace[phase] for phase, count in work.items() if count) + (tests or 0.0)
        return f"about {duration(seconds)} left{'' if tests is not None else ', besides tests'}" if seconds else ""

    def _tick(self) -> None:
        now = time.monotonic()
        self.progress.wall_seconds += now - self.clock
        self.clock = now
