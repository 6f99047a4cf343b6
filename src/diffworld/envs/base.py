"""What every real environment looks like from outside: rows of games that never reset by themselves.

Gymnasium's vector environments reset a row that ended on their own, and their modes disagree on where the
last frame and the reset's frame go. Here the caller resets: a step's frame is always the frame its action led
to, and nothing from a reset can pass for a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffworld.game import Encoded, GameSpec
from diffworld.runtime.checked import Count, Natural, Share
from diffworld.runtime.errors import UserError

if TYPE_CHECKING:
    from diffworld.envs.driver import Policy

SEED_LIMIT = 2**31
"""Seeds are 0 <= seed < SEED_LIMIT: the emulator keeps them in a signed 32-bit integer."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """How the real game is presented; the defaults are those of the Atari 100k benchmark."""

    height: Count = 64
    """Height of the frames."""
    width: Count = 64
    """Width of the frames."""
    frame_skip: Count = 4
    """Game frames an action lasts (Atari; in ViZDoom tics of 1/35 s)."""
    noop_max: Natural = 30
    """Fewer than this many idle frames at the start of a game, drawn at random (Atari only)."""
    sticky_actions: Share = 0.0
    """Probability that the game repeats the previous action instead."""
    life_loss_ends: bool = True
    """In training, losing a life ends the episode for the learner (the game goes on; Atari only)."""
    max_steps: Natural = 0
    """Truncate games after this many steps; 0 leaves the game's own limit."""


@dataclass(frozen=True)
class StepResult:
    """What one step gave, row by row.

    frames: uint8 (N, H, W, 3) RGB, the frame each row's action led to; for a row that just ended, its own
        last frame.
    rewards: float32 (N,), raw, neither clipped nor scaled.
    terminated: bool (N,), an end for the learner: game over, or a life lost where that counts as an end.
    truncated: bool (N,), cut by a limit of length.
    needs_reset: bool (N,), game over or truncated: reset the row before its next step. A row that only lost a
        life has terminated without needs_reset: the game plays on.
    """

    frames: NDArray[np.uint8]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    needs_reset: NDArray[np.bool_]


@dataclass(frozen=True)
class GameHistory:
    """A deterministic game in full: the seed of its last reset and every action since."""

    seed: int
    actions: tuple[Encoded, ...]


