"""Recording what is played, in the replay's own format: one can train on it, browse it, and export it as a film."""

import itertools
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffworld.data import Dataset
from diffworld.envs import VectorEnv
from diffworld.envs.driver import GameStep, Policy
from diffworld.envs.seeds import training_seed
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import write_error
from diffworld.runtime.video import write_gif, write_video

FilmKind = Literal["mp4", "gif"]
GIF_FRAMES = 1_000
"""A GIF is made in memory, and longer ones are too large to be of use."""


class EpisodeWriter:
    """Adds steps of several games to a data set, each game to its own growing episode."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._growing: dict[int, int] = {}

    def add(self, step: GameStep) -> None:
        """Write one step; after an end, the game's next step begins another episode."""
        if step.game not in self._growing:
            self._growing[step.game] = self.dataset.new_episode()
        over = step.terminated or step.truncated
        self.dataset.append(
            self._growing[step.game],
            step.frame,
            step.action,
            step.reward,
            step.terminated,
            step.truncated,
            step.next_frame if over else None,
        )
        if over:
            del self._growing[step.game]


class Recorder:
    """Records one player's episodes to a new data set, without what was rewound.

    A step is held back while it can still be rewound, at most `held_back` of them, and written to disk after that;
    so the data set only grows. `game` of the steps tells episodes apart. An episode that was left is truncated.
    """

    def __init__(self, parent: Path, name: str, held_back: int, num_actions: int, info: dict[str, Any]) -> None:
        self._parent, self._name = parent, name
        self._held_back, self._num_actions, self._info = held_back, num_actions, info
        self._held: deque[GameStep] = deque()
        self._writer: EpisodeWriter | None = None

    @property
    def path(self) -> Path | None:
        """The data set; None before a step was written."""
        return self._writer.dataset.path if self._writer else None

    def add(self, step: GameStep) -> None:
        """Take one step."""
        self._held.append(step)
        if len(self._held) > self._held_back:
            self._write_oldest()

    def take_back(self, steps: int) -> None:
        """Forget the last steps, as many as there are of them."""
        for _ in range(min(steps, len(self._held))):
            self._held.pop()

    def close(self) -> None:
        """Write what is held back."""
        try:
            while self._held:
                self._write_oldest()
        finally:
            if self._writer:
                self._writer.dataset.close()

    def _write_oldest(self) -> None:
        step = self._held.popleft()
        left = not self._held or self._held[0].game != step.game
        if left and not step.terminated:
            step = replace(step, truncated=True)
        if self._writer is None:
            self._writer = EpisodeWriter(self._create(step.frame.shape))
        self._writer.add(step)

    def _create(self, frame_shape: tuple[int, ...]) -> Dataset:
        height, width, channels = frame_shape
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            # Several players may begin in the same second.
            prefix = time.strftime("%Y%m%d-%H%M%S-") + f"{self._name}-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self._parent))
        except OSError as error:
            raise write_error(self._parent, error) from error
        return Dataset.create(folder, (height, width, channels), num_actions=self._num_actions, info=self._info)


def export_film(path: Path, frames: NDArray[np.uint8], kind: FilmKind, fps: float) -> None:
    """Write frames, uint8 (T, H, W, 3), as a film. UserError for a GIF that would be too long, or a full disk."""
    if kind == "gif" and len(frames) > GIF_FRAMES:
        raise UserError(f"a GIF of {len(frames)} frames is too large: export it as MP4, or at most {GIF_FRAMES} frames")
    (write_gif if kind == "gif" else write_video)(path, frames, fps)


def record_games(
    env: VectorEnv, policy: Policy, dataset: Dataset, steps: int, seed: int, advance: Callable[[int], None]
) -> list[float]:
    """Play and record at least `steps` steps, whole rounds of all rows; the last round truncates what still goes on.

    Args:
        env: reset here; a lost life that it tells as an end begins another episode while the game goes on.
        policy: sees all rows at every step.
        dataset: open for writing, of the environment's frames and actions.
        steps: to record.
        seed: game number g is the g-th training game of a run of that seed.
        advance: called with the steps of each round, for a progress display.

    Returns: the raw scores of the games that were played to their end.
    """
    writer, rows = EpisodeWriter(dataset), range(env.num_envs)
    seeds = (training_seed(seed, game) for game in itertools.count())
    frames = env.reset([next(seeds) for _ in rows])
    fresh, scores = np.ones(env.num_envs, dtype=bool), np.zeros(env.num_envs)
    finished: list[float] = []
    for taken in range(0, steps, env.num_envs):
        actions = policy.act(frames, fresh)
        result = env.step(actions)
        last = taken + env.num_envs >= steps
        for row in rows:
            terminated = bool(result.terminated[row])
            cut = bool(result.truncated[row]) or (last and not terminated)
            reward, before, after = float(result.rewards[row]), frames[row], result.frames[row]
            writer.add(GameStep(row, before, int(actions[row]), reward, terminated, cut, after))
        scores += result.rewards
        frames, fresh = result.frames.copy(), result.terminated | result.truncated
        for row in np.flatnonzero(result.needs_reset).tolist():
            finished.append(float(scores[row]))
            scores[row] = 0
            frames[row] = env.reset([next(seeds)], [row])[0]
        advance(env.num_envs)
    return finished
