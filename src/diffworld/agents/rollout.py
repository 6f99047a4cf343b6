"""Rollouts of the actor-critic in a world: imagination, or the real game for the model-free baseline."""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from diffworld.agents.actions import draw_actions
from diffworld.models.actor_critic import ActorCritic, PolicyState
from diffworld.world import Outcome

S = TypeVar("S")


class World(Protocol[S]):
    """An environment whose state is passed; rows that end restart at once."""

    def start(self, rows: int) -> S: ...
    def frames(self, state: S) -> Tensor: ...
    def step(self, state: S, actions: Tensor) -> tuple[S, Outcome]: ...
    def state_from(self, plain: dict[str, Any]) -> S: ...


@dataclass(frozen=True)
class RolloutState(Generic[S]):
    """World and policy state, carried (detached) from one update to the next."""

    world: S
    policy: PolicyState


@dataclass(frozen=True)
class Rollout:
    """H steps of B rows, (B, H) each; gradients flow through `logits` (B, H, A) and `values`."""

    logits: Tensor
    values: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    truncated: Tensor
    next_values: Tensor
    """V(x_{t+1}) of each step's own next frame, without gradient."""


def start_rollout(actor_critic: ActorCritic, world: World[S], rows: int) -> RolloutState[S]:
    """The very first start: policy state zero, no burn-in."""
    return RolloutState(world.start(rows), actor_critic.zero_state(rows))


def rollout(
    actor_critic: ActorCritic, world: World[S], state: RolloutState[S], steps: int
) -> tuple[Rollout, RolloutState[S]]:
    """Act `steps` times in every row; returns the steps and where the rows stand then."""
    world_state, policy = state.world, state.policy
    taken: list[tuple[Tensor, ...]] = []
    final_values: list[tuple[Tensor, Tensor]] = []  # rows that restarted at each step, V of their last frame
    for _ in range(steps):
        logits, value, policy = actor_critic(world.frames(world_state), policy)
        actions = draw_actions(actor_critic.actions, logits.detach())
        world_state, outcome = world.step(world_state, actions)
        taken.append((logits, value, actions, outcome.rewards, outcome.ends, outcome.truncated))
        rows = outcome.restarted
        final_values.append((rows, _values(actor_critic, outcome.next_frames[rows], policy, rows)))
        if len(rows):
            fresh = actor_critic.burn_in(outcome.burn_in)
            policy = (policy[0].index_copy(0, rows, fresh[0]), policy[1].index_copy(0, rows, fresh[1]))
    logits, values, actions, rewards, ends, truncated = (
        torch.stack(column, dim=1) for column in zip(*taken, strict=True)
    )
    every = torch.arange(len(values), device=values.device)
    last = _values(actor_critic, world.frames(world_state), policy, every)
    next_values = torch.cat([values[:, 1:].detach(), last[:, None]], dim=1)
    for t, (rows, value) in enumerate(final_values):
        next_values[rows, t] = value
    policy = (policy[0].detach(), policy[1].detach())
    return Rollout(logits, values, actions, rewards, ends, truncated, next_values), RolloutState(world_state, policy)


@torch.no_grad()
def _values(actor_critic: ActorCritic, frames: Tensor, policy: PolicyState, rows: Tensor) -> Tensor:
    if not len(rows):
        return frames.new_zeros(0)
    return actor_critic(frames, (policy[0][rows], policy[1][rows]))[1]
