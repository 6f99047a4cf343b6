"""Whole episodes of a real environment, one for each seed, and the scores they end with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffworld.envs.base import VectorEnv


class Policy(Protocol):
    """Whoever plays: sees a frame of each row, names an action for each row."""

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Choose the next actions.

        Args:
            frames: uint8 (N, H, W, 3), RGB, the frame each row stands at.
            fresh: bool (N,), rows whose frame begins an episode; what the policy remembers of such a row must
                be forgotten first. Every row is fresh in the first call.

        Returns: int64 (N,), one action a row.
        """
        ...


class RandomPolicy:
    """Actions drawn uniformly, the same for the same seed and calls.

    With probability `hold` a row's action is its last one again, so that a random player gets somewhere.
    """

    def __init__(self, num_actions: int, seed: int = 0, hold: float = 0.0) -> None:
        self._num_actions, self._hold = num_actions, hold
        self._generator = np.random.default_rng(seed)
        self._last: NDArray[np.int64] | None = None

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return one action for each of the N rows, whatever they show."""
        actions = self._generator.integers(self._num_actions, size=len(frames))
        if self._hold and self._last is not None:
            held = (self._generator.random(len(frames)) < self._hold) & ~fresh
            actions = np.where(held, self._last, actions)
        self._last = actions
        return actions


@dataclass(frozen=True)
class EpisodeResult:
    """One episode, from its reset to game over.

    seed: what it was reset with.
    score: the sum of its raw rewards.
    steps: actions taken.
    truncated: cut by a limit of length, so that the score might have grown.
    """

    seed: int
    score: float
    steps: int
    truncated: bool


@dataclass(frozen=True)
class SeenStep:
    """One step of a game that counts.

    game: its place among the seeds.
    frame, next_frame: uint8 (H, W, 3), what the policy saw and what its action led to.
    action, reward: the action, and its raw reward.
    terminated, truncated: an end for the learner (perhaps only a lost life), or a cut.
    """

    game: int
    frame: NDArray[np.uint8]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    next_frame: NDArray[np.uint8]


OnStep = Callable[[SeenStep], None]


@dataclass
class Recorder:
    """An `on_step` that keeps what one episode saw and did, at one frame a step.

    episode: which one, by its place among the seeds.
    """

    episode: int = 0
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def __call__(self, step: SeenStep) -> None:
        """Keep this step if it belongs to the recorded episode."""
        if step.game == self.episode:
            self.frames.append(step.frame.copy())
            self.actions.append(step.action)
            self.rewards.append(step.reward)

    def video(self) -> NDArray[np.uint8]:
        """Return the frames seen, uint8 (T, H, W, 3)."""
        return np.stack(self.frames)


def play_episodes(
    env: VectorEnv,
    policy: Policy,
    seeds: Sequence[int],
    on_episode: Callable[[EpisodeResult], None] | None = None,
    on_step: OnStep | None = None,
) -> list[EpisodeResult]:
    """Play one episode for each seed and return the results in the order of `seeds`.

    A row that ends takes the next seed not yet played. The number of episodes is fixed beforehand and every
    one that is begun counts, so long episodes are not under-represented, as they would be among the first to
    finish. A lost life that is no game over does not end an episode. Rows with no seed left play on, unseen.

    Args:
        env: reset here; its unfinished games are lost.
        policy: sees all rows at every step.
        seeds: one for each episode.
        on_episode: called with each result as it comes, for a progress display.
        on_step: called for each step that counts, such as a `Recorder`.
    """
    todo = iter(range(len(seeds)))
    row_seeds = [seeds[row % len(seeds)] for row in range(env.num_envs)] if seeds else []
    episode = [next(todo, None) for _ in row_seeds]  # by its place among the seeds; None: nothing left to play
    scores, steps = np.zeros(len(row_seeds)), np.zeros(len(row_seeds), dtype=np.int64)
    results: dict[int, EpisodeResult] = {}
    frames = env.reset(row_seeds) if seeds else np.empty(0, dtype=np.uint8)
    fresh = np.ones(len(row_seeds), dtype=bool)

    while len(results) < len(seeds):
        actions = policy.act(frames, fresh)
        step = env.step(actions)
        scores += step.rewards
        steps += 1
        for row, place in enumerate(episode):
            if place is None:
                continue
            if on_step:
                on_step(
                    SeenStep(
                        place,
                        frames[row],
                        int(actions[row]),
                        float(step.rewards[row]),
                        bool(step.terminated[row]),
                        bool(step.truncated[row]),
                        step.frames[row],
                    )
                )
            if step.needs_reset[row]:
                cut = bool(step.truncated[row] and not step.terminated[row])
                results[place] = EpisodeResult(seeds[place], float(scores[row]), int(steps[row]), cut)
                episode[row] = next(todo, None)
                if on_episode:
                    on_episode(results[place])
        frames, fresh = step.frames.copy(), step.needs_reset.copy()
        ended = np.flatnonzero(fresh).tolist()
        if ended and len(results) < len(seeds):
            for row in ended:
                place = episode[row]
                row_seeds[row] = row_seeds[row] if place is None else seeds[place]
            frames[ended] = env.reset([row_seeds[row] for row in ended], ended)
            scores[ended], steps[ended] = 0, 0
    return [results[place] for place in range(len(seeds))]
