"""The training loop: epochs of collect, denoiser, reward/end, actor-critic, test; resumable anywhere."""

import time
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from diffworld.config import PARTS, Config, Part
from diffworld.evaluation.episodes import SeenStep
from diffworld.evaluation.games import play_games, scores
from diffworld.evaluation.held_out import HeldOut
from diffworld.run_folder import RunFolder
from diffworld.training.display import Display, epoch_line
from diffworld.training.interrupt import Interrupted, StopRequest
from diffworld.training.metrics import MetricsLog
from diffworld.training.trainer import Averages, Trainer

Phase = Literal["collect", "denoiser", "reward_end", "actor_critic", "test"]
PHASES: tuple[Phase, ...] = ("collect", "denoiser", "reward_end", "actor_critic", "test")
COLLECT_CHUNK = 100  # steps between two looks at the clock, and the grain of the first collection


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    epoch: int = 1
    """The epoch in progress, from 1."""
    phase: int = 0
    """Index into PHASES of the phase in progress."""
    done: int = 0
    """Steps or updates done in that phase."""
    collecting: bool = True
    """Whether this epoch began with real steps left to take."""
    epochs_after_collection: int = 0
    """Finished epochs in which nothing was collected."""
    saves: int = 0
    """Checkpoints written."""
    wall_seconds: float = 0.0
    """Time spent training, over all its sittings."""
    values: dict[str, float] = field(default_factory=dict)
    """Numbers of this epoch that are no averages."""


