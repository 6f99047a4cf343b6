"""Where dreams start: windows of real frames, from a data set or from games played for the purpose."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.agent.actor_critic import ActorCritic
from diffworld.agent.policy import ActorCriticPolicy
from diffworld.config import Config
from diffworld.envs.seeds import test_seed
from diffworld.errors import UserError
from diffworld.evaluation.episodes import Policy, RandomPolicy
from diffworld.evaluation.games import make_game
from diffworld.replay import Dataset

MAX_STARTS = 512
"""Starts offered of a data set, evenly spread over it: few enough to hold in memory and to look through."""

COLLECT_GAMES, COLLECT_STEPS = 4, 100
"""Real games played, and steps of each, where there is no data set."""


@dataclass(frozen=True, eq=False)
class Window:
    """The last n frames before a dream begins, its first frame last; frames that are missing count as padding."""

    frames: NDArray[np.uint8]
    """(n, H, W, 3), oldest first."""
    has_frame: NDArray[np.bool_]
    """(n,), false where there is only padding."""
    actions: NDArray[np.int64]
    """(n,) actions taken on the frames; the last is not chosen yet."""
    episode: int = 0
    """Where it comes from: the episode ..."""
    step: int = 0
    """... and the step of its last frame."""


LoadWindows = Callable[[], list[Window]]


class Starts:
    """The windows a model's dreams may start from, loaded once when first asked for, and shared by its sessions."""

    def __init__(self, load: LoadWindows) -> None:
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
        """The window that episode number `episode` of a session of that seed starts from."""
        windows = self.windows()
        return windows[int(np.random.default_rng((seed, episode)).integers(len(windows)))]


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
    windows = []
    for at in chosen:
        rows = episodes.step_rows[max(at - step[at], at - length + 1) : at + 1]
        frames, actions = dataset.gather_frames(rows), episodes.records["action"][rows].astype(np.int64)
        windows.append(
            make_window(list(frames), actions[:-1].tolist(), length, int(episodes.ids[position[at]]), step[at])
        )
    return windows


def make_window(
    frames: list[NDArray[np.uint8]], actions: list[int], length: int, episode: int = 0, step: int = 0
) -> Window:
    """A window of `length` that ends with `frames` (at least one; at most the last `length` are taken).

    `actions` were taken on all of them but the last. What is missing on the left is padding.
    """
    frames = frames[-length:]
    missing = length - len(frames)
    taken = [*actions, 0][-len(frames) :]
    return Window(
        frames=np.stack([np.zeros_like(frames[0])] * missing + frames),
        has_frame=np.arange(length) >= missing,
        actions=np.array([0] * missing + taken, np.int64),
        episode=episode,
        step=int(step),
    )


def collect_windows(config: Config, actor_critic: ActorCritic | None) -> list[Window]:
    """Windows from a few real games, played by the agent (at random where there is none).

    It takes a few seconds. UserError if the game cannot be made here.
    """
    env, length = make_game(config, COLLECT_GAMES), config.denoiser.context_frames
    try:
        seeds = (test_seed(config.seed, game) for game in range(COLLECT_GAMES * (COLLECT_STEPS + 1)))
        policy = _policy(actor_critic, env.num_actions)
        frames = env.reset([next(seeds) for _ in range(COLLECT_GAMES)])
        fresh = np.ones(COLLECT_GAMES, dtype=bool)
        past: list[list[NDArray[np.uint8]]] = [[frame] for frame in frames]
        taken: list[list[int]] = [[] for _ in frames]
        windows = []
        for step in range(COLLECT_STEPS):
            actions = policy.act(frames, fresh)
            result = env.step(actions)
            frames, fresh = result.frames.copy(), result.terminated | result.truncated
            for row in np.flatnonzero(result.needs_reset).tolist():
                frames[row] = env.reset([next(seeds)], [row])[0]
            for row in range(COLLECT_GAMES):
                past[row] = [frames[row]] if fresh[row] else [*past[row], frames[row]][-length:]
                taken[row] = [] if fresh[row] else [*taken[row], int(actions[row])][-length:]
                if len(past[row]) == length and step % length == 0:
                    windows.append(make_window(past[row], taken[row], length, row, step + 1))
        return windows or [
            make_window(p, t, length, row, COLLECT_STEPS) for row, (p, t) in enumerate(zip(past, taken, strict=True))
        ]
    finally:
        env.close()


def _policy(actor_critic: ActorCritic | None, num_actions: int) -> Policy:
    if actor_critic is None:
        return RandomPolicy(num_actions)
    device = next(actor_critic.parameters()).device
    return ActorCriticPolicy(actor_critic, COLLECT_GAMES, generator=torch.Generator(device).manual_seed(0))
