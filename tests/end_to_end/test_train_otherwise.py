"""The training command's other ways: weights of another run, no world model, another number format."""

import json
import subprocess
from pathlib import Path

import pytest
from tiny import command, environment, final_weights, kill_after, train

ONE_EPOCH = ("--collection.total-steps", "60", "--epochs", "0")


def test_weights_of_another_run(finished: Path, tmp_path: Path) -> None:
    copied = train(
        tmp_path / "copied", "--init-from", str(finished), "--init-networks", "denoiser,reward_end",
        "--denoiser-updates.learning-rate", "0", "--denoiser-updates.weight-decay", "0", *ONE_EPOCH,
    )  # fmt: skip
    assert copied.returncode == 0, copied.stderr
    old, new = final_weights(finished), final_weights(tmp_path / "copied")
    assert all(new[k] == old[k] for k in old if k.startswith("denoiser."))
    assert any(new[k] != old[k] for k in old if k.startswith("actor_critic."))


@pytest.mark.thorough
def test_model_free_counts_real_steps_and_resumes(tmp_path: Path) -> None:
    options = ("--recipe", "model_free", "--collection.total-steps", "160")
    whole = train(tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["counters"]["env_steps"] == 160
    assert all(name.startswith("actor_critic.") for name in final_weights(tmp_path / "whole"))
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(out, *options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    kill_after(process, out, 5)
    assert train(out, *options).returncode == 0
    assert final_weights(out) == final_weights(tmp_path / "whole")


@pytest.mark.thorough
def test_bfloat16_trains_too(tmp_path: Path) -> None:
    done = train(tmp_path / "run", "--precision", "bfloat16", *ONE_EPOCH)
    assert done.returncode == 0, done.stderr
