"""Imagination: dreams for an agent to learn in. They begin in replay windows and restart at once when they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from diffworld.models.diffusion import Randn
from diffworld.world.world_model import DreamState, WorldModel

DrawStarts = Callable[[int], tuple[Tensor, Tensor]]
"""Count -> that many replay windows: frames (count, n, 3, H, W) in [-1, 1] and actions (count, n)."""

S = TypeVar("S", bound=DreamState)


@dataclass(frozen=True)
class ImaginationState(DreamState, Generic[S]):
    """Where each of B dreams stands."""

    dream: S
    steps: Tensor
    """Steps since the dream started (B,)."""

    @property
    def frame(self) -> Tensor:
        return self.dream.frame

    @property
    def context(self) -> Tensor:
        return self.dream.context


@dataclass(frozen=True)
class Outcome:
    """What one step led to, for B rows."""

    next_frames: Tensor
    """The frame each action led to (B, 3, H, W), also for rows that ended with it."""
    rewards: Tensor
    """(B,) float; in imagination its sign."""
    ends: Tensor
    """(B,) bool."""
    truncated: Tensor
    """(B,) bool."""
    restarted: Tensor
    """Indices (R,) of the rows that ended or were truncated and stand at a new start."""
    burn_in: Tensor
    """What those rows' policies should see first: their new window but its last frame (R, n - 1, 3, H, W)."""


class Imagination(Generic[S]):
    """An `agents.rollout.World` made of a world model: rewards and ends are sampled from its logits."""

    def __init__(self, world: WorldModel[S], horizon: int, draw_starts: DrawStarts, randn: Randn) -> None:
        self.world, self.horizon = world, horizon
        self.draw_starts, self.randn = draw_starts, randn

    def start(self, rows: int) -> ImaginationState[S]:
        """Fresh dreams from replay windows."""
        frames, actions = self.draw_starts(rows)
        steps = torch.zeros(rows, dtype=torch.int64, device=frames.device)
        return ImaginationState(self.world.start(frames, actions), steps)

    def frames(self, state: ImaginationState[S]) -> Tensor:
        """The current frames (B, 3, H, W)."""
        return state.frame

    @torch.no_grad()
    def step(self, state: ImaginationState[S], actions: Tensor) -> tuple[ImaginationState[S], Outcome]:
        """Take actions (B,) or (B, A); the dream is truncated after `horizon` steps."""
        dream, prediction = self.world.step(state.dream, actions, self.randn)
        state = ImaginationState(dream, state.steps + 1)
        rewards = draw_reward(prediction.reward_logits, state.steps)
        ends = draw_end(prediction.end_logits, state.steps)
        truncated = state.steps >= self.horizon
        rows = torch.nonzero(ends | truncated).squeeze(1)
        burn_in = state.context[:0, :-1]
        if len(rows):
            fresh = self.start(len(rows))
            burn_in = fresh.context[:, :-1]
            state = state.put(rows, fresh)
        return state, Outcome(prediction.frames, rewards, ends, truncated, rows, burn_in)

    def state_from(self, plain: dict[str, Any]) -> ImaginationState[S]:
        return ImaginationState(self.world.state_from(plain["dream"]), plain["steps"])


def draw_reward(logits: Tensor | None, like: Tensor) -> Tensor:
    """Reward signs (B,), float, sampled from logits (B, 3); 0 in a world that knows none."""
    return torch.zeros_like(like, dtype=torch.float32) if logits is None else _draw(logits).float() - 1


def draw_end(logits: Tensor | None, like: Tensor) -> Tensor:
    """Ends (B,), bool, sampled from logits (B, 2); none in a world that knows none."""
    return torch.zeros_like(like, dtype=torch.bool) if logits is None else _draw(logits).bool()


def _draw(logits: Tensor) -> Tensor:
    return torch.multinomial(logits.softmax(-1), 1).squeeze(1)
