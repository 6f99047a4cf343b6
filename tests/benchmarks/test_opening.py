"""The benchmark of opening makes a data set in bulk that is one, and leaves nothing but its record."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.opening import EPISODE, SPEC, main, make
from diffworld.data import Dataset


def test_what_is_made_in_bulk_is_a_sound_data_set(tmp_path: Path) -> None:
    make(tmp_path / "data", EPISODE + 1)
    with Dataset.open(tmp_path / "data", checking=lambda _: None) as data:
        assert (data.num_rows, data.num_episodes, data.num_steps, data.dropped_rows) == (2 * EPISODE, 2, 2000, 0)
        assert data.episodes.truncated.all() and data.spec == SPEC
        assert not np.array_equal(data.episode_frames(1)[-1], data.final_frame(1))


@pytest.mark.thorough
def test_it_measures_and_cleans_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--rows", "2000"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["opening.json"]
    found = json.loads((tmp_path / "opening.json").read_text())
    assert found["rows"] == 2 * EPISODE and found["episodes"] == 2 and found["megabytes"] >= 0
    assert all(found[how]["seconds"] > 0 for how in ("every row checked", "cold", "again"))
    said = capsys.readouterr().out
    assert said.startswith("2,002 rows, 2 episodes: ") and "\n  cold: " in said
