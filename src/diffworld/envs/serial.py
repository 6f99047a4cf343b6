"""A vector environment made of games written in Python, stepped one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffworld.envs.base import StepResult, VectorEnv


class GameStep(NamedTuple):
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
    def step(self, action: int) -> GameStep:
        """Plays one action; not called again after the end before a reset."""

    def close(self) -> None:
        """Frees what the game holds, if anything."""
        return


class SerialEnv(VectorEnv):
    """Rows of `Game`s. `sticky_actions`: probability that a row repeats its previous action (at first, 0)."""

    def __init__(
        self,
        env_id: str,
        games: Sequence[Game],
        action_names: Sequence[str],
        frame_size: tuple[int, int],
        *,
        sticky_actions: float = 0.0,
        max_steps: int | None = None,
    ) -> None:
        super().__init__(env_id, len(games), action_names, frame_size, max_steps)
        self._games = list(games)
        self._sticky_actions = sticky_actions
        self._sticky_rngs = [np.random.default_rng() for _ in games]  # seeded at each reset
        self._previous_actions = np.zeros(len(games), dtype=np.int64)

    def _reset_rows(self, rows: list[int], seeds: list[int]) -> NDArray[np.uint8]:
        for row, seed in zip(rows, seeds, strict=True):
            self._sticky_rngs[row] = np.random.default_rng(seed)
            self._previous_actions[row] = 0
        return np.stack([self._games[row].reset(seed) for row, seed in zip(rows, seeds, strict=True)])

    def _step(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> StepResult:
        frames = np.zeros((self.num_envs, *self.frame_size, 3), dtype=np.uint8)
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        terminated = np.zeros(self.num_envs, dtype=bool)
        truncated = np.zeros(self.num_envs, dtype=bool)
        for row in np.flatnonzero(playing):
            if self._sticky_rngs[row].random() >= self._sticky_actions:
                self._previous_actions[row] = actions[row]
            played = self._games[row].step(int(self._previous_actions[row]))
            frames[row], rewards[row], terminated[row], truncated[row] = played
        return StepResult(frames, rewards, terminated, truncated, needs_reset=terminated | truncated)

    def close(self) -> None:
        """Closes every game."""
        for game in self._games:
            game.close()
