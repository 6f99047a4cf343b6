"""What is recorded is what was played and not taken back, and one can train on it."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import LIMIT
from tiny_run import BREAKOUT, make_run

from diffworld.data import Dataset, GameStep
from diffworld.game import ActionSpace, GameSpec
from diffworld.play.library import Library
from diffworld.play.recording import EpisodeRecorder, export_film, export_side_by_side
from diffworld.play.session import REWIND_STEPS, PlaySession
from diffworld.play.view import View
from diffworld.runs import Model, load
from diffworld.runtime.errors import UserError
from tests.small_disk import files_no_larger_than

DOT = GameSpec("dot", 1, 1, ActionSpace.discrete(1))
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_run(tmp_path_factory.mktemp("recording") / "run"), "cpu")


def test_an_episode_is_recorded_as_it_was_seen(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, tmp_path / "records", player="agent", world="both", horizon=4, seed=2)
    session.reset()
    session.record(True)
    assert session.recording
    views = [session.configure()] + [session.step() for _ in range(7)]  # an end after 4, a start, 2 steps
    written = session.record(False)
    assert not session.recording
    assert [path.parent for path in written] == [tmp_path / "records"] * 2
    takes = set()
    for path, world in zip(written, ("dream", "real"), strict=True):
        with Dataset.open(path) as dataset:
            assert dataset.spec == BREAKOUT
            info = dataset.schema.info
            takes.add(info["take"])
            assert {**info, "take": "", "games": []} == {"world": world, "model": "run", "take": "", "games": []}
            assert len(info["games"]) == 2
            assert dataset.episodes.lengths.tolist() == [4, 2]
            for episode, part in ((0, views[:5]), (1, views[5:])):
                found = dataset.episodes[episode]
                shown = np.stack([getattr(view, world) for view in part])
                np.testing.assert_array_equal(dataset.episode_frames(episode), shown[:-1])
                np.testing.assert_array_equal(dataset.final_frame(episode), shown[-1])
                assert found.actions.tolist() == [view.action for view in part[1:]]
                rewards = [view.reward if world == "dream" else view.real_reward for view in part[1:]]
                assert found.rewards.tolist() == rewards
                assert (found.terminated, found.truncated) == (False, True)
    assert len(takes) == 1
    session.close()


def test_what_was_rewound_is_not_recorded(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, tmp_path, horizon=3)
    session.reset()
    session.step(0)
    session.record(True)
    played: list[View] = [session.step(action) for action in (1, 2)]  # to the horizon
    session.step(0)
    session.step(3)
    session.rewind(3)  # back over the start, to the first recorded step
    played[1] = session.step(3)
    (path,) = session.record(False)
    with Dataset.open(path) as dataset:
        assert [episode.actions.tolist() for episode in dataset.episodes] == [[1, 3]]
        np.testing.assert_array_equal(dataset.final_frame(0), played[1].dream)
    session.record(True)
    assert session.record(False) == []  # nothing played, nothing written
    assert list(tmp_path.iterdir()) == [path]
    session.close()


def test_a_recording_that_is_played_is_recorded_as_one_beside_its_dream(model: Model, tmp_path: Path) -> None:
    library = Library({"recordings": tmp_path, **model.datasets})
    session = PlaySession(model, tmp_path, library)
    session.configure(world="both")
    session.record(True)
    session.step(1)  # the real game
    session.play_recording("replay", 0)
    for _ in range(4):
        session.step()
    session.rewind(1)
    paths = {str(info["world"]): path for path in session.record(False) if (info := info_of(path))}
    assert set(paths) == {"dream", "real", "recording"}
    replayed = f"recordings.{paths['recording'].name}"
    assert [row["steps"] for row in library.episodes(replayed, 0, 9)] == [3]
    assert library.episode_table(replayed, 0)["beside"] == "dream"
    for t in range(4):
        np.testing.assert_array_equal(library.frame(replayed, 0, t), library.frame("replay", 0, t))
    dream = f"recordings.{paths['dream'].name}"
    assert [library.episode_table(dream, n)["beside"] for n in range(2)] == ["real", "recording"]
    assert library.export(dream, 1, "mp4", 15, beside=True).stat().st_size > 0
    session.close()


def info_of(path: Path) -> dict[str, Any]:
    with Dataset.open(path) as dataset:
        return dataset.schema.info


def test_a_rewind_across_worlds_takes_from_each_recording_what_was_played_in_it(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, tmp_path)
    session.reset()
    session.record(True)
    for action in (1, 2, 3):
        session.step(action)
    session.configure(world="real")
    for action in (0, 1):
        session.step(action)
    session.rewind(2)  # the real game's steps, not the dream's
    assert session.settings.world == "real"
    session.step(2)
    session.rewind(3)  # that one, over the change, and the dream's last one
    session.step(0)
    (path,) = session.record(False)
    with Dataset.open(path) as dataset:
        assert dataset.schema.info["world"] == "dream"
        assert [episode.actions.tolist() for episode in dataset.episodes] == [[1, 2, 0]]
    session.close()


def test_a_long_recording_is_written_as_it_goes(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, tmp_path, player="random", denoising_steps=1)
    session.reset()
    session.record(True)
    for _ in range(REWIND_STEPS + 5):
        session.step()
    (folder,) = tmp_path.iterdir()
    with Dataset.open(folder) as dataset:
        assert dataset.num_steps == 5
    session.rewind(10_000)
    session.close()
    with Dataset.open(folder) as dataset:
        assert dataset.num_steps == 5


@settings(max_examples=40)
@given(st.lists(st.one_of(st.just("step"), st.just("end"), st.just("leave"), st.integers(1, 4)), max_size=40))
def test_recorded_is_what_was_played_less_what_was_taken_back(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[str | int]
) -> None:
    """`held_back` is 4, so up to 4 steps can be taken back."""
    recorder = EpisodeRecorder(tmp_path_factory.mktemp("recorder"), "x", 4, DOT, {})
    kept: list[GameStep] = []
    game, since = 0, 0
    for number, deed in enumerate(deeds):
        if isinstance(deed, int):
            back = min(deed, since)
            recorder.take_back(back)
            kept, since = kept[: len(kept) - back], since - back
            game += 1
        elif deed == "leave":
            game += 1
        else:
            frames = [np.full((1, 1, 3), (number + i) % 256, np.uint8) for i in range(2)]
            kept.append(GameStep(game, frames[0], 0, float(number), deed == "end", False, frames[1]))
            recorder.add(kept[-1])
            since, game = min(since + 1, 4), game + (deed == "end")
    recorder.close()
    if recorder.path is None:
        assert not kept
        return
    with Dataset.open(recorder.path) as dataset:
        assert [reward for episode in dataset.episodes for reward in episode.rewards] == [s.reward for s in kept]
        games = list(dict.fromkeys(step.game for step in kept))
        assert dataset.episodes.lengths.tolist() == [sum(s.game == g for s in kept) for g in games]


def test_a_recording_that_finds_no_room_may_be_ended_once_there_is_some(tmp_path: Path) -> None:
    frame = np.zeros((1, 1, 3), np.uint8)
    recorder = EpisodeRecorder(tmp_path, "x", 2, DOT, {})
    steps = [GameStep(0, frame, 0, float(number), False, False, frame) for number in range(7)]
    for step in steps[:4]:
        recorder.add(step)
    with files_no_larger_than(20):
        with pytest.raises(UserError, match="cannot write"):
            recorder.add(steps[4])
        with pytest.raises(UserError, match="cannot write"):
            recorder.close()
    for step in steps[5:]:
        recorder.add(step)
    recorder.close()
    assert recorder.path is not None
    with Dataset.open(recorder.path) as dataset:
        assert dataset.episodes[0].rewards.tolist() == [step.reward for step in steps]


def test_recording_does_not_begin_where_nothing_can_be_written(model: Model, tmp_path: Path) -> None:
    session = PlaySession(model, tmp_path / "records", horizon=4)
    session.reset()
    with files_no_larger_than(0), pytest.raises(UserError, match=f"^cannot write {tmp_path}/records: File too large"):
        session.record(True)
    assert not session.recording
    session.close()


def test_films_are_refused_where_they_would_be_too_large(tmp_path: Path) -> None:
    frames = np.zeros((1001, 1, 1, 3), np.uint8)
    with pytest.raises(UserError, match="export it as MP4"):
        export_film(tmp_path / "a.gif", frames, "gif", 15)
    with pytest.raises(UserError, match="export it as MP4"):
        export_side_by_side(tmp_path / "a.gif", {"dream": frames, "real": frames}, "gif", 15)
    export_film(tmp_path / "a.gif", frames[:2], "gif", 15)
    assert (tmp_path / "a.gif").stat().st_size > 0


def test_a_killed_recording_is_a_whole_data_set(tmp_path: Path) -> None:
    code = "import sys; from diffworld.commands.record import main; main(sys.argv[1:])"
    options = f"--env atari/Breakout --height 16 --width 16 --steps 1000000 --out {tmp_path / 'data'}".split()
    command = [sys.executable, "-c", code, *options]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    rows = tmp_path / "data" / "rows.bin"
    try:
        deadline = time.monotonic() + LIMIT
        while not (rows.exists() and rows.stat().st_size > 17 * 100) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    with Dataset.open(tmp_path / "data") as dataset:
        assert dataset.num_steps >= 90
        assert dataset.dropped_rows <= 2
