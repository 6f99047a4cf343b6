"""The description of a data set: written, read back, and refused where it is of no use."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffworld.data import Dataset, DatasetSchema
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.runtime.errors import UserError
from tests.older import write_older_data

SHAPE = (2, 3, 3)
GAME = GameSpec("toy", 2, 3, ActionSpace.discrete(["stay", "go"]))
GAMES = {
    "choice": GAME,
    "keys": GameSpec("", 2, 3, ActionSpace((Keys(("w", "s"), (("w", "s"),)),)), rewards=False, ends=False),
    "both": GameSpec(
        "shooter",
        2,
        3,
        ActionSpace((Keys(("w", "space")), Choice("mouse x", ("-4", "0", "4")))),
        steps_per_second=16,
        keys={"w": "KeyW"},
        presented={"height": 2, "width": 3},
    ),
}


def test_info_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written as JSON"):
        Dataset.create(tmp_path / "data", GAME, info={"object": object()})
    Dataset.create(tmp_path / "data", GAME).close()  # nothing is in the way


@pytest.mark.parametrize("kind", GAMES)
def test_the_game_survives_with_every_kind_of_actions(tmp_path: Path, kind: str) -> None:
    spec, info = GAMES[kind], {"player": "somebody", "seed": 3}
    rng = np.random.default_rng(0)
    actions = spec.actions.sample(rng, 4)
    with Dataset.create(tmp_path, spec, info=info) as dataset:
        episode = dataset.new_episode()
        for action in actions:
            dataset.append(episode, np.zeros(SHAPE, np.uint8), action, 0.0, False, False)
        with pytest.raises(UserError, match="action"):
            dataset.append(episode, np.zeros(SHAPE, np.uint8), spec.actions.size, 0.0, False, False)
    with Dataset.open(tmp_path) as dataset:
        assert dataset.spec == dataset.schema.spec == spec and dataset.schema.info == info
        assert dataset.schema.spec.frame_shape == SHAPE
        np.testing.assert_array_equal(dataset.episodes[0].actions, actions)
        assert dataset.episodes[0].actions.dtype == actions.dtype
    with pytest.raises(UserError, match="already holds"):
        Dataset.create(tmp_path, spec)


# --- data sets of the version before ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "info", "expected"),
    [
        (
            {"kind": "discrete", "num_actions": 3},
            {"env": "atari/Pong", "action_names": ["NOOP", "UP", "DOWN"]},
            ActionSpace.discrete(["NOOP", "UP", "DOWN"]),
        ),
        ({"kind": "discrete", "num_actions": 3}, {}, ActionSpace.discrete(3)),
        ({"kind": "discrete", "num_actions": 3}, {"action_names": ["one"]}, ActionSpace.discrete(3)),
        ({"kind": "multi_hot", "size": 2}, {"env": "keys"}, ActionSpace((Keys(("0", "1")),))),
    ],
)
def test_a_data_set_of_the_version_before_still_opens(
    tmp_path: Path, action: dict[str, Any], info: dict[str, Any], expected: ActionSpace
) -> None:
    taken = np.array([[0, 1], [1, 1], [1, 0]] if action["kind"] == "multi_hot" else [0, 2, 1])
    write_older_data(tmp_path / "data", action, info, taken)
    with Dataset.open(tmp_path / "data", writable=True) as dataset:
        assert dataset.spec == GameSpec(info.get("env", ""), 2, 3, expected)
        assert dataset.schema.info == info
        assert (dataset.num_rows, dataset.dropped_rows) == (4, 0)
        episode = dataset.episodes[0]
        np.testing.assert_array_equal(episode.actions, taken)
        assert episode.rewards.tolist() == [0, 1, 2] and episode.terminated
        assert dataset.episode_frames(0).ravel().tolist() == list(range(54))
        assert dataset.final_frame(0).ravel().tolist() == list(range(54, 72))
        again = dataset.new_episode()
        dataset.append(again, np.zeros(SHAPE, np.uint8), expected.idle, 1.0, False, False)
    with Dataset.open(tmp_path / "data") as dataset:
        assert dataset.num_steps == 4


def test_what_the_version_before_said_of_the_environment_is_kept(tmp_path: Path) -> None:
    info = {"env": "minatar/breakout", "environment": {"height": 2, "width": 3, "sticky_actions": 0.25}}
    write_older_data(tmp_path / "data", {"kind": "discrete", "num_actions": 3}, info, np.array([0, 1]))
    assert DatasetSchema.read(tmp_path / "data").spec.presented == info["environment"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 4}, "version 4"),
        ({"format_version": None}, "version None"),
        ({"action": {"kind": "continuous", "size": 1}}, "damaged"),
        ({"action": {"kind": "discrete", "num_actions": 0}}, "damaged"),
        ({"action": {"kind": "discrete", "num_actions": 10**12}}, "damaged"),
        ({"action": {"kind": "discrete", "num_actions": "2"}}, "damaged"),
        ({"action": {"kind": "multi_hot", "size": 10**12}}, "damaged"),
        ({"action": {"kind": "multi_hot", "size": -1}}, "damaged"),
        ({"frame_shape": [0]}, "damaged"),
        ({"frame_shape": [4, 4, 1]}, "damaged"),
        ({"frame_shape": [0, 4, 3]}, "damaged"),
        ({"info": 3}, "damaged"),
        ({"info": {"environment": "small"}}, "damaged"),
    ],
)
def test_unreadable_description_of_the_version_before(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_older_data(tmp_path / "data", {"kind": "discrete", "num_actions": 2}, {}, np.array([0, 1]))
    path = tmp_path / "data" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as error:
        Dataset.open(tmp_path / "data")
    assert "\n" not in str(error.value)


def test_a_description_without_a_word_on_frames_is_of_raw_ones(tmp_path: Path) -> None:
    """As version 2 was written before."""
    with Dataset.create(tmp_path, GAME) as dataset:
        dataset.append(dataset.new_episode(), np.full(SHAPE, 7, np.uint8), 0, 0.0, False, False)
    path = tmp_path / "dataset.json"
    description = json.loads(path.read_text())
    assert description.pop("frames") == "raw" and description["format_version"] == 2
    path.write_text(json.dumps(description))
    with Dataset.open(tmp_path) as dataset:
        assert (dataset.episode_frames(0) == 7).all()


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"format_version": 2}', "[" * 10**5])
def test_a_description_that_is_none(tmp_path: Path, content: str) -> None:
    Dataset.create(tmp_path, GAME).close()
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"damaged|no JSON") as error:
        Dataset.open(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"game": None},
        {"game": {"name": "toy"}},
        {"info": 3},
        {"frames": "webp"},  # of version 2, which has none of these
        {"frames": "jpeg", "format_version": 3},
        {"frames": None, "format_version": 3},
        {"frames": [], "format_version": 3},
        {"frames": "raw", "format_version": 3},
    ],
)
def test_unreadable_description(tmp_path: Path, change: dict[str, Any]) -> None:
    Dataset.create(tmp_path, GAME).close()
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="damaged"):
        Dataset.open(tmp_path)


def test_no_data_set_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set"):
        Dataset.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .* something else has that name"):
        Dataset.create(tmp_path / "file" / "data", GAME)
    (tmp_path / "frames.bin").write_bytes(b"somebody else's")
    with pytest.raises(UserError, match="without its"):
        Dataset.create(tmp_path, GAME)
    Dataset.create(tmp_path / "data", GAME).close()
    (tmp_path / "data" / "frames.bin").unlink()
    with pytest.raises(UserError, match="cannot open"):
        Dataset.open(tmp_path / "data")
