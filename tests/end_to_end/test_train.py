"""The training command on real games: to its end, killed and resumed."""

import json
import os
import random
import subprocess
from pathlib import Path

import av
import pytest
from tiny import command, environment, final_weights, kill_after, results, saves, train

KILLS = 3 if os.environ.get("CI") else 1


def test_a_finished_run_leaves_everything(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["counters"]["env_steps"] == 240
    assert summary["counters"]["game_frames"] == 240
    assert summary["counters"]["denoiser_gradient_steps"] == 6 + 3 * 4
    assert {len(summary[who]["scores"]) for who in ("agent", "random", "constant", "blind")} == {2}
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert all(line["denoiser/loss"] > 0 for line in lines)
    assert {"denoiser/held_out_loss", "reward_end/end_f1", "eval/return_mean"} <= lines[1].keys()
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    with av.open(str(finished / "dream.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 4
    assert len(list((finished / "checkpoints").iterdir())) == 3
    assert any((finished / "tensorboard").iterdir())
    assert json.loads((finished / "game.json").read_text())["name"] == "minatar/breakout"


def test_the_same_command_on_a_finished_run_says_so(finished: Path) -> None:
    again = train(finished)
    assert again.returncode == 0 and "is finished" in again.stdout


def test_killed_anywhere_and_resumed_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "killed", random.Random(0), 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        kills += kill_after(process, out, saves(out) + rng.randrange(2, 12), rng.random() * 0.1)
    assert kills >= max(1, KILLS - 1)
    assert train(out).returncode == 0
    assert final_weights(out) == final_weights(finished)
    assert results(out) == results(finished)
    assert (out / "replay" / "frames.bin").read_bytes() == (finished / "replay" / "frames.bin").read_bytes()
    assert (out / "replay" / "rows.bin").read_bytes() == (finished / "replay" / "rows.bin").read_bytes()


@pytest.mark.thorough
def test_an_atari_game_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """An emulator is brought back by playing its games again; MinAtar's games, of which the others train, so too."""
    options = ("--env", "atari/Breakout", "--environment.frame-skip", "4", "--collection.total-steps", "120")
    options += ("--evaluation.every-epochs", "0", "--evaluation.num-envs", "1", "--evaluation.final-episodes", "1")
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert train(whole, *options).returncode == 0
    assert json.loads((whole / "summary.json").read_text())["counters"]["game_frames"] == 480
    process = subprocess.Popen(
        command(out, *options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    kill_after(process, out, 4)
    assert train(out, *options).returncode == 0
    assert final_weights(out) == final_weights(whole) and results(out) == results(whole)
    assert (out / "replay" / "frames.bin").read_bytes() == (whole / "replay" / "frames.bin").read_bytes()
