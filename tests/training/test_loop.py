"""The loop: what it does in which order, where it saves, and that it goes on exactly where it stopped."""

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffworld.config import RECIPE_NETWORKS, Config
from diffworld.runs import RunFolder
from diffworld.runtime.checked import read_as
from diffworld.runtime.metrics import METRICS_FILE, MetricsLog, read_metrics
from diffworld.runtime.progress import Display
from diffworld.training.interrupt import Interrupted, Pauses, StopRequest
from diffworld.training.loop import Loop, Progress
from diffworld.training.trainer import Trainer
from tests.noise_data import fill
from tests.tiny_training import diamond_trainer, model_free_trainer, playing, updates, world_trainer

THREE = RECIPE_NETWORKS["world"]

NEVER = math.inf


@dataclass
class Sitting:
    """One sitting of a run: its loop and what was done, by name; `stop_after` things, it is asked to stop."""

    loop: Loop
    done: list[str]


class Asked(StopRequest):
    """Asked to stop once so many things are done."""

    def __init__(self, done: list[str], after: float) -> None:
        super().__init__()
        self.done, self.after = done, after

    @property
    def asked(self) -> bool:
        return len(self.done) >= self.after

    @asked.setter
    def asked(self, value: bool) -> None:
        assert not value


@contextmanager
def sitting(trainer: Trainer, folder: Path, seconds: float = NEVER, stop_after: float = NEVER) -> Iterator[Sitting]:
    """A loop over a trainer, restored from the folder's last checkpoint; tests take two steps and measure nothing."""
    done: list[str] = []
    run = RunFolder(folder)
    checkpoint = run.load()
    progress = Progress()
    if checkpoint is not None:
        trainer.restore(checkpoint)
        progress = read_as(Progress, checkpoint.progress["progress"], "progress")
    update, collector = trainer.update, trainer.recipe.collector

    def watched(name: Any) -> None:
        update(name)
        done.append(name)

    trainer.update = watched  # type: ignore[method-assign]
    if collector is not None:
        collect = collector.collect

        def watched_collect(steps: int) -> list[float]:
            finished = collect(steps)
            done.append(f"collect {steps}")
            return finished

        collector.collect = watched_collect  # type: ignore[method-assign]

    def test(epoch: int, pauses: Pauses) -> dict[str, float]:
        for _ in range(2):
            pauses.pause_point()
            done.append(f"test {epoch}")
        return {"eval/return_mean": float(epoch)}

    with MetricsLog(folder, progress.epoch - 1, tensorboard=False) as log:
        yield Sitting(Loop(run, trainer, progress, Display(), log, Asked(done, stop_after), seconds, test), done)


@contextmanager
def make(recipe: str, config: Config, folder: Path) -> Iterator[Trainer]:
    """A trainer of a recipe, its replay (if any) as the folder's last checkpoint has it."""
    if recipe == "diamond":
        checkpoint = RunFolder(folder).load()
        rows = None if checkpoint is None else checkpoint.progress["replay_rows"]
        with diamond_trainer(playing(config), folder / "replay", rows) as trainer:
            yield trainer
    elif recipe == "model_free":
        with model_free_trainer(playing(config)) as trainer:
            yield trainer
    else:
        data = folder.parent / "data"
        if not data.exists():
            fill(data, 20, height=12, width=12)
        with world_trainer(replace(updates(config, first_steps=3, steps=2), epochs=3, networks=THREE), data) as t:
            yield t


def updates_of(count: int) -> list[str]:
    return [name for name in THREE for _ in range(count)]


EXPECTED = {
    # 40 steps, and 20 more as there are not ten rewards in so few; then nothing is left but the last epoch.
    "diamond": ["collect 40", "collect 20", *updates_of(3), "test 1", "test 1", *updates_of(2), "test 2", "test 2"],
    "world": [
        *updates_of(3),
        *["test 1"] * 2,
        *updates_of(2),
        *["test 2"] * 2,
        *updates_of(2),
        *["test 3"] * 2,
    ],
    # 60 steps, four an update: three updates in the first epoch, two in each of the others
    "model_free": [
        entry
        for epoch, count in enumerate([3, 2, 2, 2, 2, 2, 2], start=1)
        for entry in [*["actor_critic"] * count, f"test {epoch}", f"test {epoch}"]
    ],
}
recipes = pytest.mark.parametrize("recipe", EXPECTED)


@recipes
def test_phases_follow_one_another(small: Config, tmp_path: Path, recipe: str) -> None:
    folder = tmp_path / "run"
    with make(recipe, small, folder) as trainer, sitting(trainer, folder) as s:
        assert not s.loop.finished()
        s.loop.run()
        assert s.loop.finished() and s.done == EXPECTED[recipe]
        epochs = int(s.done[-1].split()[1])
        assert s.loop.progress.epoch == epochs + 1
        assert len(s.loop.run_folder.checkpoints()) == 1, "nothing is due but the last save"
        s.loop.run()
        assert s.done == EXPECTED[recipe], "nothing is left to do"
        counters = s.loop.counters()
        for name, optimiser in trainer.optimisers.items():
            assert counters[f"{name}_gradient_steps"] == optimiser.steps == s.done.count(name)
        assert counters["env_steps"] == counters["game_frames"] == (20 if recipe == "world" else 60)
    entries = read_metrics(folder / METRICS_FILE)
    assert [entry["epoch"] for entry in entries] == list(range(1, epochs + 1))
    for entry in entries:
        assert entry["eval/return_mean"] == entry["epoch"]
        assert {f"{name}/loss" for name in trainer.optimisers} <= entry.keys()
        assert {f"time/{phase}_seconds" for phase in trainer.recipe.phases} <= entry.keys()
    assert "collect/score_sum" not in entries[0]
    if recipe != "world":
        assert -1 <= entries[-1 if recipe == "model_free" else 0]["collect/return"] <= 1


