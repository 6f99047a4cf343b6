"""Windows against the episodes they come from, and their distribution against the rules."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.data import (
    Dataset,
    Windows,
    episode_weights,
    episode_windows,
    every_tenth,
    frame_batch,
    held_out_episodes,
    sample_context_windows,
    sample_transition_windows,
    transition_batch,
)
from diffworld.data.schema import HELD_OUT
from diffworld.game import ActionSpace, GameSpec, Keys
from diffworld.runtime.errors import UserError

SHAPE = (1, 2, 3)
SIZE = 3
CHOICE = GameSpec("toy", *SHAPE[:2], ActionSpace.discrete(7))
KEYS = GameSpec("toy", *SHAPE[:2], ActionSpace((Keys(tuple("abc")),)))
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
                dataset.append(
                    number,
                    frame_of(number, step),
                    encoded(dataset.spec, action_of(step)),
                    reward_of(number, step),
                    "terminated" in last,
                    "truncated" in last,
                    frame_of(number, length) if last else None,
                )


def action_of(step: int) -> int:
    return 1 + step % 6


def encoded(spec: GameSpec, action: int) -> int | np.ndarray:
    return action if spec == CHOICE else (action >> np.arange(SIZE) & 1).astype(np.uint8)


def reward_of(episode: int, step: int) -> float:
    return 0.5 + episode + 100 * step


def check(windows: Windows, dataset: Dataset, length: int, with_final: bool) -> None:
    """Each place of each window against what the episode has there."""
    discrete = dataset.spec.actions.is_discrete
    shape = (len(windows.start), length)
    assert windows.frames.dtype == np.uint8
    assert windows.frames.shape == (*shape, *SHAPE)
    assert windows.actions.dtype == (np.int64 if discrete else np.uint8)
    assert windows.actions.shape == (shape if discrete else (*shape, SIZE))
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
        np.testing.assert_array_equal(windows.actions[at], encoded(dataset.spec, action_of(step) if real else 0))
        assert windows.rewards[at] == (reward_of(number, step) if real else 0)
        last = real and step == episode.length - 1
        assert windows.terminated[at] == (last and episode.terminated)
        assert windows.truncated[at] == (last and episode.truncated)


EPISODES = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["", "terminated", "truncated", "terminated truncated"])),
    min_size=1,
    max_size=7,
)
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(EPISODES, st.integers(1, 7), st.booleans(), st.booleans(), st.sampled_from([CHOICE, KEYS]), SEEDS)
def test_windows_show_their_episodes(
    episodes: list[tuple[int, str]], length: int, recency: bool, final_frames: bool, spec: GameSpec, seed: int
) -> None:
    lengths, ends = [list(column) for column in zip(*episodes, strict=True)]
    with TemporaryDirectory() as folder, Dataset.create(Path(folder), spec) as dataset:
        fill(dataset, lengths, ends)
        rng = np.random.default_rng(seed)
        near = sample_context_windows(dataset, rng, 12, length, recency=recency, final_frames=final_frames)
        check(near, dataset, length, with_final=final_frames)
        stop = near.start + length
        assert near.has_frame[:, -1].all()
        assert (stop >= 1).all()
        if not final_frames:
            assert near.mask[:, -1].all()
        for row in np.flatnonzero(~near.mask[:, -1]):  # only the frame an ended episode leads to
            assert near.mask[row, :-1].any() or length == 1
            assert dataset.episodes[dataset.episodes.position(int(near.episode[row]))].ended
            np.testing.assert_array_equal(near.frames[row, -1], dataset.final_frame(int(near.episode[row])))
        around = sample_transition_windows(dataset, rng, 12, length, recency=recency)
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


@settings(max_examples=40)
@given(EPISODES, st.integers(1, 5), st.booleans(), st.booleans(), st.data())
def test_only_the_episodes_asked_for_are_drawn(
    episodes: list[tuple[int, str]], length: int, recency: bool, final_frames: bool, data: st.DataObject
) -> None:
    lengths, ends = [list(column) for column in zip(*episodes, strict=True)]
    flags = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    among, rng = np.array(flags), np.random.default_rng(data.draw(SEEDS))
    with TemporaryDirectory() as folder, Dataset.create(Path(folder), CHOICE) as dataset:
        fill(dataset, lengths, ends)
        draws: list[Callable[[], Windows]] = [
            lambda: sample_transition_windows(dataset, rng, 64, length, recency=recency, among=among),
            lambda: sample_context_windows(
                dataset, rng, 64, length, recency=recency, final_frames=final_frames, among=among
            ),
        ]
        for draw in draws:
            if not among.any():
                with pytest.raises(UserError, match="no steps to sample from"):
                    draw()
                continue
            windows = draw()
            assert among[dataset.episodes.ids.searchsorted(windows.episode)].all()
            drawn = np.bincount(windows.episode, minlength=len(lengths)) > 0
            if among.sum() == 1:
                assert drawn.tolist() == flags


@pytest.mark.parametrize("recency", [True, False])
def test_the_episodes_asked_for_are_weighed_as_if_they_were_alone(tmp_path: Path, recency: bool) -> None:
    lengths, among = [2, 9, 5, 1, 7, 3, 4], np.array([True, False, True, True, True, False, True])
    with Dataset.create(tmp_path, CHOICE) as dataset:
        fill(dataset, lengths, [""] * 7)
        windows = sample_context_windows(dataset, np.random.default_rng(0), 20_000, 3, recency=recency, among=among)
    odds = np.zeros(7)
    odds[among] = episode_weights(np.array(lengths)[among], recency)
    np.testing.assert_allclose(np.bincount(windows.episode, minlength=7) / 20_000, odds, atol=0.02)


@given(st.integers(0, 500))
def test_which_episodes_are_held_out(count: int) -> None:
    held_out = every_tenth(count)
    assert held_out.dtype == np.bool_ and held_out.shape == (count,)
    places = np.flatnonzero(held_out).tolist()
    if count < 2:
        assert not places
    elif count < 5:
        assert places == [count - 1]
    else:
        assert places == list(range(4, count, 10))
    assert count == 0 or not held_out.all()
    more = every_tenth(count + 1)
    if count >= 5:
        assert (more[:count] == held_out).all(), "what grows keeps what it held out"


@pytest.mark.parametrize("stopped", [False, True])
def test_episodes_that_were_set_aside_when_written_are_the_held_out_ones(tmp_path: Path, stopped: bool) -> None:
    """Whether they are ended, go on after an interruption, or are cut."""
    aside = [False, True, False, False, False, False, True]
    with Dataset.create(tmp_path, CHOICE) as dataset:
        fill(dataset, [3] * 7, [""] * 7)
        assert held_out_episodes(dataset.episodes).tolist() == every_tenth(7).tolist()
        dataset.truncate(0)
        frame = np.zeros(CHOICE.frame_shape, np.uint8)
        growing = [dataset.new_episode(held_out) for held_out in aside]
        for episode in growing:
            dataset.append(episode, frame, 0, 0.0, False, False)
        if stopped:
            dataset.close()
            dataset = Dataset.open(tmp_path, writable=True)
        for episode in growing[:4] + growing[6:]:
            dataset.append(episode, frame, 0, 0.0, True, False, frame)
        assert held_out_episodes(dataset.episodes).tolist() == aside
        assert (dataset.episodes.records["flags"] & HELD_OUT != 0).sum() == 2 * 3
        dataset.truncate(7)
        assert held_out_episodes(dataset.episodes).tolist() == aside
        dataset.close()
    with Dataset.open(tmp_path) as dataset:
        assert held_out_episodes(dataset.episodes).tolist() == aside


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


def starts_near(total: int, length: int, ended: bool) -> Counter[int]:
    """Each equally likely draw's start, for windows that end near a step."""
    draws = product(range(total), range(length))
    return Counter(min(total, step + 1 + shift) - length for step, shift in draws)


