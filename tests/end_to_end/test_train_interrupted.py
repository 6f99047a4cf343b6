"""What stops a training: Ctrl-C, a full disk, losses that are no numbers, damage."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny import LIMIT, command, environment, final_weights, saves, train


@pytest.mark.thorough
def test_ctrl_c_saves_and_the_folder_may_be_moved(finished: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "here", tmp_path / "there" / "run"
    process = subprocess.Popen(
        command(out), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while saves(out) < 8:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "the same command goes on" in errors and "Traceback" not in errors
    moved.parent.mkdir()
    shutil.move(out, moved)
    resumed = train(moved)
    assert resumed.returncode == 0 and "resuming" in resumed.stdout
    assert final_weights(moved) == final_weights(finished)


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


def test_a_replay_without_its_checkpoints_is_never_thrown_away(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints")
    rows = (run / "replay" / "rows.bin").read_bytes()
    refused = train(run)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "checkpoint" in refused.stderr
    assert (run / "replay" / "rows.bin").read_bytes() == rows


def test_a_diverging_run_stops_before_a_bad_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    failed = train(out, "--denoiser-updates.learning-rate", "1e29", "--denoiser-updates.warmup", "0")
    assert failed.returncode == 2 and "diverged" in failed.stderr and failed.stderr.count("\n") == 1
    assert sorted((out / "checkpoints").iterdir()), "the checkpoints before the first bad loss stay"


@pytest.mark.thorough
def test_a_full_disk_is_one_line_and_nothing_is_lost(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    limited = ["bash", "-c", 'ulimit -f 60; exec "$@"', "limited", *command(out)]
    failed = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    resumed = train(out)
    assert resumed.returncode == 0, resumed.stderr
    assert final_weights(out) == final_weights(finished)
