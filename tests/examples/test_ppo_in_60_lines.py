"""The short PPO runs, and does the same again for the same seed."""

from pathlib import Path

import pytest

from examples.ppo_in_60_lines import main
from tests.dream_env.tiny_dream import make_run


def test_it_runs_and_its_returns_are_those_of_its_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    first = main(str(run), steps=256, rows=8, length=8)
    assert len(first) == 4 == len(capsys.readouterr().out.splitlines())
    assert all(-1 <= mean <= 1 for mean in first)
    assert main(str(run), steps=256, rows=8, length=8) == first, "seed and settings decide"