class VectorEnv(ABC):
    """N rows of one environment, stepped together and reset by hand.

    A subclass plays the games (`_reset_rows`, `_step`); this class keeps the rules: which row needs a reset,
    the limit of length, and each row's history, from which `restore` brings a game back to where it stood.

    spec: the game it plays, with frame size and actions.
    num_envs: N.
    """

    def __init__(self, spec: GameSpec, num_envs: int, max_steps: int | None = None) -> None:
        self.spec, self.num_envs = spec, num_envs
        self._max_steps = max_steps
        self._seeds = [-1] * num_envs  # -1 before a row's first reset
        self._actions: list[list[Encoded]] = [[] for _ in range(num_envs)]
        self._needs_reset = np.ones(num_envs, dtype=bool)

    @property
    def needs_reset(self) -> NDArray[np.bool_]:
        """bool (N,): rows to reset before the next step; at first, all of them."""
        return self._needs_reset.copy()

    def reset(self, seeds: Sequence[int], rows: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """Starts a new game in `rows` (all of them if None), one seed each; the other rows stay as they are.

        Returns the first frames, uint8 (len(rows), H, W, 3), in the order of `rows`.
        Raises ValueError on a row or a seed out of range, a row named twice, or a wrong number of seeds.
        """
        rows = list(range(self.num_envs)) if rows is None else [int(row) for row in rows]
        seeds = [int(seed) for seed in seeds]
        if len(set(rows)) != len(rows) or any(not 0 <= row < self.num_envs for row in rows):
            raise ValueError(f"rows must be different and in 0..{self.num_envs - 1}, got {rows}")
        if len(seeds) != len(rows):
            raise ValueError(f"{len(rows)} rows need as many seeds, got {len(seeds)}")
        if any(not 0 <= seed < SEED_LIMIT for seed in seeds):
            raise ValueError(f"seeds must be in 0..{SEED_LIMIT - 1}, got {seeds}")
        if not rows:
            return np.empty((0, *self.spec.frame_shape), dtype=np.uint8)
        frames = self._reset_rows(rows, seeds)
        for row, seed in zip(rows, seeds, strict=True):
            self._seeds[row] = seed
            self._actions[row] = []
        self._needs_reset[rows] = False
        return frames

    def step(self, actions: NDArray[np.integer]) -> StepResult:
        """Plays one encoded action, integers (N,) or zeros and ones (N, A), in every row.

        Raises RuntimeError if a row needs a reset, ValueError on actions of another shape, type or range.
        """
        return self._play(np.asarray(actions), np.ones(self.num_envs, dtype=bool))

    def histories(self) -> list[GameHistory]:
        """Each row's seed and actions since its last reset. RuntimeError before a row's first reset."""
        if min(self._seeds) < 0:
            raise RuntimeError("a row has no history before its first reset")
        return [GameHistory(seed, tuple(actions)) for seed, actions in zip(self._seeds, self._actions, strict=True)]

    def restore(self, histories: Sequence[GameHistory]) -> NDArray[np.uint8]:
        """Replays one history per row; afterwards each row goes on bit for bit as the one it was taken from.

        The environment must have been made with the same settings. It takes as many steps as the longest
        history. Returns the current frames, uint8 (N, H, W, 3). Raises ValueError on a wrong number of
        histories, RuntimeError on a history that goes on after the end of its game.
        """
        if len(histories) != self.num_envs:
            raise ValueError(f"{self.num_envs} rows need as many histories, got {len(histories)}")
        # Histories end together: a row begins when as many steps are left as its history is long.
        longest = max(len(history.actions) for history in histories)
        first = np.array([longest - len(history.actions) for history in histories])
        frames = np.zeros((self.num_envs, *self.spec.frame_shape), dtype=np.uint8)
        for step in range(longest + 1):
            beginning = np.flatnonzero(first == step).tolist()
            frames[beginning] = self.reset([histories[row].seed for row in beginning], beginning)
            if step == longest:
                break
            playing = first <= step
            actions = np.stack([np.asarray(self.spec.actions.idle)] * self.num_envs)
            for row in np.flatnonzero(playing).tolist():
                actions[row] = histories[row].actions[step - first[row]]
            result = self._play(actions, playing)
            frames[playing] = result.frames[playing]
        return frames

    def _play(self, actions: NDArray[np.integer], playing: NDArray[np.bool_]) -> StepResult:
        """One step of the rows in `playing`; what the other rows give is to be ignored."""
        space = self.spec.actions
        shape = (self.num_envs,) if space.is_discrete else (self.num_envs, space.size)
        if actions.shape != shape or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"actions must be integers of shape {shape}, got {actions.dtype} {actions.shape}")
        if actions.min() < 0 or actions.max() >= (space.size if space.is_discrete else 2):
            raise ValueError(f"actions must be of the {space.size} of {self.spec.name}, got {actions.tolist()}")
        if (playing & self._needs_reset).any():
            ended = np.flatnonzero(playing & self._needs_reset).tolist()
            raise RuntimeError(f"{self.spec.name}: reset rows {ended} before stepping them")
        result = self._step(actions.astype(np.int64), playing)
        for row in np.flatnonzero(playing):
            self._actions[row].append(int(actions[row]) if space.is_discrete else actions[row].astype(np.uint8))
        if self._max_steps is not None:
            at_limit = np.array([len(played) >= self._max_steps for played in self._actions])
            cut = at_limit & ~result.needs_reset
            result = replace(result, truncated=result.truncated | cut, needs_reset=result.needs_reset | cut)
        self._needs_reset[playing] = result.needs_reset[playing]
        return result

    def scripted(self, seed: int) -> Policy:
        """The game's own player, whose draws come from that seed. UserError for games without one."""
        raise UserError(f"nobody has written a player for {self.spec.name}: choose another --policy")

    @abstractmethod
    def close(self) -> None:
        """Frees what the games hold. The environment is not to be used afterwards."""

    @abstractmethod
    def _reset_rows(self, rows: list[int], seeds: list[int]) -> NDArray[np.uint8]:
        """Starts new games in `rows`, at least one, so that seed and actions alone decide what follows.

        Returns their first frames, uint8 (len(rows), H, W, 3), in the order of `rows`.
        """

    @abstractmethod
    def _step(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> StepResult:
        """Plays `actions` (N,) or (N, A) in the rows of `playing`, bool (N,). The other rows will be reset before they
        play again: they may do anything, and their part of the result is ignored.
        """


def area_resize(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes frames, uint8 (..., H, W, C), to `size` (H', W'): each new pixel is the mean of the area it
    covers, partly covered pixels counting in part, rounded to the nearest level.
    """
    if frames.shape[-3:-1] == tuple(size):
        return frames.copy()
    down, across = _area_weights(frames.shape[-3], size[0]), _area_weights(frames.shape[-2], size[1])
    means = np.einsum("yh,...hwc,xw->...yxc", down, frames.astype(np.float64), across, optimize=True)
    resized: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return resized


@lru_cache(maxsize=32)
def _area_weights(size_in: int, size_out: int) -> NDArray[np.float64]:
    """(size_out, size_in): the share of each old pixel in each new one; rows sum to 1."""
    scale = size_in / size_out
    starts = np.arange(size_out)[:, None] * scale
    old = np.arange(size_in)[None, :]
    overlap = np.minimum(old + 1, starts + scale) - np.maximum(old, starts)
    weights: NDArray[np.float64] = np.clip(overlap, 0, None) / scale
    return weights
