"""The description of a data set: written, read back, and refused where it is of no use."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffworld.data import Dataset
from diffworld.runtime.errors import UserError

SHAPE = (2, 3, 3)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"num_actions": 3, "multi_hot_size": 3},
        {"num_actions": 0},
        {"frame_shape": (4, 4), "num_actions": 3},
        {"frame_shape": (4, 4, 1), "num_actions": 3},
        {"frame_shape": (0, 4, 3), "num_actions": 3},
        {"num_actions": 3, "info": {"object": object()}},
    ],
)
def test_bad_format_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Dataset.create(tmp_path / "data", **({"frame_shape": SHAPE} | bad))
    Dataset.create(tmp_path / "data", SHAPE, num_actions=1).close()  # nothing is in the way


def test_description_survives(tmp_path: Path) -> None:
    info = {"env_id": "Breakout", "seed": 3}
    Dataset.create(tmp_path, SHAPE, num_actions=np.int64(7), info=info).close()
    with Dataset.open(tmp_path) as dataset:
        assert dataset.format.frame_shape == SHAPE
        assert (dataset.format.num_actions, dataset.format.multi_hot_size) == (7, None)
        assert dataset.format.info == info
    with pytest.raises(UserError, match="already holds"):
        Dataset.create(tmp_path, SHAPE, num_actions=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "version"),
        ({"action": {"kind": "continuous", "size": 1}}, "damaged"),
        ({"frame_shape": [0]}, "damaged"),
        ({"info": 3}, "damaged"),
    ],
)
def test_unreadable_description(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    Dataset.create(tmp_path, SHAPE, num_actions=2).close()
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Dataset.open(tmp_path)


def test_no_data_set_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set"):
        Dataset.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot create"):
        Dataset.create(tmp_path / "file" / "data", SHAPE, num_actions=2)
    (tmp_path / "frames.bin").write_bytes(b"somebody else's")
    with pytest.raises(UserError, match="without its"):
        Dataset.create(tmp_path, SHAPE, num_actions=2)
    Dataset.create(tmp_path / "data", SHAPE, num_actions=2).close()
    (tmp_path / "data" / "frames.bin").unlink()
    with pytest.raises(UserError, match="cannot open"):
        Dataset.open(tmp_path / "data")
