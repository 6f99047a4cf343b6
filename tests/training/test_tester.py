"""Tests of a run, and what it ends with: scores, losses on what was held out, curves, a film and a summary."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import av
import pytest
import torch

from diffworld.config import RECIPE_NETWORKS, Config
from diffworld.data import Dataset
from diffworld.evaluation.games import TestGames
from diffworld.runs import RunFolder
from diffworld.runtime.metrics import MetricsLog
from diffworld.runtime.progress import Display
from diffworld.training import testing
from diffworld.training.interrupt import Interrupted
from diffworld.training.trainer import Trainer
from tests.noise_data import noise_spec
from tests.tiny_training import SHOOTER, diamond_trainer, model_free_trainer, noise_of, playing, world_trainer

T = TypeVar("T")
THREE = RECIPE_NETWORKS["world"]

COUNTERS = {"env_steps": 60, "wall_seconds": 90.0}
HELD_OUT = {"denoiser/held_out_loss", "reward_end/held_out_loss", "reward_end/end_f1", "reward_end/reward_recall"}


class Undisturbed:
    """Pauses of one process, each of which calls `pause`."""

    def __init__(self, pause: Callable[[], None] = lambda: None) -> None:
        self.pause = pause

    def pause_point(self, at_work: bool = True) -> bool:
        self.pause()
        return at_work

    def work_alone(self, work: Callable[[], T]) -> T:
        return work()


never = Undisturbed()


def make_tester(trainer: Trainer, config: Config, folder: Path, data: Dataset | None = None) -> testing.Tester:
    """As a training makes it: with the game where there is one, else with the data."""
    e, spec = config.evaluation, trainer.given.spec
    games = None if data is not None else TestGames(spec, config.seed, e.num_envs, e.temperature)
    with MetricsLog(folder, tensorboard=False) as log:
        log.write(1, {"env_steps": 60, "wall_seconds": 90.0}, {"denoiser/loss": 1.0})
    return testing.Tester(RunFolder(folder), trainer.recipe, e, games, data, config.reward_end.window, Display())


@contextmanager
def in_a_game(config: Config, folder: Path) -> Iterator[testing.Tester]:
    game = playing(config)
    with diamond_trainer(game, folder / "replay") as trainer:
        yield make_tester(trainer, game, folder)


@contextmanager
def on_data(config: Config, folder: Path, lengths: list[int], **spec: Any) -> Iterator[testing.Tester]:
    data = noise_of(folder.parent / "data", replace(noise_spec(height=12, width=12), **spec), lengths)
    with world_trainer(config, data) as trainer:
        assert trainer.given.dataset is not None
        yield make_tester(trainer, config, folder, trainer.given.dataset)


def film_of(path: Path) -> tuple[int, float]:
    """Frames of a film and how many a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        return sum(1 for _ in container.decode(stream)), float(stream.average_rate)


# --- during training -------------------------------------------------------------------------------------------------


def test_a_test_in_the_game(small: Config, tmp_path: Path) -> None:
    with in_a_game(small, tmp_path) as tester:
        before = torch.get_rng_state()
        assert tester.test(1, never) == {}, "every second epoch"
        found = tester.test(2, never)
        assert found == tester.test(2, never), "the same games and the same losses each time"
        assert torch.equal(torch.get_rng_state(), before), "training draws on as if nothing had been"
        assert -1 <= found["eval/return_mean"] <= 1 and found.keys() >= HELD_OUT
        with Dataset.open(tmp_path / "held_out") as held_out:
            assert held_out.num_episodes == 2 and held_out.num_steps == 18
        never_tested = replace(tester, settings=replace(tester.settings, every_epochs=0))
        assert never_tested.test(2, never) == {}
        no_games = replace(tester, settings=replace(tester.settings, episodes=0))
        assert no_games.test(2, never) == {}


def test_a_test_on_data_is_of_what_was_held_out(small: Config, tmp_path: Path) -> None:
    config = replace(small, evaluation=replace(small.evaluation, every_epochs=2))
    with on_data(config, tmp_path / "run", [9, 9, 9, 9, 9, 9]) as tester:
        assert tester.test(1, never) == {}
        found = tester.test(2, never)
        assert found.keys() >= HELD_OUT and "eval/return_mean" not in found
        assert found == tester.test(4, never)
        with torch.no_grad():
            for parameter in tester.recipe.networks.denoiser.parameters():  # type: ignore[union-attr]
                parameter.add_(torch.randn_like(parameter))
        assert tester.test(6, never)["denoiser/held_out_loss"] != found["denoiser/held_out_loss"]
    with on_data(replace(config, networks=("denoiser",)), tmp_path / "other" / "run", [9, 9]) as tester:
        assert tester.test(2, never).keys() == {"denoiser/held_out_loss"}


