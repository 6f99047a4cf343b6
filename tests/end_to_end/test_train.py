"""The training command on a real game: to its end, killed and resumed, on bad input."""

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import av
import pytest
from tiny import command, environment, final_weights, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained without interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = train(out)
    assert done.returncode == 0, done.stderr
    assert "random policy" in done.stdout and "agent" in done.stdout
    return out


def test_a_finished_run_leaves_everything(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["counters"]["env_steps"] == 240
    assert summary["counters"]["game_frames"] == 960
    assert summary["counters"]["denoiser_gradient_steps"] == 6 + 3 * 4
    assert len(summary["agent"]["scores"]) == len(summary["random"]["scores"]) == 2
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert all(line["denoiser/loss"] > 0 for line in lines)
    assert {"denoiser/held_out_loss", "reward_end/end_f1", "test/return_mean"} <= lines[1].keys()
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    with av.open(str(finished / "dream.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 4
    assert len(list((finished / "checkpoints").iterdir())) == 3
    assert any((finished / "tensorboard").iterdir())


def test_the_same_command_on_a_finished_run_says_so(finished: Path) -> None:
    again = train(finished)
    assert again.returncode == 0 and "is finished" in again.stdout


def test_killed_anywhere_and_resumed_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "killed", random.Random(0), 0
    for _ in range(4):
        process = subprocess.Popen(command(out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wanted = _saves(out) + rng.randrange(2, 12)
        while process.poll() is None and _saves(out) < wanted:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        kills += process.returncode != 0
    assert kills >= 2
    assert train(out).returncode == 0
    assert final_weights(out) == final_weights(finished)
    assert _results(out) == _results(finished)
    assert (out / "replay" / "frames.bin").read_bytes() == (finished / "replay" / "frames.bin").read_bytes()
    assert (out / "replay" / "rows.bin").read_bytes() == (finished / "replay" / "rows.bin").read_bytes()


def _saves(run: Path) -> int:
    return max((int(p.name) for p in (run / "checkpoints").glob("[0-9]*")), default=0)


def _results(run: Path) -> dict[str, object]:
    summary = json.loads((run / "summary.json").read_text())
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in line.items() if "seconds" not in k} for line in metrics]
    return {"agent": summary["agent"], "held_out": summary["held_out"], "metrics": timeless}


def test_ctrl_c_saves_and_the_folder_may_be_moved(finished: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "here", tmp_path / "there" / "run"
    process = subprocess.Popen(
        command(out), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while _saves(out) < 8:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors and "Traceback" not in errors
    moved.parent.mkdir()
    shutil.move(out, moved)
    resumed = train(moved)
    assert resumed.returncode == 0 and "resuming" in resumed.stdout
    assert final_weights(moved) == final_weights(finished)


def test_other_data_other_weights_other_worlds(finished: Path, tmp_path: Path) -> None:
    fixed = train(tmp_path / "fixed", "--data", str(finished / "replay"))
    assert fixed.returncode == 0, fixed.stderr
    assert not (tmp_path / "fixed" / "replay").exists()
    copied = train(
        tmp_path / "copied", "--init-from", str(finished), "--parts", "denoiser,reward_end",
        "--denoiser-updates.learning-rate", "0", "--denoiser-updates.weight-decay", "0",
    )  # fmt: skip
    assert copied.returncode == 0, copied.stderr
    old, new = final_weights(finished), final_weights(tmp_path / "copied")
    assert all(new[k] == old[k] for k in old if k.startswith("denoiser."))
    assert any(new[k] != old[k] for k in old if k.startswith("actor_critic."))


def test_model_free_counts_real_steps_and_resumes(tmp_path: Path) -> None:
    options = ("--model-free", "--collection.total-steps", "160")
    whole = train(tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["counters"]["env_steps"] == 160
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(out, *options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while _saves(out) < 5:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert train(out, *options).returncode == 0
    assert final_weights(out) == final_weights(tmp_path / "whole")


def test_bfloat16_trains_too(tmp_path: Path) -> None:
    done = train(tmp_path / "run", "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--env", "atari/Breakot"], "Breakout"),
        (["--device", "tpu"], "choose auto, cpu, cuda or mps"),
        (["--device", "cuda:9"], "device"),
        (["--sampler.order", "3"], "must be 1 (Euler) or 2 (Heun)"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--init-from", "/nowhere"], "/nowhere"),
        (["--wandb"], "wandb"),
    ],
)
def test_bad_input_is_one_line(options: list[str], said: str, tmp_path: Path) -> None:
    if options == ["--wandb"]:
        pytest.importorskip("packaging")
        try:
            import wandb  # noqa: F401

            pytest.skip("wandb is installed")
        except ImportError:
            pass
    failed = train(tmp_path / "run", *options)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1 and said in failed.stderr, failed.stderr


def test_another_configuration_and_damage_are_refused(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    other = train(run, "--horizon", "5")
    assert other.returncode == 2 and "horizon" in other.stderr and other.stderr.count("\n") == 1
    weights = sorted((run / "checkpoints").iterdir())[-1] / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-5] ^= 1
    weights.write_bytes(damaged)
    refused = train(run)
    assert refused.returncode == 2 and "damaged" in refused.stderr and refused.stderr.count("\n") == 1
    shutil.rmtree(weights.parent)
    assert train(run).returncode == 0
    assert final_weights(run) == final_weights(finished)


def test_a_diverging_run_stops_before_a_bad_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    failed = train(out, "--denoiser-updates.learning-rate", "1e38", "--denoiser-updates.warmup", "0")
    assert failed.returncode == 2 and "diverged" in failed.stderr and failed.stderr.count("\n") == 1
    saved = sorted((out / "checkpoints").iterdir())
    assert saved, "the checkpoints before the first bad loss stay"


def test_a_full_disk_is_one_line_and_nothing_is_lost(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    limited = ["bash", "-c", 'ulimit -f 60; exec "$@"', "limited", *command(out)]
    failed = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=120)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    resumed = train(out)
    assert resumed.returncode == 0, resumed.stderr
    assert final_weights(out) == final_weights(finished)


def test_dry_run_prints_sizes_and_time_and_writes_nothing(tmp_path: Path) -> None:
    said = train(tmp_path / "run", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert '"env": "atari/Breakout"' in said.stdout
    assert "parameters" in said.stdout and "replay" in said.stdout and "about" in said.stdout
    assert not (tmp_path / "run").exists()
