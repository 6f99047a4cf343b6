"""Mistakes on the command line of `diffworld train`: one line each, and nothing written."""

from pathlib import Path

import pytest
from tiny import TINY

from diffworld.cli import main

BAD = [
    (["--env", "atari/Breakot"], "Breakout"),
    (["--device", "tpu"], "choose auto, cpu, cuda or mps"),
    (["--device", "cuda:9"], "device"),
    (["--sampler.order", "3"], "order"),
    (["--data", "/nowhere"], "/nowhere"),
    (["--init-from", "/nowhere"], "/nowhere"),
    (["--recipe", "world"], "--data"),
    (["--recipe", "model_free", "--networks", "denoiser"], "networks"),
    (["--preset", "atari100k"], "--preset is given twice"),
    (["--seed", "-1"], "seed is -1; it must be at least 0"),
    (["--horizon", "0"], "horizon is 0; it must be at least 1"),
    (["--collection.steps-per-epoch", "0"], "collection.steps_per_epoch is 0"),
    (["--collection.epsilon", "2"], "collection.epsilon is 2.0; it must be at most 1"),
    (["--collection.temperature", "nan"], "collection.temperature is nan"),
    (["--denoiser-updates.learning-rate", "nan"], "denoiser_updates.learning_rate is nan"),
    (["--denoiser-updates.weight-decay", "-1"], "denoiser_updates.weight_decay is -1"),
    (["--reward-end-updates.clip", "0"], "reward_end_updates.clip is 0"),
    (["--evaluation.episodes", "-1"], "evaluation.episodes is -1"),
    (["--checkpoint-seconds", "nan"], "checkpoint_seconds is nan"),
    (["--denoiser.channels", "8"], "one entry a level"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_input_is_one_line(
    options: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *TINY, "--out", str(out), *options]) == 2
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and said in errors, errors
    assert not out.exists()


def test_loggers_that_are_not_installed_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        import wandb  # noqa: F401

        pytest.skip("wandb is installed")
    except ImportError:
        pass
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), "--log-to", "wandb"]) == 2
    assert "wandb" in capfd.readouterr().err


def test_dry_run_prints_sizes_and_time_and_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert len(said.splitlines()) <= 12 and "minatar/breakout | " in said
    for word in ("parameters", "together", "memory", "replay", "checkpoint"):
        assert word in said
    assert not (tmp_path / "run").exists()
