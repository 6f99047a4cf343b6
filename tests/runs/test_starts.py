"""Where dreams start: windows of data and of games, and who is given which."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig, RandomPolicy, make_env
from diffworld.game import ActionSpace, GameSpec
from diffworld.runs.starts import (
    COLLECT_STEPS,
    MAX_STARTS,
    Starts,
    Window,
    collect_windows,
    make_window,
    window_tensors,
    windows_of,
)
from diffworld.runtime.errors import UserError
from tests.tiny_training import NINE, SHOOTER, Nine

CHOICE = ActionSpace.discrete(5)
SHAPE = (2, 2, 3)
CPU = torch.device("cpu")


def frame_of(number: int) -> np.ndarray:
    return np.full(SHAPE, number % 256, np.uint8)


def data_of(path: Path, lengths: list[int], space: ActionSpace = CHOICE) -> Dataset:
    """Unfinished episodes grown side by side; step t of episode e shows 50 e + t."""
    dataset = Dataset.create(path, GameSpec("", *SHAPE[:2], space))
    ids = [dataset.new_episode() for _ in lengths]
    actions = space.sample(np.random.default_rng(0), max(lengths, default=0))
    for t in range(max(lengths, default=0)):
        for episode, length in zip(ids, lengths, strict=True):
            if t < length:
                dataset.append(episode, frame_of(50 * episode + t), actions[t], 0.0, False, False)
    return dataset


# --- windows ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.sampled_from([CHOICE, SHOOTER]), st.integers(1, 8), st.integers(1, 5))
def test_a_window_ends_with_the_frames_it_is_made_of(space: ActionSpace, seen: int, length: int) -> None:
    frames = [frame_of(10 + t) for t in range(seen)]
    actions: list[Any] = list(space.sample(np.random.default_rng(0), seen))[:-1]
    window = make_window(space, frames, actions, length, episode=3, step=7)
    real = min(seen, length)
    assert window.frames.shape == (length, *SHAPE) and (window.episode, window.step) == (3, 7)
    assert window.has_frame.tolist() == [False] * (length - real) + [True] * real
    np.testing.assert_array_equal(window.frames[window.has_frame], frames[-real:])
    assert not window.frames[~window.has_frame].any()
    assert window.actions.dtype == (np.int64 if space.is_discrete else np.uint8)
    for place in range(1, real):
        np.testing.assert_array_equal(window.actions[-1 - place], actions[-place])
    assert not window.actions[-1].any() and not window.actions[: length - real].any(), "not chosen, or padding"


@pytest.mark.parametrize("space", [CHOICE, SHOOTER], ids=["choice", "vector"])
def test_windows_of_a_data_set_are_its_steps_with_a_full_past(tmp_path: Path, space: ActionSpace) -> None:
    with data_of(tmp_path / "data", [5, 2, 4], space) as dataset:
        windows = windows_of(dataset, 3)
        assert [(w.episode, w.step) for w in windows] == [(0, 2), (0, 3), (0, 4), (2, 2), (2, 3)]
        for window in windows:
            steps = range(window.step - 2, window.step + 1)
            assert window.frames[:, 0, 0, 0].tolist() == [50 * window.episode + t for t in steps]
            assert window.has_frame.all()
            episode = dataset.episodes[dataset.episodes.position(window.episode)]
            np.testing.assert_array_equal(window.actions[:-1], episode.actions[list(steps)[:-1]])
            assert not window.actions[-1].any()


def test_where_no_episode_is_long_enough_all_steps_count(tmp_path: Path) -> None:
    with data_of(tmp_path / "data", [2, 1]) as dataset:
        windows = windows_of(dataset, 4)
    assert [(w.episode, w.step, w.has_frame.sum()) for w in windows] == [(0, 0, 1), (0, 1, 2), (1, 0, 1)]


def test_of_many_windows_an_even_choice_is_offered(tmp_path: Path) -> None:
    with data_of(tmp_path / "data", [2 * MAX_STARTS + 3]) as dataset:
        steps = [window.step for window in windows_of(dataset, 4)]
    assert len(steps) == MAX_STARTS and steps[0] == 3 and steps[-1] == 2 * MAX_STARTS + 2
    assert set(np.diff(steps)) <= {2, 3}


def test_data_without_a_step_have_no_windows(tmp_path: Path) -> None:
    with data_of(tmp_path / "data", []) as dataset, pytest.raises(UserError, match="no steps to start a dream from"):
        windows_of(dataset, 4)


def test_windows_become_what_a_world_model_starts_in(tmp_path: Path) -> None:
    windows = [make_window(SHOOTER, [frame_of(0), frame_of(255)], [SHOOTER.idle], 3) for _ in range(2)]
    frames, actions = window_tensors(windows, CPU)
    assert frames.shape == (2, 3, 3, *SHAPE[:2]) and actions.shape == (2, 3, SHOOTER.size)
    assert frames[0, :, 0, 0, 0].tolist() == [0, -1, 1], "padding is mid-grey"
    assert actions.dtype == torch.uint8


@pytest.mark.parametrize("length", [1, 4, 12])
def test_windows_of_games_played_for_them(length: int) -> None:
    """None starts in the last frame of a game, in which there is no light any more."""
    env = make_env(NINE, EnvironmentConfig(10, 10), 2)
    windows = collect_windows(env, RandomPolicy(env.spec.actions), length, seed=0)
    again = collect_windows(env, RandomPolicy(env.spec.actions), length, seed=0)
    env.close()
    assert len(windows) == len(again)
    for window, other in zip(windows, again, strict=True):
        np.testing.assert_array_equal(window.frames, other.frames)
        assert 0 <= window.step <= COLLECT_STEPS
        assert window.frames.shape == (length, 10, 10, 3) and len(window.actions) == length
        rows = [int(np.argwhere((frame == Nine.LIGHT).all(-1))[0, 0]) for frame in window.frames[window.has_frame]]
        assert rows == list(range(rows[0], rows[0] + len(rows))), "frames of one game, one after another"
    if length < 9:  # a game is nine steps long
        assert len(windows) > 10 and all(window.has_frame.all() for window in windows)
    else:  # as much as there is of them
        assert len(windows) == 2 * COLLECT_STEPS and not any(window.has_frame.all() for window in windows)


# --- who is given which ----------------------------------------------------------------------------------------------


def ten() -> list[Window]:
    return [make_window(CHOICE, [frame_of(number)], [], 1) for number in range(10)]


def test_starts_are_loaded_once_when_first_asked_for() -> None:
    calls: list[int] = []

    def load() -> list[Window]:
        calls.append(1)
        return ten()

    starts = Starts(load)
    assert starts.loaded is None and not calls
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        starts.windows()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1] and starts.loaded == 10


def test_starts_by_number_and_by_lot() -> None:
    starts = Starts(ten)
    assert starts[3].frames[0, 0, 0, 0] == 3
    for wrong in (-1, 10):
        with pytest.raises(UserError, match=r"choose one of 0\.\.9"):
            starts[wrong]
    drawn = [[int(starts.draw(seed, episode).frames[0, 0, 0, 0]) for episode in range(300)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == set(range(10))


def test_what_cannot_be_loaded_is_tried_again() -> None:
    tries: list[int] = []

    def load() -> list[Window]:
        tries.append(1)
        if len(tries) == 1:
            raise UserError("not yet")
        return ten()

    starts = Starts(load)
    with pytest.raises(UserError, match="not yet"):
        starts.windows()
    assert starts.loaded is None and len(starts.windows()) == 10
