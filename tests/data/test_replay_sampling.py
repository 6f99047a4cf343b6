"""Windows against the episodes they come from, and their distribution against the rules."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.data import (
    Dataset,
    Windows,
    episode_weights,
    episode_windows,
    reward_bias,
    sample_context_windows,
    sample_transition_windows,
)
from diffworld.runtime.errors import UserError

SHAPE = (1, 2, 3)
SIZE = 3
Sample = Callable[..., Windows]


def frame_of(episode: int, step: int) -> np.ndarray:
    """A frame without a zero, different for each episode and step."""
    return np.array([1 + episode, 1 + step, 200, 1, 1, 1], np.uint8).reshape(SHAPE)


def fill(dataset: Dataset, lengths: list[int], ends: list[str]) -> None:
    """Episodes of those lengths, grown side by side; each ends as told, or stays unfinished ("")."""
    ids = [dataset.new_episode() for _ in lengths]
    for step in range(max(lengths, default=0)):
        for number, length, end in zip(ids, lengths, ends, strict=True):
            if step < length:
                last = end if step == length - 1 else ""
                action = action_of(step)
                dataset.append(
                    number,
                    frame_of(number, step),
                    int(action) if dataset.format.multi_hot_size is None else action >> np.arange(SIZE) & 1,
                    reward_of(number, step),
                    "terminated" in last,
                    "truncated" in last,
                    frame_of(number, length) if last else None,
                )


def action_of(step: int) -> np.int64:
    return np.int64(1 + step % 6)


def reward_of(episode: int, step: int) -> float:
    return 0.5 + episode + 100 * step


def check(windows: Windows, dataset: Dataset, length: int, with_final: bool) -> None:
    """Each place of each window against what the episode has there."""
    multi_hot = dataset.format.multi_hot_size is not None
    shape = (len(windows.start), length)
    assert windows.frames.dtype == np.uint8
    assert windows.frames.shape == (*shape, *SHAPE)
    assert windows.actions.dtype == (np.uint8 if multi_hot else np.int64)
    assert windows.actions.shape == ((*shape, SIZE) if multi_hot else shape)
    assert windows.rewards.dtype == np.float32
    for name in ("terminated", "truncated", "mask", "has_frame", "has_next"):
        assert getattr(windows, name).dtype == np.bool_
        assert getattr(windows, name).shape == shape
    episodes = {episode.id: episode for episode in dataset.episodes}
    for row, column in product(range(shape[0]), range(length)):
        number, step = int(windows.episode[row]), int(windows.start[row]) + column
        episode = episodes[number]
        real = 0 <= step < episode.length
        final = with_final and episode.ended and step == episode.length
        follows = step + 1 < episode.length or (with_final and episode.ended)
        at = (row, column)
        assert windows.mask[at] == real
        assert windows.has_frame[at] == (real or final)
        assert windows.has_next[at] == (real and follows and column < length - 1)
        expected = frame_of(number, step) if real or final else np.zeros(SHAPE)
        np.testing.assert_array_equal(windows.frames[at], expected)
        action = action_of(step) if real else np.int64(0)
        np.testing.assert_array_equal(windows.actions[at], action >> np.arange(SIZE) & 1 if multi_hot else action)
        assert windows.rewards[at] == (reward_of(number, step) if real else 0)
        last = real and step == episode.length - 1
        assert windows.terminated[at] == (last and episode.terminated)
        assert windows.truncated[at] == (last and episode.truncated)


EPISODES = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["", "terminated", "truncated", "terminated truncated"])),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(EPISODES, st.integers(1, 7), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_windows_show_their_episodes(
    episodes: list[tuple[int, str]], length: int, recency: bool, multi_hot: bool, seed: int
) -> None:
    lengths, ends = [list(column) for column in zip(*episodes, strict=True)]
    form = {"multi_hot_size": SIZE} if multi_hot else {"num_actions": 7}
    with TemporaryDirectory() as folder, Dataset.create(Path(folder), SHAPE, **form) as dataset:
        fill(dataset, lengths, ends)
        rng = np.random.default_rng(seed)
        near = sample_context_windows(dataset, rng, 12, length, recency)
        check(near, dataset, length, with_final=False)
        stop = near.start + length
        assert near.mask[:, -1].all()
        assert (stop >= 1).all()
        around = sample_transition_windows(dataset, rng, 12, length, recency)
        check(around, dataset, length, with_final=True)
        assert around.mask.any(axis=1).all()
        if length >= 2:
            for episode in dataset.episodes:
                windows = episode_windows(dataset, episode.id, length)
                check(windows, dataset, length, with_final=True)
                step = windows.start[:, None] + np.arange(length)
                with_next = episode.length if episode.ended else episode.length - 1
                assert step[windows.has_next].tolist() == list(range(with_next))
                assert windows.mask.any(axis=1).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any), st.booleans())
def test_episode_weights_follow_the_rule(lengths: list[int], recency: bool) -> None:
    weights = episode_weights(np.array(lengths), recency)
    assert weights.sum() == pytest.approx(1)
    begun = [place for place, length in enumerate(lengths) if length]
    expected = np.zeros(len(lengths))
    if recency and len(begun) >= 4:
        size = len(begun) // 4
        for group, weight in enumerate((0.1, 0.1, 0.1, 0.7)):
            members = begun[group * size : (group + 1) * size if group < 3 else None]
            expected[members] = weight / len(members)
    else:
        expected = np.array(lengths) / sum(lengths)
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def starts_near(total: int, length: int) -> Counter[int]:
    """Each equally likely draw's start, for windows that end near a step."""
    draws = product(range(total), range(length))
    return Counter(min(total, step + 1 + shift) - length for step, shift in draws)