def starts_near_or_final(total: int, length: int, ended: bool) -> Counter[int]:
    """The same where the final observation of an ended episode is one more place for the last column."""
    draws = product(range(total), range(length))
    return Counter(min(total + ended, step + 1 + shift) - length for step, shift in draws)


def starts_around(total: int, length: int, ended: bool) -> Counter[int]:
    """Each equally likely draw's start, for windows around a step."""
    return Counter(step - shift for step, shift in product(range(total), range(length)))


def sample_with_finals(*args: object, recency: bool) -> Windows:
    return sample_context_windows(*args, recency=recency, final_frames=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sample", "starts"),
    [
        (sample_context_windows, starts_near),
        (sample_with_finals, starts_near_or_final),
        (sample_transition_windows, starts_around),
    ],
)
@pytest.mark.parametrize("recency", [True, False])
def test_windows_are_drawn_as_the_rules_say(
    tmp_path: Path, sample: Sample, starts: Callable[[int, int, bool], Counter[int]], recency: bool
) -> None:
    lengths, length, draws = [2, 9, 5, 1, 7], 4, 40_000
    ends = ["terminated", "", "truncated", "terminated", ""]
    with Dataset.create(tmp_path, CHOICE) as dataset:
        fill(dataset, lengths, ends)
        windows = sample(dataset, np.random.default_rng(0), draws, length, recency=recency)
    # five episodes: groups of 1, 1, 1 and 2
    odds = [0.1, 0.1, 0.1, 0.35, 0.35] if recency else [total / 24 for total in lengths]
    expected = {
        (episode, start): draws * odds[episode] * count / (total * length)
        for episode, (total, end) in enumerate(zip(lengths, ends, strict=True))
        for start, count in starts(total, length, bool(end)).items()
    }
    seen = Counter(zip(windows.episode.tolist(), windows.start.tolist(), strict=True))
    assert set(seen) <= set(expected)
    assert min(expected.values()) > 5  # else chi-square says little
    chi_square = sum((seen[key] - count) ** 2 / count for key, count in expected.items())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("sample", [sample_context_windows, sample_with_finals, sample_transition_windows])
