"""Windows of replay for training: drawn at random by the models' rules, or cut one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffworld.errors import UserError
from diffworld.replay.dataset import Dataset
from diffworld.replay.episodes import Bools, Ints, widen
from diffworld.replay.format import TERMINATED, TRUNCATED

RECENCY_WEIGHTS = (0.1, 0.1, 0.1, 0.7)  # of four equal groups of episodes, oldest first


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows of L steps each, batch first. Everything is 0 where there is no real step or frame.

    A frame of padding is mid-grey, 0 in [-1, 1], and not uint8 0: use `has_frame` when converting.
    """

    frames: npt.NDArray[np.uint8]
    """(B, L, H, W, 3)"""
    actions: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    """(B, L) int64, or (B, L, K) uint8 where actions are multi-hot"""
    rewards: npt.NDArray[np.float32]
    """(B, L), raw"""
    terminated: Bools
    """(B, L)"""
    truncated: Bools
    """(B, L)"""
    mask: Bools
    """(B, L), true where there is a real step"""
    has_frame: Bools
    """(B, L), true where `frames` is real: on steps, and on a final observation right after the end"""
    successor: Bools
    """(B, L), true on steps whose next frame is real and in the window: usable for reward and end at t"""
    episode: Ints
    """(B,) id of the episode"""
    start: Ints
    """(B,) step of the episode in column 0; negative where padding comes first"""