def straight(recipe: str, config: Config, folder: Path) -> tuple[list[str], dict[str, torch.Tensor]]:
    with make(recipe, config, folder) as trainer, sitting(trainer, folder) as s:
        s.loop.run()
        return s.done, trainer.networks.tensors()


def without_time(path: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.items() if "seconds" not in name}
        for entry in read_metrics(path / METRICS_FILE)
    ]


@recipes
@pytest.mark.cases(every=3)
def test_a_run_that_is_interrupted_again_and_again_comes_to_the_same_end(
    small: Config, tmp_path: Path, recipe: str
) -> None:
    """In the middle of a collection, of updates and of a test, and between two epochs."""
    done, weights = straight(recipe, small, tmp_path / "straight")
    folder, sittings, finished = tmp_path / "interrupted", list[list[str]](), False
    while not finished:
        torch.manual_seed(len(sittings))
        with make(recipe, small, folder) as trainer, sitting(trainer, folder, stop_after=4) as s:
            try:
                s.loop.run()
                finished = True
            except Interrupted:
                assert len(sittings) < 40
            sittings.append(s.done)
            found = trainer.networks.tensors()
    assert len(sittings) > 4
    assert all(len(each) == 4 for each in sittings[:-1])
    # A test that was interrupted begins anew: only its repetitions may be more.
    flat = [entry for each in sittings for entry in each]
    assert [entry for entry in flat if "test" not in entry] == [entry for entry in done if "test" not in entry]
    assert dict.fromkeys(flat) == dict.fromkeys(done)
    for name, tensor in weights.items():
        assert torch.equal(found[name], tensor), name
    assert without_time(folder) == without_time(tmp_path / "straight")


def test_being_stopped_in_a_test_saves_and_the_test_begins_anew(small: Config, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun = len(updates_of(3)) + 1
    with make("world", small, folder) as trainer, sitting(trainer, folder, stop_after=begun) as s:
        with pytest.raises(Interrupted):
            s.loop.run()
        assert s.done[-1] == "test 1" and s.loop.progress.saves == 1
    with make("world", small, folder) as trainer, sitting(trainer, folder) as s:
        assert (s.loop.progress.epoch, s.loop.progress.phase, s.loop.progress.done) == (1, 3, 0)
        s.loop.run()
    assert s.done == EXPECTED["world"][begun - 1 :]


def test_it_saves_by_the_clock(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("diffworld.training.loop.time.monotonic", lambda: now)
    folder = tmp_path / "run"
    with make("world", small, folder) as trainer, sitting(trainer, folder, seconds=25) as s:
        s.loop.clock = s.loop.saved = now
        update = trainer.update

        def slow(name: Any) -> None:
            nonlocal now
            update(name)
            now += 10

        trainer.update = slow  # type: ignore[method-assign]
        saved_at: list[int] = []
        save = s.loop.save

        def watched() -> None:
            saved_at.append(s.done.count("denoiser") + s.done.count("reward_end") + s.done.count("actor_critic"))
            save()

        s.loop.save = watched  # type: ignore[method-assign]
        s.loop.run()
    assert saved_at == [3, 6, 9, 12, 15, 18, 21, 21], "every third update of ten seconds, and the end"
    checkpoint = RunFolder(folder).load()
    assert checkpoint is not None
    assert checkpoint.progress["progress"]["wall_seconds"] == pytest.approx(210)
    assert checkpoint.progress["progress"]["saves"] == 8
    assert len(RunFolder(folder).checkpoints()) == 3


def test_wall_seconds_add_up_over_sittings(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("diffworld.training.loop.time.monotonic", lambda: now)
    folder = tmp_path / "run"
    for seconds in (5.0, 7.0):
        with make("world", small, folder) as trainer, sitting(trainer, folder) as s:
            s.loop.clock = now
            now += seconds
            s.loop.save()
    assert s.loop.counters()["wall_seconds"] == 12.0


def test_a_game_frame_is_counted_for_each_frame_an_action_lasts(small: Config, tmp_path: Path) -> None:
    with make("world", small, tmp_path / "run") as trainer, sitting(trainer, tmp_path / "run") as s:
        spec = trainer.given.spec
        for presented, name, frames in (
            ({"frame_skip": 4}, "atari/Pong", 80),
            ({"frame_skip": 4}, "minatar/breakout", 20),
            ({}, "atari/Pong", 20),
        ):
            trainer.given = replace(trainer.given, spec=replace(spec, presented=presented, name=name))
            assert s.loop.counters()["game_frames"] == frames


@pytest.mark.parametrize(
    ("progress", "finished"),
    [
        (Progress(), False),
        (Progress(epoch=4, final_epochs=3), True),
        (Progress(epoch=4, final_epochs=2), False),
        (Progress(epoch=4, phase=1, final_epochs=3), False),
        (Progress(epoch=4, done=1, final_epochs=3), False),
    ],
)
def test_when_a_run_is_finished(small: Config, tmp_path: Path, progress: Progress, finished: bool) -> None:
    with make("world", small, tmp_path / "run") as trainer, sitting(trainer, tmp_path / "run") as s:
        s.loop.progress = progress
        assert s.loop.finished() == finished


# --- being asked to stop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_and_a_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        assert signal.getsignal(number) == before, "a second one does what it always does"
    assert signal.getsignal(number) == before


def test_a_patient_one_is_asked_again_and_again() -> None:
    with StopRequest(patient=True) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked


def test_without_a_signal_all_is_as_it_was() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