@dataclass
class Loop:
    """Runs the phases in order from wherever `progress` says, and saves by the clock."""

    config: Config
    run_folder: RunFolder
    trainer: Trainer
    progress: Progress
    display: Display
    log: MetricsLog
    stop: StopRequest
    clock: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """All epochs that are left; Interrupted, with everything saved, when asked to stop."""
        p = self.progress
        while not self.finished():
            if p.phase == 0 and p.done == 0:
                p.collecting = self._steps_left() > 0
            while p.phase < len(PHASES):
                started = time.monotonic()
                self._run_phase(PHASES[p.phase])
                name = f"time/{PHASES[p.phase]}_seconds"
                p.values[name] = p.values.get(name, 0.0) + time.monotonic() - started
                p.phase, p.done = p.phase + 1, 0
            self._end_epoch()
        self.save()

    def finished(self) -> bool:
        """Whether the last epoch is over."""
        p = self.progress
        if p.phase or p.done or self._steps_left() > 0:
            return False
        c = self.config
        return c.model_free or p.epochs_after_collection >= (c.epochs_on_data if c.data else c.epochs_after_collection)

    def counters(self) -> dict[str, int | float]:
        """How far the run is, in units."""
        self._tick()
        frame_skip = self.config.environment.frame_skip
        return {
            "env_steps": self.trainer.env_steps,
            "game_frames": self.trainer.env_steps * (frame_skip if self.config.env.startswith("atari/") else 1),
            **{f"{part}_gradient_steps": self.trainer.optimisers[part].steps for part in PARTS},
            "wall_seconds": round(self.progress.wall_seconds, 3),
        }

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self._tick()
        self.progress.saves += 1
        checkpoint = self.trainer.checkpoint({"progress": asdict(self.progress)})
        self.run_folder.save(self.progress.saves, checkpoint, self.config.checkpoints_kept)
        self.saved = time.monotonic()

    def pause_point(self) -> None:
        """Save if it is time, and stop here if the user asked for it; called wherever a run can go on from."""
        if self.stop.asked or time.monotonic() - self.saved >= self.config.checkpoint_seconds:
            self.save()
        if self.stop.asked:
            raise Interrupted

    def _run_phase(self, phase: Phase) -> None:
        if phase == "collect":
            self._collect()
        elif phase == "test":
            self._test()
        elif phase == "actor_critic" or not self.config.model_free:
            self._update(phase)

    def _collect(self) -> None:
        collector, p, c = self.trainer.collector, self.progress, self.config.collection
        if collector is None or not p.collecting:
            return
        target = min(c.first_steps if p.epoch == 1 else c.steps_per_epoch, self._steps_left() + p.done)
        with self.display.bar(f"epoch {p.epoch} collect", "step", target, p.done) as advance:
            while p.done < target or self._wants_rewards():
                before = self.trainer.env_steps
                chunk = min(COLLECT_CHUNK, target - p.done) if p.done < target else COLLECT_CHUNK
                finished = collector.collect(chunk)
                p.done += self.trainer.env_steps - before
                advance(self.trainer.env_steps - before)
                p.values["collect/games"] = p.values.get("collect/games", 0.0) + len(finished)
                p.values["collect/score_sum"] = p.values.get("collect/score_sum", 0.0) + sum(finished)
                self.pause_point()

    def _steps_left(self) -> int:
        """Real steps still to take; none on a fixed data set."""
        if self.trainer.env is None:
            return 0
        return max(0, self.config.collection.total_steps - self.trainer.env_steps)

    def _wants_rewards(self) -> bool:
        """Whether the first collection has found too few rewards to learn from, and may go on."""
        c, p, dataset = self.config.collection, self.progress, self.trainer.dataset
        if p.epoch > 1 or p.done >= c.first_steps_max or self._steps_left() <= 0 or dataset is None:
            return False
        signs = np.sign(dataset.episodes.records["reward"][dataset.episodes.step_rows])
        commonest = np.bincount(signs.astype(np.int64) + 1, minlength=3).max()
        return bool(len(signs) - commonest < c.first_rewards)

    def _update(self, part: Part) -> None:
        p, updates = self.progress, self.config.updates(part)
        total = updates.first_steps if p.epoch == 1 else updates.steps
        with self.display.bar(f"epoch {p.epoch} {part}", "update", total, p.done) as advance:
            while p.done < total and not (self.config.model_free and self._steps_left() <= 0):
                self.trainer.update(part)
                p.done += 1
                advance(1)
                self.pause_point()

    def _test(self) -> None:
        e, p, networks = self.config.evaluation, self.progress, self.trainer.networks
        if not e.every_epochs or p.epoch % e.every_epochs or not e.episodes:
            return
        held_out = HeldOut(self.run_folder.held_out, self.config, self.trainer.num_actions)
        with held_out, self.display.bar(f"epoch {p.epoch} test", "game", e.episodes) as advance:

            def on_step(step: SeenStep) -> None:
                held_out.record(step)
                self.pause_point()

            results = play_games(
                self.config,
                networks.actor_critic,
                e.episodes,
                on_episode=lambda _: advance(1),
                on_step=on_step,
                policy_seed=p.epoch,
            )
            p.values["test/return_mean"] = float(np.mean(scores(results)))
            if not self.config.model_free:
                p.values |= held_out.losses(networks, self.trainer.device)

    def _end_epoch(self) -> None:
        p = self.progress
        games, score_sum = p.values.pop("collect/games", 0.0), p.values.pop("collect/score_sum", 0.0)
        if self.trainer.real_world is not None:
            finished, self.trainer.real_world.finished = self.trainer.real_world.finished, []
            games, score_sum = len(finished), sum(finished)
        if games:
            p.values["collect/return"] = score_sum / games
        values = {**self.trainer.averages.means(), **p.values}
        self.log.write(p.epoch, self.counters(), values)
        self.display.line(epoch_line(p.epoch, self.counters(), values))
        self.trainer.averages = Averages()
        p.epochs_after_collection += not p.collecting
        p.epoch, p.phase, p.done, p.values = p.epoch + 1, 0, 0, {}
        self.pause_point()

    def _tick(self) -> None:
        now = time.monotonic()
        self.progress.wall_seconds += now - self.clock
        self.clock = now
