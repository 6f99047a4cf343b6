"""Real episodes that training never saw, and the windows of them in which dreams start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from diffworld.data import Dataset, GameStep
from diffworld.envs import EpisodeResult
from diffworld.evaluation.games import TestGames
from diffworld.models.actor_critic import ActorCritic
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film

RECORDED_STEPS = 20_000
"""Recorded games share this many steps (245 MB of 64x64 frames): each is cut at its share of them."""

Actions = NDArray[np.int64] | NDArray[np.uint8]
"""Encoded: int64 numbers, or uint8 vectors of zeros and ones."""


@dataclass(frozen=True, eq=False)
class RealEpisode:
    """T real steps: `actions` (T,) or (T, A), `rewards` float32 (T,), `ends` bool (T,).

    `read_frames(first, stop)` gives frames uint8 (stop - first, H, W, 3) out of T + 1: step t leads from
    frame t to frame t + 1.
    """

    actions: Actions
    rewards: NDArray[np.float32]
    ends: NDArray[np.bool_]
    read_frames: Callable[[int, int], Film]


@dataclass(frozen=True, eq=False)
class Starts:
    """B windows of real episodes, the longest first. Everything after a row's last real step is 0.

    context: uint8 (B, n, H, W, 3), what a dream is given to begin with.
    actions: (B, n - 1 + T) or (B, n - 1 + T, A), those between the context frames, then one for each step.
    truth: uint8 (B, T, H, W, 3), the frame each of T steps led to.
    rewards: float32 (B, T), raw; ends: bool (B, T).
    lengths: int64 (B,), real steps of each row, falling, at least 1; T is the first of them.
    places: int64 (B, 2), episode and step at which a window's last context frame stands.
    """

    context: Film
    actions: Actions
    truth: Film
    rewards: NDArray[np.float32]
    ends: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]

    @property
    def context_frames(self) -> int:
        """Frames a dream is given, n."""
        return self.context.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool (B, T), where there is a real frame to compare with."""
        return np.arange(self.truth.shape[1]) < self.lengths[:, None]

    def part(self, rows: slice) -> "Starts":
        """Those of these rows."""
        return Starts(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def rows(self) -> NDArray[np.int64]:
        """int64 (T,), how many rows have a real frame at each step."""
        return self.valid.sum(axis=0)


def record_episodes(
    tests: TestGames,
    actor_critic: ActorCritic | None,
    games: int,
    steps: int,
    *,
    cross_lives: bool = False,
    policy_seed: int = 0,
    on_episode: Callable[[EpisodeResult], None] | None = None,
) -> list[RealEpisode]:
    """Play test games, each of at most `steps` steps, with the agent, or at random where it is None.

    A lost life ends an episode if it does so in training, unless `cross_lives`: then it is marked in `ends`
    and the episode goes on, as the game does.
    """
    presented = tests.spec.presented
    limited = {**presented, "max_steps": min(steps, presented.get("max_steps") or steps)} if presented else {}
    tests = replace(tests, spec=replace(tests.spec, presented=limited))
    seen: list[list[GameStep]] = []
    growing: dict[int, list[GameStep]] = {}

    def on_step(step: GameStep) -> None:
        if step.game not in growing:
            growing[step.game] = []
            seen.append(growing[step.game])
        growing[step.game].append(replace(step, frame=step.frame.copy(), next_frame=step.next_frame.copy()))
        if step.terminated and not cross_lives:
            del growing[step.game]

    tests.play(actor_critic, games, on_episode=on_episode, on_step=on_step, policy_seed=policy_seed)
    return [_episode(steps) for steps in seen]


def _episode(steps: list[GameStep]) -> RealEpisode:
    frames = [*(step.frame for step in steps), steps[-1].next_frame]
    return RealEpisode(
        actions=np.array([step.action for step in steps]),
        rewards=np.array([step.reward for step in steps], np.float32),
        ends=np.array([step.terminated for step in steps]),
        read_frames=lambda first, stop: np.stack(frames[first:stop]),
    )


def dataset_episodes(dataset: Dataset, among: NDArray[np.bool_] | None = None) -> list[RealEpisode]:
    """The episodes of an open data set, all or those in `among` (E,); frames are read when they are asked for."""
    places = np.arange(dataset.num_episodes) if among is None else np.flatnonzero(among)
    return [_dataset_episode(dataset, place) for place in places.tolist()]


def _dataset_episode(dataset: Dataset, place: int) -> RealEpisode:
    episode, rows = dataset.episodes[place], dataset.episodes.rows(place)
    if episode.ended:
        rows = np.append(rows, dataset.episodes.final_rows[place])
    steps = len(rows) - 1  # the last step of an unfinished episode leads to no frame yet
    ends = np.zeros(steps, dtype=bool)
    ends[-1:] = episode.terminated
    actions, rewards = episode.actions[:steps], episode.rewards[:steps]
    return RealEpisode(actions, rewards, ends, lambda first, stop: dataset.gather_frames(rows[first:stop]))


def draw_starts(
    episodes: Sequence[RealEpisode], count: int, context_frames: int, horizon: int, rng: np.random.Generator
) -> Starts:
    """Draw up to `count` different places, uniform over all steps that have a full context before them.

    A window goes on for `horizon` steps or up to its episode's end. UserError if there is no such place.
    """
    n = context_frames
    options = np.array([max(0, len(episode.actions) - n + 1) for episode in episodes], np.int64)
    total = int(options.sum())
    if total == 0:
        raise UserError(f"no held-out episode has {n} frames and a step after them: give more or longer episodes")
    drawn = rng.choice(total, min(count, total), replace=False)
    firsts = np.cumsum(options) - options
    episode = np.searchsorted(np.cumsum(options), drawn, side="right")
    step = drawn - firsts[episode] + n - 1
    lengths = np.minimum([len(episodes[i].actions) for i in episode] - step, horizon)
    order = np.argsort(-lengths, kind="stable")
    return _cut([episodes[i] for i in episode[order]], np.stack([episode, step], axis=1)[order], lengths[order], n)


def _cut(
    episodes: list[RealEpisode], places: NDArray[np.int64], lengths: NDArray[np.int64], context_frames: int
) -> Starts:
    """Copy the windows out of their episodes, one for each row."""
    rows, steps, n = len(episodes), int(lengths[0]), context_frames
    shape, actions = episodes[0].read_frames(0, 1).shape[1:], episodes[0].actions
    starts = Starts(
        context=np.zeros((rows, n, *shape), np.uint8),
        actions=np.zeros((rows, n - 1 + steps, *actions.shape[1:]), actions.dtype),
        truth=np.zeros((rows, steps, *shape), np.uint8),
        rewards=np.zeros((rows, steps), np.float32),
        ends=np.zeros((rows, steps), bool),
        lengths=lengths,
        places=places,
    )
    for row, (episode, (_, step), length) in enumerate(zip(episodes, places, lengths, strict=True)):
        first, stop = step - n + 1, step + length
        frames = episode.read_frames(first, stop + 1)
        starts.context[row], starts.truth[row, :length] = frames[:n], frames[n:]
        starts.actions[row, : n - 1 + length] = episode.actions[first:stop]
        starts.rewards[row, :length] = episode.rewards[step:stop]
        starts.ends[row, :length] = episode.ends[step:stop]
    return starts
