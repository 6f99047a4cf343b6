"""The benchmark of the environment measures what it is asked to, and writes what it printed."""

import json
from pathlib import Path

import pytest

from benchmarks.dream_env import main


def test_frames_a_second_of_two_batches(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    arguments = ["--model", str(run), "--rows", "1,3", "--seconds", "0.2", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    written = json.loads(out.read_text())
    assert (written["model"], written["device"]) == ("catch", "cpu")
    assert [row["rows"] for row in written["rows"]] == [1, 3]
    for row in written["rows"]:
        assert row["frames_per_second"] == pytest.approx(row["rows"] * 1000 / row["step_ms"])
        assert 0 < row["step_ms"] <= row["slowest_ms"]
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("arguments", ["--rows 0", "--seconds 0", "--model runs/none"])
def test_mistakes_are_one_line(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
