"""The library lists what is there, reads what was written, and serves nothing else."""

import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from diffworld.data import Dataset
from diffworld.play.library import Library
from diffworld.runtime.errors import UserError
from diffworld.spec import ActionSpace, GameSpec, Keys

NOISE = GameSpec("noise", 8, 12, ActionSpace.discrete(3))


def write(
    folder: Path, episodes: list[list[float]], unfinished: bool = False, info: dict[str, str] | None = None
) -> None:
    """Episodes of random frames with the rewards given; the last may go on."""
    rng = np.random.default_rng(len(episodes))
    with Dataset.create(folder, NOISE, info) as dataset:
        for place, rewards in enumerate(episodes):
            episode = dataset.new_episode()
            frames = rng.integers(0, 256, (len(rewards) + 1, 8, 12, 3), dtype=np.uint8)
            for t, reward in enumerate(rewards):
                ended = t + 1 == len(rewards) and not (unfinished and place + 1 == len(episodes))
                dataset.append(episode, frames[t], t % 3, reward, ended, False, frames[t + 1] if ended else None)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    write(tmp_path / "replay", [[0, 1, 0, -2], [0, 0, 5]], unfinished=True, info={"env": "a"})
    write(tmp_path / "records" / "first", [[1.0]])
    return Library({"replay": tmp_path / "replay", "recordings": tmp_path / "records", "gone": tmp_path / "gone"})


def test_it_lists_data_sets_and_folders_of_them(library: Library, tmp_path: Path) -> None:
    listed = library.datasets()
    assert [(entry["id"], entry["kind"], entry["episodes"], entry["steps"]) for entry in listed] == [
        ("replay", "replay", 2, 7),
        ("recordings.first", "recordings", 1, 1),
    ]
    assert listed[0]["frame_size"] == [8, 12]
    assert listed[0]["info"] == {"env": "a"}
    assert json.loads(json.dumps(listed)) == listed
    write(tmp_path / "records" / "second one!", [[0.0]])
    ids = [entry["id"] for entry in library.datasets()]
    assert ids == ["replay", "recordings.second_one_", "recordings.first"]
    assert library.frame("recordings.second_one_", 0, 0).shape == (8, 12, 3)


def test_it_tells_rewards_and_ends(library: Library) -> None:
    rows = library.episodes("replay", 0, 10)
    assert [(row["id"], row["steps"], row["return"], row["ended"]) for row in rows] == [
        (0, 4, -1, True),
        (1, 3, 5, False),
    ]
    assert [row["reward_steps"] for row in rows] == [[[1, 1], [3, -1]], [[2, 1]]]
    assert library.episodes("replay", 1, 10) == rows[1:]
    assert library.episodes("replay", 5, 10) == []
    table = library.episode_table("replay", 0)
    assert table["actions"] == [0, 1, 2, 0]
    assert table["rewards"] == [0, 1, 0, -2]
    assert (table["terminated"], table["truncated"], table["frames"]) == (True, False, 5)
    assert table["action_names"] == ["0", "1", "2"]
    assert json.loads(json.dumps([rows, table])) == [rows, table]


def test_frames_are_those_written_the_last_one_too(library: Library, tmp_path: Path) -> None:
    with Dataset.open(tmp_path / "replay") as dataset:
        for t, frame in enumerate([*dataset.episode_frames(0), dataset.final_frame(0)]):
            np.testing.assert_array_equal(library.frame("replay", 0, t), frame)
    tape = library.tape("replay", 1, 4)
    assert (len(tape.frames), tape.actions, tape.terminated) == (3, [0, 1, 2], False)


def test_actions_may_be_sets_of_keys(tmp_path: Path) -> None:
    spec = dataclasses.replace(NOISE, actions=ActionSpace((Keys(("w", "space")),)))
    with Dataset.create(tmp_path / "keys", spec) as dataset:
        episode = dataset.new_episode()
        for action in ([0, 1], [1, 1]):
            dataset.append(episode, np.zeros((8, 12, 3), np.uint8), np.array(action), 0.0, False, False)
    library = Library({"keys": tmp_path / "keys"})
    table = library.episode_table("keys", 0)
    assert json.loads(json.dumps(table)) == table
    assert (table["actions"], table["action_names"]) == ([[0, 1], [1, 1]], ["w", "space"])
    np.testing.assert_array_equal(library.tape("keys", 0, 4).actions, [[0, 1], [1, 1]])


def test_it_sees_a_data_set_grow_and_shrink(library: Library, tmp_path: Path) -> None:
    assert library.episodes("replay", 1, 1)[0]["steps"] == 3
    with Dataset.open(tmp_path / "replay", writable=True) as dataset:
        dataset.append(1, np.zeros((8, 12, 3), np.uint8), 0, 0.0, False, False)
        assert library.episodes("replay", 1, 1)[0]["steps"] == 4
        assert not library.frame("replay", 1, 3).any()
        dataset.truncate(5)
    assert len(library.episodes("replay", 0, 9)) == 1


@pytest.mark.parametrize("dataset", ["nothing", "", "..", "../replay", "recordings", "recordings/first", "/etc"])
def test_only_listed_ids_lead_anywhere(library: Library, dataset: str) -> None:
    for call in (
        lambda: library.episodes(dataset, 0, 1),
        lambda: library.frame(dataset, 0, 0),
        lambda: library.episode_table(dataset, 0),
        lambda: library.export(dataset, 0, "mp4", 15),
    ):
        with pytest.raises(UserError, match="there is no data set"):
            call()


@pytest.mark.parametrize(("episode", "step"), [(2, 0), (-1, 0), (0, 5), (0, -1), (1, 3)])
def test_only_what_is_there_is_shown(library: Library, episode: int, step: int) -> None:
    with pytest.raises(UserError, match=r"no frame|no step"):
        library.frame("replay", episode, step)


def test_a_damaged_data_set_does_not_hide_the_others(library: Library, tmp_path: Path) -> None:
    rows = tmp_path / "replay" / "rows.bin"
    data = bytearray(rows.read_bytes())
    data[20] ^= 255
    rows.write_bytes(data)
    listed = library.datasets()
    assert "corrupt" in listed[0]["error"]
    assert listed[1]["error"] is None
    with pytest.raises(UserError, match="corrupt"):
        library.frame("replay", 0, 0)


def test_an_episode_becomes_a_film(library: Library) -> None:
    path = library.export("replay", 0, "mp4", 10)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    gif = library.export("replay", 0, "gif", 10)
    with Image.open(gif) as image:
        assert image.n_frames == 5  # type: ignore[attr-defined]
    assert library.film(path.parent.name) == path and library.film(path.name) is None
    written = path.stat().st_mtime_ns
    assert library.export("replay", 0, "mp4", 10) == path
    assert path.stat().st_mtime_ns == written
    library.close()
    assert not path.exists()


def test_a_long_list_is_one_name_each(tmp_path: Path) -> None:
    for last in "ab":
        write(tmp_path / ("long-" * 20 + last), [[0.0]])
    ids = [entry["id"] for entry in Library({"recordings": tmp_path}).datasets()]
    assert len(set(ids)) == 2
    assert max(map(len, ids)) <= 64
