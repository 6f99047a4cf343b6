"""The library lists what is there, reads what was written, and serves nothing else."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from diffworld.data import Compress, Dataset, GameStep
from diffworld.game import ActionSpace, GameSpec, Keys
from diffworld.play.library import Library
from diffworld.play.recording import FilmKind, Take, note
from diffworld.runtime.errors import UserError

NOISE = GameSpec("noise", 8, 12, ActionSpace.discrete(3))


def write(
    folder: Path,
    episodes: list[list[float]],
    unfinished: bool = False,
    info: dict[str, Any] | None = None,
    compress: Compress = "auto",
) -> None:
    """Episodes of random frames with the rewards given; the last may go on."""
    rng = np.random.default_rng(len(episodes))
    with Dataset.create(folder, NOISE, info, compress) as dataset:
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


def test_compressed_it_shows_the_same(tmp_path: Path) -> None:
    library = Library({form: tmp_path / form for form in ("on", "off")})
    for form in ("on", "off"):
        write(tmp_path / form, [[0.0] * 9, [1.0] * 3], compress=form)
    for episode in (0, 1):
        raw, compressed = (library.tape(form, episode, 4).frames for form in ("off", "on"))
        np.testing.assert_array_equal(raw, compressed)
    np.testing.assert_array_equal(library.thumbnail("on", 0), library.thumbnail("off", 0))
    path = tmp_path / "on" / "frames.bin"
    library.frame("on", 0, 8)
    path.write_bytes(path.read_bytes()[:100])  # behind its back
    with pytest.raises(UserError, match=r"^row 8 of .* is corrupt, or was cut off meanwhile"):
        library.frame("on", 0, 8)


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


# Recordings


def record(parent: Path, games: list[tuple[str, list[int]]]) -> list[Path]:
    """A take: in each game the player did these steps, in `dream`, `real` or `both`."""
    rng = np.random.default_rng(0)
    take = Take(parent, 1, {"dream": NOISE, "real": NOISE}, {"model": "m"})
    for game, (world, actions) in enumerate(games):
        for action in actions:
            frames = rng.integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
            step = GameStep(game, frames[0], action, 0.0, False, False, frames[1])
            for source in ("dream", "real"):
                if world in (source, "both"):
                    take.add(source, dataclasses.replace(step, frame=frames[int(source == "real")]))
    return take.close()


def ids(library: Library) -> dict[str, str]:
    """The recordings' ids, by world."""
    return {entry["info"]["world"]: entry["id"] for entry in library.datasets() if entry["kind"] == "recordings"}


@pytest.fixture
def recorded(tmp_path: Path) -> Library:
    record(tmp_path / "records", [("both", [0, 1]), ("dream", [2, 2, 2]), ("real", [1]), ("both", [1, 2, 0])])
    write(tmp_path / "replay", [[1.0]])
    return Library({"recordings": tmp_path / "records", "replay": tmp_path / "replay"})


def test_an_episode_finds_its_other_side_by_the_game_it_is_of(recorded: Library) -> None:
    dream, real = ids(recorded)["dream"], ids(recorded)["real"]
    sides = {world: recorded.episodes(name, 0, 9) for world, name in ids(recorded).items()}
    assert [[row["steps"] for row in sides[world]] for world in ("dream", "real")] == [[2, 3, 3], [2, 1, 3]]
    besides = {name: [recorded.episode_table(name, n)["beside"] for n in range(3)] for name in (dream, real)}
    assert besides == {dream: ["real", None, "real"], real: ["dream", None, "dream"]}
    assert recorded.episode_table("replay", 0)["beside"] is None


@pytest.mark.parametrize("kind", ["mp4", "gif"])
@pytest.mark.parametrize("from_world", ["dream", "real"])
def test_a_film_side_by_side_has_the_dream_on_the_left(recorded: Library, from_world: str, kind: FilmKind) -> None:
    dream, real = ids(recorded)["dream"], ids(recorded)["real"]
    path = recorded.export(ids(recorded)[from_world], 2, kind, 10, beside=True)
    assert path.name == f"{ids(recorded)[from_world]}-episode-2-side-by-side.{kind}"
    if kind == "mp4":
        with av.open(str(path)) as container:
            film = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    else:
        with Image.open(path) as image:
            film = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(image)]
    assert len(film) == 4  # three steps, and where they led
    for t, joined in enumerate(film):
        for name, left in ((dream, 0), (real, 12 * 32 + 8)):
            shown = joined[24 : 24 + 8 * 32, left : left + 12 * 32].reshape(8, 32, 12, 32, 3)[:, 16, :, 16]
            assert np.abs(shown.astype(int) - recorded.frame(name, 2, t)).mean() < 12  # 256 colours, or half the hues


