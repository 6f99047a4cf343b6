"""Windows are cut where they say, and held-out games are recorded without gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fidelity import ACTIONS, KEYS, add_episode, episode, fill, some_starts, tiny_networks, tiny_spec

from diffworld.data import Dataset
from diffworld.evaluation.fidelity.starts import Starts, dataset_episodes, draw_starts, record_episodes
from diffworld.evaluation.games import TestGames
from diffworld.game import GameSpec
from diffworld.runtime.errors import UserError

TESTS = TestGames(tiny_spec(), seed=0, num_envs=2)


def where(frame: np.ndarray) -> tuple[int, int]:
    """Episode and step that a frame's first pixel tells."""
    number, high, low = frame[0, 0].tolist()
    return number, 256 * high + low


def check(starts: Starts, lengths: list[int], horizon: int) -> None:
    n = starts.context_frames
    episodes = [episode(i, length) for i, length in enumerate(lengths)]
    assert (np.diff(starts.lengths) <= 0).all() and starts.truth.shape[1] == starts.lengths[0]
    assert len(np.unique(starts.places, axis=0)) == len(starts.places)
    assert starts.rows.tolist() == [(starts.lengths > t).sum() for t in range(starts.lengths[0])]
    for row, ((number, step), length) in enumerate(zip(starts.places.tolist(), starts.lengths.tolist(), strict=True)):
        assert n - 1 <= step < lengths[number] and length == min(horizon, lengths[number] - step)
        frames = [*starts.context[row], *starts.truth[row, :length]]
        assert [where(frame) for frame in frames] == [(number, t) for t in range(step - n + 1, step + length + 1)]
        acted = starts.actions[row, : n - 1 + length]
        assert acted.tolist() == [t % ACTIONS for t in range(step - n + 1, step + length)]
        assert (starts.rewards[row, :length] == episodes[number].rewards[step : step + length]).all()
        assert starts.ends[row].sum() == (step + length == lengths[number]) == starts.ends[row, length - 1]
        assert not starts.truth[row, length:].any() and not starts.rewards[row, length:].any()


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 25))
def test_every_row_is_the_window_it_says(lengths: list[int], count: int, context: int, horizon: int) -> None:
    possible = sum(max(0, length - context + 1) for length in lengths)
    if not possible:
        with pytest.raises(UserError, match="no held-out episode has"):
            some_starts(*lengths, count=count, context=context, horizon=horizon)
        return
    starts = some_starts(*lengths, count=count, context=context, horizon=horizon)
    assert len(starts.lengths) == min(count, possible)
    check(starts, lengths, horizon)


def test_all_places_are_drawn_equally_often() -> None:
    episodes = [episode(0, 8), episode(1, 5)]
    counts = np.zeros((2, 8))
    for seed in range(300):
        drawn = draw_starts(episodes, 2, 3, 4, np.random.default_rng(seed))
        counts[tuple(drawn.places.T)] += 1
    chosen = counts[counts > 0]
    assert len(chosen) == 6 + 3  # steps 2..7 and 2..4
    assert chosen.min() > 40 and chosen.max() < 100  # 67 expected


def test_a_data_set_gives_back_its_episodes(tmp_path) -> None:
    with Dataset.open(fill(tmp_path / "data", 10), writable=True) as dataset:
        real = episode(5, 7)
        number = dataset.new_episode()
        for t, frame in enumerate(real.read_frames(0, 7)):
            dataset.append(number, frame, int(real.actions[t]), float(real.rewards[t]), False, False)
        first, unfinished = dataset_episodes(dataset)
        wanted = episode(99, 10)
        assert (first.read_frames(0, 11) == wanted.read_frames(0, 11)).all()
        assert (first.actions == wanted.actions).all() and (first.rewards == wanted.rewards).all()
        assert first.ends.tolist() == [False] * 9 + [True]
        assert len(unfinished.actions) == 6 and not unfinished.ends.any()  # its last frame is not known
        assert (unfinished.read_frames(2, 7) == real.read_frames(2, 7)).all()


def test_some_episodes_of_any_actions(tmp_path) -> None:
    with Dataset.create(tmp_path / "data", GameSpec("mine", 8, 8, KEYS)) as dataset:
        for seed, steps in enumerate((5, 6, 7)):
            add_episode(dataset, seed, steps)
        (only,) = dataset_episodes(dataset, np.array([False, True, False]))
        assert only.actions.tolist() == [[t % 3 == key for key in range(3)] for t in range(6)]
        assert (only.read_frames(0, 7) == episode(1, 6, (8, 8)).read_frames(0, 7)).all()


@pytest.mark.parametrize("agent", [False, True])
@pytest.mark.cases(every=2)
def test_recorded_games_are_test_games_in_one_piece(agent: bool) -> None:
    actor_critic = tiny_networks().actor_critic if agent else None
    whole = record_episodes(TESTS, actor_critic, 2, 80, cross_lives=True)
    lives = record_episodes(TESTS, actor_critic, 2, 80)
    assert [len(e.actions) for e in whole] == [80, 80]
    assert sum(len(e.actions) for e in lives) == 160
    assert sum(e.ends.sum() for e in whole) == sum(e.ends.sum() for e in lives)
    for e in lives:
        assert not e.ends[:-1].any() and len(e.read_frames(0, 999)) == len(e.actions) + 1
    for e in whole:
        frames = e.read_frames(0, 81)
        pieces = [piece.read_frames(0, 999) for piece in lives]
        assert any((piece[0] == frames[0]).all() and (piece == frames[: len(piece)]).all() for piece in pieces)


def test_recording_again_gives_the_same_frames() -> None:
    first, again = (record_episodes(TESTS, None, 1, 30)[0] for _ in range(2))
    assert (first.read_frames(0, 31) == again.read_frames(0, 31)).all()
