"""A vector environment made of games written in Python, stepped one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig, StepResult, VectorEnv
from diffworld.game import Encoded, GameSpec


class Played(NamedTuple):
    """What one step of one game gave; `frame` is uint8 (H, W, 3)."""

    frame: NDArray[np.uint8]
    reward: float
    terminated: bool
    truncated: bool


class Game(ABC):
    """One row of a `SerialEnv`: seed and actions alone decide how it goes."""

    @abstractmethod
    def reset(self, seed: int) -> NDArray[np.uint8]:
        """Starts a new game; returns its first frame, uint8 (H, W, 3)."""

    @abstractmethod
    def step(self, action: Encoded) -> Played:
        """Plays one encoded action; not called again after the end before a reset."""

    def close(self) -> None:
        """Frees what the game holds, if anything."""
        return


class SerialEnv(VectorEnv):
    """Rows of `Game`s. `sticky_actions`: probability that a row repeats its previous action (at first, nothing)."""

    def __init__(self, spec: GameSpec, games: Sequence[Game], settings: EnvironmentConfig) -> None:
        super().__init__(spec, len(games), settings.max_steps or None)
        self._games = list(games)
        self._sticky_actions = settings.sticky_actions
        self._sticky_rngs = [np.random.default_rng() for _ in games]  # seeded at each reset
        self._previous_actions: list[Encoded] = [spec.actions.idle] * len(games)

    def _reset_rows(self, rows: list[int], seeds: list[int]) -> NDArray[np.uint8]:
        for row, seed in zip(rows, seeds, strict=True):
            self._sticky_rngs[row] = np.random.default_rng(seed)
            self._previous_actions[row] = self.spec.actions.idle
        return np.stack([self._games[row].reset(seed) for row, seed in zip(rows, seeds, strict=True)])

    def _step(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> StepResult:
        frames = np.zeros((self.num_envs, *self.spec.frame_shape), dtype=np.uint8)
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=bool)
        for row in np.flatnonzero(playing):
            if self._sticky_rngs[row].random() >= self._sticky_actions:
                self._previous_actions[row] = actions[row]
            played = self._games[row].step(self._previous_actions[row])
            frames[row], rewards[row], terminated[row], truncated[row] = played
        return StepResult(frames, rewards, terminated, truncated, needs_reset=terminated | truncated)

    def close(self) -> None:
        for game in self._games:
            game.close()