def test_of_one_episode_alone_nothing_is_held_out(small: Config, tmp_path: Path) -> None:
    config = replace(small, evaluation=replace(small.evaluation, every_epochs=1))
    with on_data(config, tmp_path / "run", [20]) as tester:
        assert tester.test(1, never) == {}


def test_a_test_may_be_stopped(small: Config, tmp_path: Path) -> None:
    calls, last = 0, 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            raise Interrupted

    stopping = Undisturbed(stop)
    with in_a_game(small, tmp_path) as tester:
        last = 1
        with pytest.raises(Interrupted):
            tester.test(2, stopping)
        assert tester.test(2, never)["eval/return_mean"] is not None
        calls, last = 0, -1
        tester.finish(COUNTERS, stopping)
        (tmp_path / "summary.json").unlink()
        pauses, last = calls, 0
        assert pauses > 4 * 2, "the agent, random play, trials, a constant and a mixture, each with more than one"
        for place in (1, pauses // 3, 2 * pauses // 3, pauses):
            calls, last = 0, place
            with pytest.raises(Interrupted):
                tester.finish(COUNTERS, stopping)
            assert not (tmp_path / "summary.json").exists(), "not finished"
        tester.finish(COUNTERS, never)
        assert (tmp_path / "summary.json").exists()


# --- at the end ------------------------------------------------------------------------------------------------------


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def test_a_run_in_a_game_ends_with_scores(small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with in_a_game(small, tmp_path) as tester:
        tester.finish(COUNTERS, never)
        games = tester.games
    assert games is not None
    summary = summary_of(tmp_path)
    assert summary["counters"] == COUNTERS and summary["env"] == games.spec.name and summary["seed"] == 0
    assert set(summary["held_out"]) >= HELD_OUT and summary["versions"]["torch"]
    for who in ("agent", "random", "constant", "blind"):
        entry = summary[who]
        assert len(entry["scores"]) == len(entry["steps"]) == 2 and entry["steps"] == [9, 9]
        assert entry["mean"] == sum(entry["scores"]) / 2 and entry["low"] <= entry["mean"] <= entry["high"]
    assert (summary["constant"]["action"], summary["constant"]["scores"]) == ("2", [1, 1]), "action 2 pays 1, 0 costs 1"
    assert summary["note"] == "always pressing 2 scores as much: the agent may not be looking at the screen"
    assert isinstance(summary["clearly_better_than_random"], bool)
    assert (tmp_path / "curves.png").stat().st_size > 1000
    frames, rate = film_of(tmp_path / "dream.mp4")
    assert frames == 4 + 4 and rate == games.spec.steps_per_second == 15  # four real ones, then from the middle on
    said = capsys.readouterr().out
    assert f"{games.spec.name} after 60 real steps and 1.5 minutes of training" in said
    for who in ("random", "always 2", "blind mixture", "agent"):
        assert re.search(rf"\n  {who} +[-0-9].*   over 2 games\n", said), who
    assert said.endswith(f"dream.mp4, curves.png, summary.json\nnote: {summary['note']}\n")


def test_a_run_without_a_world_model_ends_with_a_film_of_the_game(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    game = playing(small, recipe="model_free")
    with model_free_trainer(game) as trainer:
        make_tester(trainer, game, tmp_path).finish(COUNTERS, never)
    summary = summary_of(tmp_path)
    assert summary["held_out"] == {} and len(summary["agent"]["scores"]) == 2
    assert film_of(tmp_path / "game.mp4")[0] == 9
    assert "game.mp4, curves.png" in capsys.readouterr().out


@pytest.mark.parametrize("networks", [(), ("denoiser",), THREE])
@pytest.mark.cases(every=3)
def test_a_run_on_data_ends_with_losses(
    small: Config, tmp_path: Path, networks: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = replace(small, networks=networks), tmp_path / "run"
    with on_data(config, folder, [9, 30, 12, 40, 70, 8], actions=SHOOTER, steps_per_second=20) as tester:
        tester.finish(COUNTERS, never)
    summary = summary_of(folder)
    assert "agent" not in summary and "env" not in summary
    assert "denoiser/held_out_loss" in summary["held_out"]
    assert ("reward_end/held_out_loss" in summary["held_out"]) == (networks != ("denoiser",))
    frames, rate = film_of(folder / "dream.mp4")
    # The fifth episode is the one held out: its film begins past its opening, with four real frames.
    assert frames == 4 + (70 - 1 - 30) and rate == 20
    assert summary["measured_on"] == "held-out episodes"
    assert summary["fidelity"]["horizon"] == 50 and 0 < summary["fidelity"]["dream"]["psnr"]["mean"][0] < 60
    assert 0 <= summary["obedience"]["whole"]["low"] <= 0.5 <= summary["obedience"]["whole"]["high"] <= 1  # of noise
    assert (folder / "obedience.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "world model after 60 real steps" in said and "denoiser/held_out_loss" in said
    assert "\nfidelity, PSNR in dB / SSIM (of the last frame repeated): step 1 " in said
    assert "\ndoes it obey? the true action's frame is nearer" in said


@pytest.mark.parametrize("broken", ["obedience", "brief_fidelity", "draw_obedience", "dream_beside_real"])
@pytest.mark.thorough
def test_what_fails_after_the_last_update_costs_a_line_and_no_run(
    small: Config, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory\nleft")

    monkeypatch.setattr(testing, broken, fails)
    with on_data(small, tmp_path / "run", [9, 30, 12, 40, 70, 8], actions=SHOOTER) as tester:
        tester.finish(COUNTERS, never)
    summary, said = summary_of(tmp_path / "run"), capsys.readouterr().out
    missing = {name for name in ("fidelity", "obedience") if name not in summary}
    assert missing == {"brief_fidelity": {"fidelity"}, "obedience": {"obedience"}}.get(broken, set()), said
    assert said.count("no memory left\n") == 1 and "denoiser/held_out_loss" in summary["held_out"]


def test_the_end_of_a_run_may_be_stopped_and_begins_anew(small: Config, tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted

    with on_data(small, tmp_path / "run", [30, 30]) as tester:
        with pytest.raises(Interrupted):
            tester.finish(COUNTERS, Undisturbed(stop))
        assert not (tmp_path / "run" / "summary.json").exists()
        tester.finish(COUNTERS, never)
    assert summary_of(tmp_path / "run")["fidelity"]["starts"] == 16


def test_where_nothing_is_held_out_the_longest_episode_is_filmed(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with on_data(small, folder, [30]) as tester:
        tester.finish(COUNTERS, never)
    assert summary_of(folder)["held_out"] == {} and summary_of(folder)["measured_on"] == "all episodes"
    assert film_of(folder / "dream.mp4")[0] == 4 + (30 - 1 - 15)
    assert "no episode was held out" in capsys.readouterr().out


@pytest.mark.thorough
def test_a_film_shows_at_most_so_many_frames_of_a_long_recording(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffworld.training.testing.FILM_FRAMES", 6)
    with on_data(small, tmp_path / "run", [90]) as tester:
        tester.finish(COUNTERS, never)
    assert film_of(tmp_path / "run" / "dream.mp4")[0] == 4 + 6


# --- films that cannot be made ---------------------------------------------------------------------------------------


def test_a_first_test_game_shorter_than_the_context_costs_a_line(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = replace(small, denoiser=replace(small.denoiser, context_frames=16, cond_channels=32))
    with in_a_game(longer, tmp_path) as tester:
        tester.finish(COUNTERS, never)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert notes[0] == "note: there is no dream.mp4: the game has 9 frames, too few to dream on from 16 of them"
    assert not (tmp_path / "dream.mp4").exists()
    assert summary_of(tmp_path)["agent"]["steps"] == [9, 9]
    assert (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("recipe", ["diamond", "model_free"])
def test_an_encoder_that_fails_costs_a_line(
    small: Config, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no such codec,\nat all")

    monkeypatch.setattr("diffworld.training.testing.write_video", broken)
    if recipe == "diamond":
        with in_a_game(small, tmp_path) as tester:
            tester.finish(COUNTERS, never)
    else:
        game = playing(small, recipe="model_free")
        with model_free_trainer(game) as trainer:
            make_tester(trainer, game, tmp_path).finish(COUNTERS, never)
    name = "dream.mp4" if recipe == "diamond" else "game.mp4"
    said = capsys.readouterr().out
    assert f"note: there is no {name}: no such codec, at all\n" in said
    assert f"see {tmp_path}/curves.png, summary.json" in said.replace("\n", "")
    assert summary_of(tmp_path)["counters"] == COUNTERS


def test_a_recording_shorter_than_the_context_costs_a_line(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_data(small, tmp_path / "run", [3, 2]) as tester:
        tester.finish(COUNTERS, never)
    assert "note: there is no dream.mp4: the game has 2 frames" in capsys.readouterr().out
    assert "denoiser/held_out_loss" in summary_of(tmp_path / "run")["held_out"]