def test_what_was_recorded_alone_has_no_other_side(recorded: Library) -> None:
    for name, episode in ((ids(recorded)["dream"], 1), ("replay", 0)):
        with pytest.raises(UserError, match="recorded alone"):
            recorded.export(name, episode, "mp4", 10, beside=True)
    recorded.delete(ids(recorded)["real"])
    assert recorded.episode_table(ids(recorded)["dream"], 0)["beside"] is None


def test_a_recording_is_renamed_and_keeps_all_else(recorded: Library) -> None:
    name = ids(recorded)["dream"]
    before = next(entry for entry in recorded.datasets() if entry["id"] == name)
    assert before["editable"]
    recorded.rename(name, "My best game")
    after = next(entry for entry in recorded.datasets() if entry["id"] == name)
    assert after == {**before, "info": {**before["info"], "title": "My best game"}}
    assert recorded.episode_table(name, 0)["beside"] == "real"


def test_a_recording_is_deleted_whole(recorded: Library, tmp_path: Path) -> None:
    recorded.delete(ids(recorded)["dream"])
    assert list(ids(recorded)) == ["real"]
    assert len(list((tmp_path / "records").iterdir())) == 1
    with pytest.raises(UserError, match="there is no data set"):
        recorded.delete("recordings.nothing")


def test_a_recording_in_the_making_is_not_deleted(tmp_path: Path) -> None:
    take = Take(tmp_path, 1, {"dream": NOISE}, {})
    frame = np.zeros((8, 12, 3), np.uint8)
    take.add("dream", GameStep(0, frame, 0, 0.0, False, False, frame))
    take.add("dream", GameStep(0, frame, 0, 0.0, False, False, frame))
    library = Library({"recordings": tmp_path})
    (entry,) = library.datasets()
    with pytest.raises(UserError, match="still being made: end it first"):
        library.delete(entry["id"])
    library.rename(entry["id"], "Named early")
    (path,) = take.close()
    assert library.datasets()[0]["info"]["title"] == "Named early"
    assert library.datasets()[0]["info"]["games"] == [0]
    library.delete(entry["id"])
    assert not path.exists()


@pytest.mark.parametrize("where", ["run", "run/replay"])
def test_a_runs_own_data_are_not_touched_wherever_the_recordings_lie(tmp_path: Path, where: str) -> None:
    run = tmp_path / "run"
    write(run / "replay", [[1.0]], info={"env": "a"})
    write(run / "more", [[1.0]], info={"world": "dream"})  # recorded by hand, perhaps
    replay = Dataset.open(run / "replay")
    replay.close()
    library = Library({"recordings": tmp_path / where, "replay": run / "replay"})
    assert not any(entry["editable"] for entry in library.datasets())
    for entry in library.datasets():
        for call in (lambda name=entry["id"]: library.delete(name), lambda name=entry["id"]: library.rename(name, "x")):
            with pytest.raises(UserError, match="no recording of a player"):
                call()
    # Not even one that says of itself that it is a recording.
    note(run / "replay", world="dream", take="0")
    assert not any(entry["editable"] for entry in library.datasets())


@pytest.mark.parametrize("info", [{"take": 3, "world": "dream"}, {"take": "x", "world": "mars"}, {"take": ["x"]}])
def test_info_from_elsewhere_is_only_data(tmp_path: Path, info: dict[str, Any]) -> None:
    write(tmp_path / "odd", [[0.0], [0.0]], info={**info, "games": "many"})
    write(tmp_path / "other", [[0.0]], info={"take": "x", "world": "dream", "games": [0, {}]})
    library = Library({"recordings": tmp_path})
    assert {entry["id"]: entry["editable"] for entry in library.datasets()} == {
        "recordings.odd": False,
        "recordings.other": True,
    }
    assert library.episode_table("recordings.odd", 0)["beside"] is None
    assert library.episode_table("recordings.other", 0)["beside"] is None


def test_a_picture_of_an_episode_is_small(library: Library, tmp_path: Path) -> None:
    np.testing.assert_array_equal(library.thumbnail("replay", 0), library.frame("replay", 0, 2))
    large = dataclasses.replace(NOISE, height=200, width=100)
    with Dataset.create(tmp_path / "large", large) as dataset:
        frame = np.arange(200 * 100 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 100, 3)
        dataset.append(dataset.new_episode(), frame, 0, 0.0, False, False)
    found = Library({"large": tmp_path / "large"}).thumbnail("large", 0)
    np.testing.assert_array_equal(found, frame[::3, ::3])
    assert max(found.shape) <= 96


def test_a_long_list_is_one_name_each(tmp_path: Path) -> None:
    for last in "ab":
        write(tmp_path / ("long-" * 20 + last), [[0.0]])
    ids = [entry["id"] for entry in Library({"recordings": tmp_path}).datasets()]
    assert len(set(ids)) == 2
    assert max(map(len, ids)) <= 64