def starts_around(total: int, length: int) -> Counter[int]:
    """Each equally likely draw's start, for windows around a step."""
    return Counter(step - shift for step, shift in product(range(total), range(length)))


@pytest.mark.parametrize(
    ("sample", "starts"), [(sample_context_windows, starts_near), (sample_transition_windows, starts_around)]
)
@pytest.mark.parametrize("recency", [True, False])
def test_windows_are_drawn_as_the_rules_say(
    tmp_path: Path, sample: Sample, starts: Callable[[int, int], Counter[int]], recency: bool
) -> None:
    lengths, length, draws = [2, 9, 5, 1, 7], 4, 40_000
    with Dataset.create(tmp_path, SHAPE, num_actions=7) as dataset:
        fill(dataset, lengths, ["terminated", "", "truncated", "terminated", ""])
        windows = sample(dataset, np.random.default_rng(0), draws, length, recency)
    # five episodes: groups of 1, 1, 1 and 2
    odds = [0.1, 0.1, 0.1, 0.35, 0.35] if recency else [total / 24 for total in lengths]
    expected = {
        (episode, start): draws * odds[episode] * count / (total * length)
        for episode, total in enumerate(lengths)
        for start, count in starts(total, length).items()
    }
    seen = Counter(zip(windows.episode.tolist(), windows.start.tolist(), strict=True))
    assert set(seen) <= set(expected)
    assert min(expected.values()) > 5  # else chi-square says little
    chi_square = sum((seen[key] - count) ** 2 / count for key, count in expected.items())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


REWARDED = {1: [4], 3: [0, 5, 6], 4: [9]}  # steps with a reward, by episode


def with_rare_rewards(folder: Path, background: float = 0.0) -> Dataset:
    """Episodes in which all steps but those in REWARDED pay the same, so that they are what stands out."""
    dataset = Dataset.create(folder, SHAPE, num_actions=7)
    for number, length in enumerate([8, 9, 5, 12, 10]):
        episode = dataset.new_episode()
        for step in range(length):
            last = step == length - 1
            reward = 2.5 if step in REWARDED.get(number, []) else background
            final = frame_of(number, length) if last else None
            dataset.append(episode, frame_of(number, step), int(action_of(step)), reward, last, False, final)
    return dataset


@pytest.mark.parametrize("recency", [True, False])
@pytest.mark.parametrize("background", [0.0, -1.0])
def test_windows_may_be_drawn_about_rewarded_steps(tmp_path: Path, recency: bool, background: float) -> None:
    with with_rare_rewards(tmp_path, background) as dataset:
        rng = np.random.default_rng(0)
        around = sample_transition_windows(dataset, rng, 500, 4, recency, rewarded_share=1.0)
        assert (around.rewards > 0).any(axis=1).all()
        assert set(around.episode.tolist()) == set(REWARDED)
        before = sample_context_windows(dataset, rng, 2000, 3, recency, rewarded_share=1.0, lead=4)
        last = before.start + 2
        allowed = {(e, max(0, step - ago)) for e, steps in REWARDED.items() for step in steps for ago in range(4)}
        assert set(zip(before.episode.tolist(), last.tolist(), strict=True)) == allowed
        some = sample_transition_windows(dataset, rng, 4000, 1, recency, rewarded_share=0.5)
        odds = episode_weights(dataset.episodes.lengths, recency) / dataset.episodes.lengths
        rare = sum(odds[e] * len(steps) for e, steps in REWARDED.items())
        assert (some.rewards > 0).mean() == pytest.approx(0.5 + 0.5 * rare, abs=0.04)


