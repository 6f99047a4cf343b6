"""Imagination: dreams for an agent to learn in. They begin in replay windows and restart at once when they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from diffworld.models.diffusion import Randn
from diffworld.world.noise import draw_index
from diffworld.world.world_model import DreamState, WorldModel

DrawStarts = Callable[[int], tuple[Tensor, Tensor]]
"""Count -> that many replay windows: frames (count, n, 3, H, W) in [-1, 1] and actions (count, n)."""

STARTS_A_ROW = 2
"""Starts kept ahead for each row of a batch. A rollout as long as the horizon takes one for each, and one more where
a dream ends."""

S = TypeVar("S", bound=DreamState)


@dataclass(frozen=True)
class ImaginationState(Generic[S]):
    """Where each of B dreams stands, and where dreams can begin anew."""

    dream: S
    steps: Tensor
    """Steps since each dream started (B,)."""
    starts: S
    """P dreams at their start, burned in ahead: to restart costs an index."""
    taken: Tensor
    """How many of them restarts have taken, the first ones first; a scalar."""


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
    start: Tensor
    """(B,) int64, at which start each row that ended or was truncated stands now; -1 for all others."""


class Imagination(Generic[S]):
    """An `agents.rollout.World` made of a world model: rewards and ends are sampled from its logits."""

    def __init__(self, world: WorldModel[S], horizon: int, draw_starts: DrawStarts, randn: Randn) -> None:
        self.world, self.horizon = world, horizon
        self.draw_starts, self.randn = draw_starts, randn

    def start(self, rows: int) -> ImaginationState[S]:
        """Fresh dreams from replay windows, and twice as many starts ahead."""
        dream, starts = self._fresh(rows), self._fresh(STARTS_A_ROW * rows)
        return ImaginationState(dream, _zeros(dream.frame, rows), starts, _zeros(dream.frame))

    def refill(self, state: ImaginationState[S]) -> ImaginationState[S]:
        """Fresh starts in place of those that are taken."""
        taken = min(int(state.taken), len(state.starts.frame))
        if not taken:
            return state
        starts = type(state.starts).join([state.starts.rows(slice(taken, None)), self._fresh(taken)])
        return replace(state, starts=starts, taken=torch.zeros_like(state.taken))

    def frames(self, state: ImaginationState[S]) -> Tensor:
        """The current frames (B, 3, H, W)."""
        return state.dream.frame

    def burn_in(self, state: ImaginationState[S]) -> Tensor:
        """What policies should see before each start: its window but the last frame (P, n - 1, 3, H, W)."""
        return state.starts.context[:, :-1]

    @torch.no_grad()
    def step(self, state: ImaginationState[S], actions: Tensor) -> tuple[ImaginationState[S], Outcome]:
        """Take actions (B,) or (B, A); the dream is truncated after `horizon` steps. Waits for nothing on a GPU.

        Rows that are over take the next starts in turn. Should a rollout need more than there are, the first ones
        serve again.
        """
        dream, prediction = self.world.step(state.dream, actions, self.randn)
        steps = state.steps + 1
        rewards = draw_reward(prediction.reward_logits, steps)
        ends = draw_end(prediction.end_logits, steps)
        truncated = steps >= self.horizon
        over = ends | truncated
        number = state.taken + over.cumsum(0)
        start = torch.where(over, (number - 1) % len(state.starts.frame), -1)
        after = ImaginationState(dream.restarted(start, state.starts), steps * ~over, state.starts, number[-1])
        return after, Outcome(prediction.frames, rewards, ends, truncated, start)

    def state_from(self, plain: dict[str, Any]) -> ImaginationState[S]:
        dream, starts = (self.world.state_from(plain[name]) for name in ("dream", "starts"))
        return ImaginationState(dream, plain["steps"], starts, plain["taken"])

    def _fresh(self, count: int) -> S:
        return self.world.start(*self.draw_starts(count))


def _zeros(like: Tensor, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64, device=like.device)


def draw_reward(logits: Tensor | None, like: Tensor) -> Tensor:
    """Reward signs (B,), float, sampled from logits (B, 3); 0 in a world that knows none."""
    return torch.zeros_like(like, dtype=torch.float32) if logits is None else _draw(logits).float() - 1


def draw_end(logits: Tensor | None, like: Tensor) -> Tensor:
    """Ends (B,), bool, sampled from logits (B, 2); none in a world that knows none."""
    return torch.zeros_like(like, dtype=torch.bool) if logits is None else _draw(logits).bool()


def _draw(logits: Tensor) -> Tensor:
    return draw_index(logits.softmax(-1))
