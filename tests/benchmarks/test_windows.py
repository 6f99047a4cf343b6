"""The benchmark of windows makes what it says, measures both ways, and leaves nothing but its record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.windows import main
from diffworld.data import Dataset
from diffworld.game import ActionSpace, GameSpec


def test_it_measures_both_ways_and_cleans_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "out"), "--quick", "--height", "12", "--width", "16"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["windows.json"]
    record: dict[str, Any] = json.loads((tmp_path / "out" / "windows.json").read_text())
    raw, compressed = record["forms"]["raw"], record["forms"]["compressed"]
    assert raw["steps"] == compressed["steps"] == 1200
    assert raw["gigabytes"] == pytest.approx(1201 * 12 * 16 * 3 / 1e9)  # a step more ends an episode
    for form in (raw, compressed):
        assert form["windows_a_second"]["cold"] > 0 and form["windows_a_second"]["warm"] > 0
    said = capsys.readouterr().out
    assert "raw: " in said and "compressed: " in said
    assert "cold: " in said and "warm: " in said and "ms each" in said


@pytest.mark.thorough
def test_it_shows_the_frames_of_another_data_set(tmp_path: Path) -> None:
    spec = GameSpec("toy", 6, 8, ActionSpace.discrete(2))
    with Dataset.create(tmp_path / "data", spec) as data:
        data.append(data.new_episode(), np.full(spec.frame_shape, 7, np.uint8), 0, 0.0, False, False)
    like = ["--like", str(tmp_path / "data"), "--height", "12", "--width", "16"]
    assert main(["--out", str(tmp_path / "out"), "--quick", *like]) == 0
    forms = json.loads((tmp_path / "out" / "windows.json").read_text())["forms"]
    assert forms["compressed"]["gigabytes"] < forms["raw"]["gigabytes"] / 5  # of one colour


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hours", "1000", "--height", "4096", "--width", "4096"], "lower --hours or the size"),
        (["--hours", "0"], "--hours is 0.0; it must be above 0"),
    ],
)
def test_what_cannot_be_is_one_line(options: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["--out", str(tmp_path / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
