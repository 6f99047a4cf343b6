"""The training command on a real game: to its end, killed and resumed."""

import json
import random
import subprocess
from pathlib import Path

import av
from tiny import command, environment, final_weights, kill_after, results, saves, train


def test_a_finished_run_leaves_everything(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["counters"]["env_steps"] == 240
    assert summary["counters"]["game_frames"] == 960
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
    assert json.loads((finished / "game.json").read_text())["name"] == "atari/Breakout"


def test_the_same_command_on_a_finished_run_says_so(finished: Path) -> None:
    again = train(finished)
    assert again.returncode == 0 and "is finished" in again.stdout


def test_killed_anywhere_and_resumed_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "killed", random.Random(0), 0
    for _ in range(3):
        process = subprocess.Popen(command(out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        kills += kill_after(process, out, saves(out) + rng.randrange(2, 12), rng.random() * 0.1)
    assert kills >= 2
    assert train(out).returncode == 0
    assert final_weights(out) == final_weights(finished)
    assert results(out) == results(finished)
    assert (out / "replay" / "frames.bin").read_bytes() == (finished / "replay" / "frames.bin").read_bytes()
    assert (out / "replay" / "rows.bin").read_bytes() == (finished / "replay" / "rows.bin").read_bytes()
