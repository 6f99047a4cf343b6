"""Windows of replay for training: drawn at random by the models' rules, or cut one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffworld.data.dataset import Dataset
from diffworld.data.episodes import Bools, Episodes, Ints, widen
from diffworld.data.schema import TERMINATED, TRUNCATED
from diffworld.runtime.errors import UserError

RECENCY_WEIGHTS = (0.1, 0.1, 0.1, 0.7)  # of four equal groups of episodes, oldest first


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows of L steps each, batch first. Everything is 0 where there is no real step or frame.

    A frame of padding is mid-grey, 0 in [-1, 1], and not uint8 0: use `has_frame` when converting.
    """

    frames: npt.NDArray[np.uint8]  # (B, L, H, W, 3)
    actions: npt.NDArray[np.int64] | npt.NDArray[np.uint8]  # (B, L) int64, or (B, L, K) uint8 where multi-hot
    rewards: npt.NDArray[np.float32]  # (B, L), raw
    terminated: Bools  # (B, L)
    truncated: Bools  # (B, L)
    mask: Bools  # (B, L), true where there is a real step
    has_frame: Bools
    """(B, L), true where `frames` is real: on steps, and on a final observation right after the end"""
    has_next: Bools
    """(B, L), true on steps whose next frame is real and in the window: usable for reward and end at t"""
    episode: Ints  # (B,) id of the episode
    start: Ints  # (B,) step of the episode in column 0; negative where padding comes first


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


def sample_context_windows(
    dataset: Dataset,
    rng: np.random.Generator,
    batch_size: int,
    length: int,
    *,
    recency: bool = True,
    final_frames: bool = False,
    among: Bools | None = None,
) -> Windows:
    """Windows (batch_size, length) for the denoiser and for imagination to start from.

    The last column is a step drawn uniformly or one of the `length` - 1 after it, but no later than the last of its
    episode; so padding comes on the left only. With `final_frames`, an ended episode's final observation counts as one
    more place for the last column: `has_frame` is true there, `mask` is not. By the published rule there is none
    (docs/algorithm.md). `among`, bool (E,), are the episodes to draw from.
    """
    position, step = _draw_steps(dataset, rng, batch_size, length, recency, among)
    last = dataset.episodes.lengths[position]
    if final_frames:
        last = last + dataset.episodes.ended[position]
    stop = np.clip(step + 1 + rng.integers(0, length, batch_size), 1, last)
    return _gather(dataset, position, stop - length, length, with_final=final_frames)


def sample_transition_windows(
    dataset: Dataset,
    rng: np.random.Generator,
    batch_size: int,
    length: int,
    *,
    recency: bool = True,
    among: Bools | None = None,
) -> Windows:
    """Windows (batch_size, length) for the reward/end model.

    Each has a step drawn uniformly in a column drawn uniformly; either side may be padding, of which an ended episode's
    final observation takes the first place after the end. `among`, bool (E,), are the episodes to draw from.
    """
    position, step = _draw_steps(dataset, rng, batch_size, length, recency, among)
    start = step - rng.integers(0, length, batch_size)
    return _gather(dataset, position, start, length, with_final=True)


def held_out_episodes(episodes: Episodes) -> Bools:
    """(E,) which episodes of a fixed data set are set aside to measure on: those that were when it was written, else
    every tenth."""
    return episodes.held_out if episodes.held_out.any() else every_tenth(len(episodes))


def every_tenth(count: int) -> Bools:
    """(count,) every tenth episode in order of collection, from the fifth on; of two to four episodes the last; of one
    alone none."""
    places = np.arange(count)
    return places % 10 == 4 if count > 4 else (places == count - 1) & (count > 1)


def episode_windows(dataset: Dataset, episode: int, length: int) -> Windows:
    """Windows (B, length) that go through the episode with that id, for evaluation.

    `length`, at least 2, counts frames, the final observation among them. Each window begins on the frame
    that the one before ends on, so every step with a known next frame is `has_next` in exactly one of them.
    """
    if length < 2:
        raise UserError(f"window length {length} has no room for a step and its next frame: give at least 2")
    position = dataset.episodes.position(episode)
    # Steps with a next frame; the only step of an unfinished episode still gets a window.
    steps = dataset.episodes.lengths[position] - 1 + dataset.episodes.ended[position]
    start = np.arange(0, max(steps, 1), length - 1)
    return _gather(dataset, np.full(len(start), position), start, length, with_final=True)


def _draw_steps(
    dataset: Dataset, rng: np.random.Generator, batch_size: int, length: int, recency: bool, among: Bools | None
) -> tuple[Ints, Ints]:
    """(B,) places of the episodes drawn, and (B,) a step drawn uniformly in each."""
    if batch_size < 1 or length < 1:
        raise UserError(f"batch size {batch_size} and window length {length} must be at least 1")
    lengths = dataset.episodes.lengths
    chosen = lengths if among is None else np.where(among, lengths, 0)
    position = rng.choice(len(lengths), batch_size, p=episode_weights(chosen, recency))
    return position, rng.integers(0, lengths[position])


def _gather(dataset: Dataset, position: Ints, start: Ints, length: int, with_final: bool) -> Windows:
    """The windows of `length` steps from `start` (B,) on, in the episodes at `position` (B,)."""
    episodes = dataset.episodes
    total = episodes.lengths[position, None]
    step = start[:, None] + np.arange(length)
    mask = (step >= 0) & (step < total)
    at_final = (step == total) & episodes.ended[position, None] & with_final
    has_frame = mask | at_final
    has_next = np.zeros_like(mask)
    has_next[:, :-1] = mask[:, :-1] & has_frame[:, 1:]

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
        has_next=has_next,
        episode=episodes.ids[position],
        start=start,
    )
