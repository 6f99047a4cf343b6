"""The players' benchmark plays a real server and writes what it printed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_two_players_are_measured(tmp_path: Path) -> None:
    options = ["--demo", "--players", "2", "--fps", "5", "--seconds", "1", "--json", str(tmp_path / "rows.json")]
    command = [sys.executable, "-m", "benchmarks.play", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, cwd=ROOT)
    written = json.loads((tmp_path / "rows.json").read_text())
    (row,) = written["rows"]
    assert (written["model"], written["asked_fps"], row["drawing"], row["players"]) == ("demo", 5, "plain", 2)
    assert 0 < row["slowest_fps"] <= row["mean_fps"] <= 7
    assert done.stdout.splitlines()[1].split()[:2] == ["plain", "2"]
