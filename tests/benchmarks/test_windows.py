"""The benchmark of windows makes what it says, measures both ways, and leaves nothing but its record."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.windows import main


def test_it_measures_both_ways_and_cleans_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "out"), "--quick", "--height", "12", "--width", "16"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["windows.json"]
    record: dict[str, Any] = json.loads((tmp_path / "out" / "windows.json").read_text())
    assert record["steps"] == 1200 and record["gigabytes"] == pytest.approx(1200 * 12 * 16 * 3 / 1e9)
    assert record["windows_a_second"]["cold"] > 0 and record["windows_a_second"]["warm"] > 0
    said = capsys.readouterr().out
    assert "cold: " in said and "warm: " in said and "ms each" in said


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