def test_same_generator_same_windows(tmp_path: Path, sample: Sample) -> None:
    with Dataset.create(tmp_path, CHOICE) as dataset:
        fill(dataset, [5, 3, 8, 2], ["terminated", "truncated", "", "terminated"])
        first, second = (sample(dataset, np.random.default_rng(5), 16, 4, recency=True) for _ in range(2))
    with Dataset.open(tmp_path) as dataset:
        third = sample(dataset, np.random.default_rng(5), 16, 4, recency=True)
    for name in Windows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_array_equal(getattr(first, name), getattr(third, name))


@pytest.mark.parametrize("sample", [sample_context_windows, sample_with_finals, sample_transition_windows])
def test_unfinished_episode_is_sampled_as_it_grows(tmp_path: Path, sample: Sample) -> None:
    with Dataset.create(tmp_path, CHOICE) as dataset:
        episode = dataset.new_episode()
        rng = np.random.default_rng(0)
        with pytest.raises(UserError, match="collect some first"):
            sample(dataset, rng, 4, 3, recency=True)  # an episode without a step is not one to draw
        for step in range(4):
            dataset.append(episode, frame_of(0, step), action_of(step), reward_of(0, step), False, False)
            windows = sample(dataset, rng, 64, 3, recency=True)
            check(windows, dataset, 3, with_final=sample is not sample_context_windows)
            real = (windows.start[:, None] + np.arange(3))[windows.mask]
            assert set(real.tolist()) == set(range(step + 1))


def test_unusable_arguments(tmp_path: Path) -> None:
    with Dataset.create(tmp_path, CHOICE) as dataset:
        fill(dataset, [3], ["terminated"])
        rng = np.random.default_rng(0)
        for sample, batch_size, length in ((sample_transition_windows, 0, 3), (sample_context_windows, 3, 0)):
            with pytest.raises(UserError, match="at least 1"):
                sample(dataset, rng, batch_size, length)
        with pytest.raises(UserError, match="at least 2"):
            episode_windows(dataset, 0, 1)
        with pytest.raises(UserError, match="no step of episode 1"):
            episode_windows(dataset, 1, 3)


@pytest.mark.parametrize("spec", [CHOICE, KEYS], ids=["choice", "keys"])
def test_batches_are_the_windows_as_tensors(tmp_path: Path, spec: GameSpec) -> None:
    cpu = torch.device("cpu")
    with Dataset.create(tmp_path, spec) as dataset:
        fill(dataset, [5, 3, 8], ["terminated", "truncated", ""])
        rng = np.random.default_rng(0)
        near = sample_context_windows(dataset, rng, 64, 4, final_frames=True)
        around = sample_transition_windows(dataset, rng, 64, 4)
    frames, transitions = frame_batch(near, cpu), transition_batch(around, cpu)
    for batch, windows in ((frames, near), (transitions, around)):
        assert batch.frames.shape == (64, 4, 3, *SHAPE[:2]) and batch.frames.dtype == torch.float32
        pixels = torch.from_numpy(windows.frames).movedim(-1, 2) / 127.5 - 1
        has_frame = torch.from_numpy(windows.has_frame)
        torch.testing.assert_close(batch.frames[has_frame], pixels[has_frame])
        assert not batch.frames[~has_frame].any(), "padding is mid-grey"
        assert torch.equal(batch.actions, torch.from_numpy(windows.actions))
    assert torch.equal(frames.mask, torch.from_numpy(near.has_frame)), "a final frame is one to learn"
    assert (frames.mask & ~torch.from_numpy(near.mask)).any()
    assert torch.equal(transitions.mask, torch.from_numpy(around.has_next))
    assert torch.equal(transitions.rewards, torch.from_numpy(around.rewards))
    assert torch.equal(transitions.ends, torch.from_numpy(around.terminated).long()), "a cut is no end"
    assert transitions.ends.dtype == torch.int64