def episode_weights(lengths: npt.NDArray[np.integer], recency: bool) -> npt.NDArray[np.float64]:
    """(E,) probability of drawing each episode, given their lengths (E,) in order of collection.

    Without `recency`, or with fewer than four episodes that have a step, in proportion to length. Otherwise
    they are cut into four equal groups, the last taking the remainder, of total weights `RECENCY_WEIGHTS`,
    uniform inside each. Episodes without a step get 0. UserError if no episode has one.
    """
    begun = np.flatnonzero(lengths > 0)
    if not begun.size:
        raise UserError("the data set has no steps to sample from: collect some first")
    if not recency or len(begun) < len(RECENCY_WEIGHTS):
        return np.asarray(lengths / lengths.sum(), np.float64)
    last = len(RECENCY_WEIGHTS) - 1
    group = np.minimum(np.arange(len(begun)) // (len(begun) // len(RECENCY_WEIGHTS)), last)
    weights = np.zeros(len(lengths))
    weights[begun] = np.array(RECENCY_WEIGHTS)[group] / np.bincount(group)[group]
    return weights


def sample_ending_near(
    dataset: Dataset,
    rng: np.random.Generator,
    batch_size: int,
    length: int,
    recency: bool = True,
    rewarded_share: float = 0.0,
    lead: int = 1,
) -> Windows:
    """Windows (batch_size, length) for the denoiser and for imagination to start from.

    The last column is a step drawn uniformly or one of the `length` - 1 after it, but no later than the last
    of its episode; so padding comes on the left only, and the final observation is never in the window.
    Each is with probability `rewarded_share` one whose last column is a rewarded step (`rewarded_steps`) or one of the
    `lead` - 1 before it.
    """
    position, step, rewarded = _draw_steps(dataset, rng, batch_size, length, recency, rewarded_share)
    shift = rng.integers(0, length, batch_size)
    if rewarded.any():
        shift = np.where(rewarded, -rng.integers(0, lead, batch_size), shift)
    stop = np.clip(step + 1 + shift, 1, dataset.episodes.lengths[position])
    return _gather(dataset, position, stop - length, length, with_final=False)


def sample_around(
    dataset: Dataset,
    rng: np.random.Generator,
    batch_size: int,
    length: int,
    recency: bool = True,
    rewarded_share: float = 0.0,
) -> Windows:
    """Windows (batch_size, length) for the reward/end model.

    Each has a step drawn uniformly, or with probability `rewarded_share` a rewarded one (`rewarded_steps`), in a column
    drawn uniformly; either side may be padding, of which an ended episode's final observation takes the first place
    after the end.
    """
    position, step, _ = _draw_steps(dataset, rng, batch_size, length, recency, rewarded_share)
    start = step - rng.integers(0, length, batch_size)
    return _gather(dataset, position, start, length, with_final=True)


def rewarded_steps(dataset: Dataset) -> Ints:
    """(R,) places, among all steps, of those whose reward has another sign than most steps' have."""
    signs = _signs(dataset)
    return np.flatnonzero(signs != np.bincount(signs, minlength=3).argmax())


def reward_bias(dataset: Dataset, length: int, recency: bool, rewarded_share: float) -> npt.NDArray[np.float64]:
    """(3,) log of how much oftener each sign of reward, -1, 0 and 1, is in `sample_around`'s windows than in play.

    Of such a window the last column is no step to learn from. Added to a model's logits while it learns, this leaves
    the logits themselves right for play ("logit adjustment", Menon et al. 2021).
    """
    if not rewarded_share:
        return np.zeros(3)
    weights, signs = _step_weights(dataset, recency), _signs(dataset)
    rewarded = rewarded_steps(dataset)
    if not weights[rewarded].any():
        return np.zeros(3)
    offset = np.arange(1 - length, length - 1)
    columns = np.minimum(length - np.abs(offset), length - 1 - offset)  # in which the rewarded step can be
    near = np.clip(rewarded[:, None] + offset, 0, len(signs) - 1)
    episode = _episode_of_each_step(dataset)
    counted = columns * (rewarded[:, None] + offset == near) * (episode[near] == episode[rewarded, None])
    counted = counted * weights[rewarded, None]
    around = np.bincount(signs[near].ravel(), counted.ravel(), minlength=3) / counted.sum()
    played = np.bincount(signs, weights, minlength=3)
    drawn = (1 - rewarded_share) * played + rewarded_share * around
    ratio = np.divide(drawn, played, out=np.ones(3), where=played > 0)
    return np.log(np.maximum(ratio, 1e-6))  # a sign that is in no such window has no steps to learn from


def episode_windows(dataset: Dataset, episode: int, length: int) -> Windows:
    """Windows (B, length) that go through the episode with that id, for evaluation.

    `length`, at least 2, counts frames, the final observation among them. Each window begins on the frame
    that the one before ends on, so every step with a known next frame is `successor` in exactly one of them.
    """
    if length < 2:
        raise UserError(f"window length {length} has no room for a step and its next frame: give at least 2")
    position = dataset.episodes.position(episode)
    # Steps with a next frame; the only step of an unfinished episode still gets a window.
    steps = dataset.episodes.lengths[position] - 1 + dataset.episodes.ended[position]
    start = np.arange(0, max(steps, 1), length - 1)
    return _gather(dataset, np.full(len(start), position), start, length, with_final=True)


def _draw_steps(
    dataset: Dataset, rng: np.random.Generator, batch_size: int, length: int, recency: bool, rewarded_share: float
) -> tuple[Ints, Ints, Bools]:
    """(B,) places of the episodes drawn, (B,) a step drawn in each, and (B,) whether it was drawn for its reward."""
    if batch_size < 1 or length < 1:
        raise UserError(f"batch size {batch_size} and window length {length} must be at least 1")
    lengths = dataset.episodes.lengths
    position = rng.choice(len(lengths), batch_size, p=episode_weights(lengths, recency))
    step = rng.integers(0, lengths[position])
    rewarded = np.zeros(batch_size, dtype=bool)
    if rewarded_share:
        places = rewarded_steps(dataset)
        weights = _step_weights(dataset, recency)[places]
        if weights.any():
            rewarded = rng.random(batch_size) < rewarded_share
            place = rng.choice(places, batch_size, p=weights / weights.sum())
            other = _episode_of_each_step(dataset)[place]
            step = np.where(rewarded, place - dataset.episodes.offsets[other], step)
            position = np.where(rewarded, other, position)
    return position, step, rewarded


def _signs(dataset: Dataset) -> Ints:
    """(T,) of every step, episode after episode: 0, 1 or 2 for a negative, no or a positive reward."""
    episodes = dataset.episodes
    return np.sign(episodes.records["reward"][episodes.step_rows]).astype(np.int64) + 1


def _episode_of_each_step(dataset: Dataset) -> Ints:
    """(T,) place of its episode, in the same order."""
    return np.repeat(np.arange(len(dataset.episodes.lengths)), dataset.episodes.lengths)


def _step_weights(dataset: Dataset, recency: bool) -> npt.NDArray[np.float64]:
    """(T,) probability of drawing each step, in the same order."""
    lengths = dataset.episodes.lengths
    return np.repeat(episode_weights(lengths, recency) / np.maximum(lengths, 1), lengths)


def _gather(dataset: Dataset, position: Ints, start: Ints, length: int, with_final: bool) -> Windows:
    """The windows of `length` steps from `start` (B,) on, in the episodes at `position` (B,)."""
    episodes = dataset.episodes
    total = episodes.lengths[position, None]
    step = start[:, None] + np.arange(length)
    mask = (step >= 0) & (step < total)
    at_final = (step == total) & episodes.ended[position, None] & with_final
    has_frame = mask | at_final
    successor = np.zeros_like(mask)
    successor[:, :-1] = mask[:, :-1] & has_frame[:, 1:]

    row = episodes.step_rows[episodes.offsets[position, None] + np.clip(step, 0, total - 1)]
    row = np.where(at_final, episodes.final_rows[position, None], row)
    frames = dataset.gather_frames(row)
    frames[~has_frame] = 0
    records = episodes.records[row]
    records[~mask] = np.zeros((), records.dtype)
    flags = records["flags"]
    return Windows(
        frames=frames,
        actions=widen(records["action"]),
        rewards=records["reward"].astype(np.float32),
        terminated=(flags & TERMINATED) != 0,
        truncated=(flags & TRUNCATED) != 0,
        mask=mask,
        has_frame=has_frame,
        successor=successor,
        episode=episodes.ids[position],
        start=start,
    )
