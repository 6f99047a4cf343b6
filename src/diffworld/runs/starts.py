"""Where dreams start: windows of real frames, from a data set or from games played for the purpose."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.data import Dataset, EpisodeWriter
from diffworld.data.episodes import widen
from diffworld.envs import Driver, Policy, VectorEnv
from diffworld.envs.seeds import test_seed
from diffworld.game import ActionSpace, Encoded
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.frames import frames_from_bytes

MAX_STARTS = 512
"""Starts offered of a data set, evenly spread over it: few enough to hold in memory and to look through."""

MOST_FOLLOWING = 1000
"""Actions that are kept of what followed a start."""
LATER = "later_actions.safetensors"

COLLECT_GAMES, COLLECT_STEPS = 4, 100
"""Real games played, and steps of each, where there is no data set."""


@dataclass(frozen=True, eq=False)
class Window:
    """The last n frames before a dream begins, its first frame last; frames that are missing count as padding."""

    frames: NDArray[np.uint8]
    """(n, H, W, 3), oldest first."""
    has_frame: NDArray[np.bool_]
    """(n,), false where there is only padding."""
    actions: NDArray[Any]
    """(n,) or (n, A) actions taken on the frames; the last is not chosen yet."""
    episode: int = 0
    """Where it comes from: the episode ..."""
    step: int = 0
    """... and the step of its last frame."""
    following: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(T,) or (T, A) actions taken from the last frame on, as far as they are known."""


class Starts:
    """The windows a model's dreams may start from, loaded once when first asked for, and shared by its users."""

    def __init__(self, load: Callable[[], list[Window]]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._windows: list[Window] | None = None

    @property
    def loaded(self) -> int | None:
        """How many there are; None before anyone asked for one."""
        return None if self._windows is None else len(self._windows)

    def windows(self) -> list[Window]:
        """All of them. UserError if there is no way to get any."""
        with self._lock:
            if self._windows is None:
                self._windows = self._load()
            return self._windows

    def __getitem__(self, start: int) -> Window:
        """The window of that number; UserError if there is none."""
        windows = self.windows()
        if not 0 <= start < len(windows):
            raise UserError(f"there is no start {start}: choose one of 0..{len(windows) - 1}")
        return windows[start]

    def draw(self, seed: int, episode: int) -> Window:
        """The window that episode number `episode` of a player with that seed starts from."""
        windows = self.windows()
        return windows[int(np.random.default_rng((seed, episode)).integers(len(windows)))]


def window_tensors(windows: list[Window], device: torch.device) -> tuple[Tensor, Tensor]:
    """Windows as a world model begins in them: frames (B, n, 3, H, W) in [-1, 1], actions (B, n) or (B, n, A)."""
    frames = torch.from_numpy(np.stack([window.frames for window in windows])).to(device)
    has_frame = torch.from_numpy(np.stack([window.has_frame for window in windows])).to(device)
    actions = torch.from_numpy(np.stack([window.actions for window in windows])).to(device)
    return frames_from_bytes(frames, has_frame), actions


def windows_of(dataset: Dataset, length: int) -> list[Window]:
    """Up to `MAX_STARTS` windows of `length` frames, evenly spread over the steps that have a full past.

    Where no episode is that long, all steps count. UserError if there is no step at all.
    """
    episodes = dataset.episodes
    position = np.repeat(np.arange(len(episodes)), episodes.lengths)
    step = np.arange(len(position)) - episodes.offsets[position]
    full = np.flatnonzero(step >= length - 1)
    chosen = full if len(full) else np.arange(len(step))
    if not len(chosen):
        raise UserError(f"{dataset.path} has no steps to start a dream from: record some first")
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_STARTS)).round().astype(np.int64)]
    windows, later = [], later_actions(dataset.path)
    for at in chosen:
        rows = episodes.step_rows[max(at - step[at], at - length + 1) : at + 1]
        frames, actions = dataset.gather_frames(rows), widen(episodes.records["action"][rows])
        place = int(episodes.ids[position[at]]), int(step[at])
        window = make_window(dataset.spec.actions, list(frames), list(actions[:-1]), length, *place)
        ahead = episodes.rows(position[at])[place[1] :][:MOST_FOLLOWING]
        following = widen(episodes.records["action"][ahead])
        if (more := later.get(str(place[0]))) is not None:
            following = np.concatenate([following, more])[:MOST_FOLLOWING]
        windows.append(replace(window, following=following))
    return windows


def later_actions(folder: Path) -> dict[str, NDArray[Any]]:
    """Actions (T,) or (T, A) that followed a data set's episodes, by their ids; of few data sets they are known.

    UserError where the file is damaged.
    """
    path = folder / LATER
    try:
        return safetensors.numpy.load_file(path) if path.exists() else {}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {path} ({one_line(error)}): restore it from a copy") from error


def write_later_actions(folder: Path, actions: Mapping[int, NDArray[Any]]) -> None:
    """Keep what followed a data set's episodes, by their ids."""
    tensors = {str(episode): np.ascontiguousarray(taken) for episode, taken in actions.items()}
    (folder / LATER).write_bytes(safetensors.numpy.save(tensors))


def make_window(
    space: ActionSpace,
    frames: list[NDArray[np.uint8]],
    actions: list[Encoded],
    length: int,
    episode: int = 0,
    step: int = 0,
) -> Window:
    """A window of `length` that ends with `frames` (at least one; at most the last `length` are taken).

    `actions` were taken on all of them but the last. What is missing on the left is padding.
    """
    frames = frames[-length:]
    missing = length - len(frames)
    nothing: Any = 0 if space.is_discrete else np.zeros(space.size, np.uint8)
    taken = [*actions, nothing][-len(frames) :]
    return Window(
        frames=np.stack([np.zeros_like(frames[0])] * missing + frames),
        has_frame=np.arange(length) >= missing,
        actions=np.array([nothing] * missing + taken, np.int64 if space.is_discrete else np.uint8),
        episode=episode,
        step=int(step),
    )


def collect_windows(env: VectorEnv, policy: Policy, length: int, seed: int) -> list[Window]:
    """Windows from the first steps of a few test games (see `windows_of`); it takes a few seconds."""
    with TemporaryDirectory() as folder, Dataset.create(Path(folder) / "games", env.spec) as dataset:
        driver = Driver(env, lambda game: test_seed(seed, game), on_step=EpisodeWriter(dataset), lives=True)
        for _ in range(COLLECT_STEPS):
            driver.play(policy)
        return windows_of(dataset, length)