def test_where_no_reward_stands_out_windows_are_drawn_as_ever(tmp_path: Path) -> None:
    with Dataset.create(tmp_path, SHAPE, num_actions=7) as dataset:
        fill(dataset, [5, 3, 8, 2], ["terminated"] * 4)
        for share in (0.0, 1.0):
            windows = sample_transition_windows(dataset, np.random.default_rng(1), 16, 4, rewarded_share=share)
            assert (
                windows.start.tolist()
                == sample_transition_windows(dataset, np.random.default_rng(1), 16, 4).start.tolist()
            )
            assert not reward_bias(dataset, 4, True, share).any()


@pytest.mark.parametrize("recency", [True, False])
@pytest.mark.parametrize("length", [2, 5, 11])
def test_reward_bias_is_what_drawing_about_rewards_adds(tmp_path: Path, length: int, recency: bool) -> None:
    with with_rare_rewards(tmp_path) as dataset:
        bias = reward_bias(dataset, length, recency, 0.5)
        windows = sample_transition_windows(
            dataset, np.random.default_rng(0), 40_000, length, recency, rewarded_share=0.5
        )
        assert not reward_bias(dataset, length, recency, 0.0).any()
        odds = episode_weights(dataset.episodes.lengths, recency) / dataset.episodes.lengths
    played = sum(odds[e] * len(steps) for e, steps in REWARDED.items())
    # Half of the windows have a step drawn as played in each column; the mean counts both kinds by their steps.
    learnt = windows.has_next[:, :-1]
    drawn = (windows.rewards[:, :-1] > 0)[learnt].mean()
    assert bias[0] == 0
    assert np.exp(bias[2]) * played == pytest.approx(drawn, rel=0.1)
    assert np.exp(bias[1]) * (1 - played) == pytest.approx(1 - drawn, rel=0.1)


@pytest.mark.parametrize("sample", [sample_context_windows, sample_transition_windows])
def test_same_generator_same_windows(tmp_path: Path, sample: Sample) -> None:
    with Dataset.create(tmp_path, SHAPE, num_actions=7) as dataset:
        fill(dataset, [5, 3, 8, 2], ["terminated", "truncated", "", "terminated"])
        first, second = (sample(dataset, np.random.default_rng(5), 16, 4) for _ in range(2))
    with Dataset.open(tmp_path) as dataset:
        third = sample(dataset, np.random.default_rng(5), 16, 4)
    for name in Windows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_array_equal(getattr(first, name), getattr(third, name))


@pytest.mark.parametrize("sample", [sample_context_windows, sample_transition_windows])
def test_unfinished_episode_is_sampled_as_it_grows(tmp_path: Path, sample: Sample) -> None:
    with Dataset.create(tmp_path, SHAPE, num_actions=7) as dataset:
        episode = dataset.new_episode()
        rng = np.random.default_rng(0)
        with pytest.raises(UserError, match="collect some first"):
            sample(dataset, rng, 4, 3)  # an episode without a step is not one to draw
        for step in range(4):
            dataset.append(episode, frame_of(0, step), int(action_of(step)), reward_of(0, step), False, False)
            windows = sample(dataset, rng, 64, 3)
            check(windows, dataset, 3, with_final=sample is sample_transition_windows)
            real = (windows.start[:, None] + np.arange(3))[windows.mask]
            assert set(real.tolist()) == set(range(step + 1))


def test_unusable_arguments(tmp_path: Path) -> None:
    with Dataset.create(tmp_path, SHAPE, num_actions=7) as dataset:
        fill(dataset, [3], ["terminated"])
        rng = np.random.default_rng(0)
        for sample, batch_size, length in ((sample_transition_windows, 0, 3), (sample_context_windows, 3, 0)):
            with pytest.raises(UserError, match="at least 1"):
                sample(dataset, rng, batch_size, length)
        with pytest.raises(UserError, match="at least 2"):
            episode_windows(dataset, 0, 1)
        with pytest.raises(UserError, match="no step of episode 1"):
            episode_windows(dataset, 1, 3)
