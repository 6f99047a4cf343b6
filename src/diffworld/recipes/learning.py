"""What several recipes share: batches and losses of the world model's networks, and the agent in any world."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from diffworld.agents.returns import ReturnConfig, actor_critic_losses, lambda_returns
from diffworld.agents.rollout import Act, RecordedAct, RolloutState, World, act, rollout, start_rollout
from diffworld.config import UpdateConfig
from diffworld.data import (
    Dataset,
    FrameBatch,
    TransitionBatch,
    frame_batch,
    sample_context_windows,
    sample_transition_windows,
    transition_batch,
)
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.reward_end import RewardEndModel
from diffworld.recipes.recipe import Losses, Materials, NoBatch, Part
from diffworld.runtime.ranks import ALONE, Ranks
from diffworld.world import Imagination, Lesson


class WindowSource:
    """Draws the batches of a world model from a data set by the models' rules."""

    def __init__(
        self,
        context_frames: int,
        reward_end_window: int,
        dataset: Dataset,
        given: Materials,
        recency: bool,
        among: np.ndarray | None = None,
    ) -> None:
        """`recency`: recent episodes more often, as while a replay grows. `among`: episodes (E,) to draw from."""
        self.context_frames, self.transitions = context_frames, context_frames + reward_end_window
        self.dataset, self.given = dataset, given
        self.drawn_from: dict[str, Any] = {"recency": recency, "among": among}

    def frame_batch(self, size: int, lesson: Lesson) -> FrameBatch:
        """Windows for a denoiser."""
        final_frames = lesson.denoiser.config.final_frames
        windows = sample_context_windows(
            self.dataset, self.given.rng, size, lesson.length, final_frames=final_frames, **self.drawn_from
        )
        return frame_batch(windows, self.given.device)

    def transition_batch(self, size: int) -> TransitionBatch:
        """Windows for the reward/end model."""
        windows = sample_transition_windows(self.dataset, self.given.rng, size, self.transitions, **self.drawn_from)
        return transition_batch(windows, self.given.device)

    def draw_starts(self, count: int) -> tuple[Tensor, Tensor]:
        """Windows for dreams to start in: frames (count, n, 3, H, W) and actions (count, n)."""
        windows = sample_context_windows(self.dataset, self.given.rng, count, self.context_frames, **self.drawn_from)
        batch = frame_batch(windows, self.given.device)
        return batch.frames, batch.actions


def denoiser_part(updates: UpdateConfig, lesson: Lesson, source: WindowSource) -> Part:
    """The next frame, from those before it."""

    def loss(batch: FrameBatch, counts: Tensor | None = None, **how: Any) -> Losses:
        return {"loss": lesson.loss(*batch, source.given.randn, counts=counts, **how)}

    def batch() -> FrameBatch:
        return source.frame_batch(updates.batch_size, lesson)

    return Part(
        lesson.denoiser,
        updates,
        FrameBatch,
        batch,
        loss,
        ways_back=lesson.steps,
        same_kernels=True,
        counts=_frames_a_column,
    )


def reward_end_part(
    updates: UpdateConfig, model: RewardEndModel, source: WindowSource, seen: Callable[[Tensor], Tensor]
) -> Part:
    """Reward and end of each step of a window, whose frames are `seen` as its world sees them."""

    def loss(batch: TransitionBatch, counts: Tensor | None = None) -> Losses:
        losses = model.loss(*batch._replace(frames=seen(batch.frames)), counts=counts)
        return {"loss": losses.total, "loss_reward": losses.reward, "loss_end": losses.end}

    def batch() -> TransitionBatch:
        return source.transition_batch(updates.batch_size)

    return Part(model, updates, TransitionBatch, batch, loss, same_kernels=True, counts=_frames_a_column)


def _frames_a_column(batch: FrameBatch | TransitionBatch) -> Tensor:
    """(L,) how many rows of a batch count in each column."""
    return batch.mask.sum(0)


class Agent:
    """The actor-critic learning in a world: its rollouts go on from one update to the next."""

    def __init__(
        self,
        updates: UpdateConfig,
        returns: ReturnConfig,
        horizon: int,
        actor_critic: ActorCritic,
        world: World[Any],
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.updates, self.returns, self.horizon = updates, returns, horizon
        self.actor_critic, self.world = actor_critic, world
        self.state: RolloutState[Any] | None = None
        self.act: Act[Any] = act

    def part(self) -> Part:
        """Policy and value from the next steps of its rollouts."""
        record = self.record if isinstance(self.world, Imagination) else lambda: None
        return Part(self.actor_critic, self.updates, NoBatch, NoBatch, self.loss, after=self.follow, record=record)

    def loss(self, batch: NoBatch) -> Losses:
        """Take `horizon` steps in every row, and learn from them."""
        if self.state is None:
            self.state = start_rollout(self.actor_critic, self.world, self.updates.batch_size)
        self.actor_critic.recentre(self.world.frames(self.state.world), self.ranks.mean)
        steps, self.state = rollout(self.actor_critic, self.world, self.state, self.horizon, self.act)
        returns = lambda_returns(steps.rewards, steps.ends, steps.truncated, steps.next_values, self.returns)
        space = self.actor_critic.actions
        among = self.ranks.join(returns) if self.returns.scale_advantages else returns
        losses = actor_critic_losses(space, steps.logits, steps.actions, steps.values, returns, self.returns, among)
        return {
            "loss": losses.total,
            "loss_policy": losses.policy,
            "loss_value": losses.value,
            "entropy": losses.policy_entropy,
            "imagined_return": returns.mean(),
            "imagined_reward": steps.rewards.sign().mean(),
            "imagined_end": steps.ends.float().mean(),
            "value": steps.values.mean(),
        }

    def follow(self, logged: Losses) -> None:
        """Let the values' bias take up their mean error, where features are centred."""
        self.actor_critic.follow(logged["imagined_return"] - logged["value"])

    def record(self) -> None:
        """Act as one CUDA graph from now on, dreams and policy together."""
        self.act = RecordedAct()

    def state_dict(self) -> Any:
        """Where the rollouts stand, as dicts of tensors."""
        return _plain(self.state)

    def load_state_dict(self, state: Any, device: Any) -> None:
        """Go on from there."""
        if state is not None:
            state = _to_device(state, device)
            self.state = RolloutState(self.world.state_from(state["world"]), state["policy"])


def _plain(state: Any) -> Any:
    """A dataclass tree as dicts, without copying tensors."""
    if dataclasses.is_dataclass(state):
        return {f.name: _plain(getattr(state, f.name)) for f in dataclasses.fields(state)}
    return state


def _to_device(value: Any, device: Any) -> Any:
    """Move the tensors of a tree of dicts and tuples."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_to_device(v, device) for v in value)
    if isinstance(value, dict):
        return {k: _to_device(v, device) for k, v in value.items()}
    return value
