"""Rollouts of the actor-critic in a world: imagination, or the real game for the model-free baseline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from diffworld.agents.actions import draw_actions
from diffworld.models.actor_critic import ActorCritic, PolicyState
from diffworld.runtime.cuda_graphs import GraphedCallable
from diffworld.world import Outcome, restarted, tensors_of, with_tensors

S = TypeVar("S")


class World(Protocol[S]):
    """An environment whose state is passed; rows that end restart at once, at one of the starts that it keeps."""

    def start(self, rows: int) -> S: ...
    def refill(self, state: S) -> S: ...
    def frames(self, state: S) -> Tensor: ...
    def burn_in(self, state: S) -> Tensor: ...
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


Acted = dict[str, Tensor]
"""What `act` met, (H, B, ...) each: frames, actions, next_frames, rewards, ends, truncated, start (see `Outcome`), and
the policy's state h, c after each step."""


def start_rollout(actor_critic: ActorCritic, world: World[S], rows: int) -> RolloutState[S]:
    """The very first start: policy state zero, no burn-in."""
    return RolloutState(world.start(rows), actor_critic.zero_state(rows))


@torch.no_grad()
def act(
    actor_critic: ActorCritic, world: World[S], state: RolloutState[S], steps: int
) -> tuple[Acted, RolloutState[S]]:
    """Act `steps` times in every row, and where the rows stand then.

    In dreams nothing here waits for a GPU or depends on values, so that all of it can be one CUDA graph.
    """
    place, policy = state.world, state.policy
    burned_in = actor_critic.burn_in(world.burn_in(place))
    taken: list[Acted] = []
    for _ in range(steps):
        frames = world.frames(place)
        logits, _, (h, c) = actor_critic(frames, policy)
        actions = draw_actions(actor_critic.actions, logits)
        place, outcome = world.step(place, actions)
        taken.append({"frames": frames, "actions": actions, "h": h, "c": c, **vars(outcome)})
        policy = (restarted(outcome.start, h, burned_in[0]), restarted(outcome.start, c, burned_in[1]))
    return {name: torch.stack([each[name] for each in taken]) for name in taken[0]}, RolloutState(place, policy)


Act = Callable[[ActorCritic, World[S], RolloutState[S], int], tuple[Acted, RolloutState[S]]]


class RecordedAct:
    """`act` in dreams as one CUDA graph, world and policy together; for one agent, world and number of steps."""

    def __init__(self) -> None:
        self._graphed: GraphedCallable | None = None

    def __call__(
        self, actor_critic: ActorCritic, world: World[S], state: RolloutState[S], steps: int
    ) -> tuple[Acted, RolloutState[S]]:
        def acting(*tensors: Tensor) -> Acted:
            acted, after = act(actor_critic, world, with_tensors(state, tensors), steps)
            return acted | {f"after {i}": x for i, x in enumerate(tensors_of(after))}

        self._graphed = self._graphed or GraphedCallable("acting in dreams", acting, shared=True)
        given = tensors_of(state)
        acted = self._graphed(*given)
        return acted, with_tensors(state, [acted.pop(f"after {i}") for i in range(len(given))])


def rollout(
    actor_critic: ActorCritic, world: World[S], state: RolloutState[S], steps: int, act: Act[S] = act
) -> tuple[Rollout, RolloutState[S]]:
    """Act `steps` times in every row; returns the steps and where the rows stand then.

    Acting comes first, without gradients; then one batch of all frames gives logits and values with theirs.
    """
    state = RolloutState(world.refill(state.world), state.policy)
    acted, following = act(actor_critic, world, state, steps)
    torch.clear_autocast_cache()  # of weights cast without gradients, which would get none below
    logits, values = _seen_again(actor_critic, state.policy, acted, world.burn_in(state.world))
    next_values = _next_values(actor_critic, acted, values.detach())
    columns = (logits, values, *(acted[name] for name in ("actions", "rewards", "ends", "truncated")), next_values)
    return Rollout(*(column.transpose(0, 1) for column in columns)), following


def _seen_again(actor_critic: ActorCritic, policy: PolicyState, acted: Acted, burn_in: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (H, B, A) and values (H, B) of what was acted on, with gradients, also through each burn-in."""
    start = acted["start"]
    features = actor_critic.encode(acted["frames"].flatten(0, 1)).unflatten(0, start.shape)
    t, row = torch.nonzero(start[:-1] >= 0, as_tuple=True)
    begun, which = actor_critic.burn_in(burn_in[start[t, row]]), torch.full_like(start, -1)
    which[t, row] = torch.arange(len(t), device=start.device)
    seen = []
    for features_t, which_t in zip(features, which, strict=True):
        logits, value, policy = actor_critic.step(features_t, policy)
        seen.append((logits, value))
        if len(t):
            policy = (restarted(which_t, policy[0], begun[0]), restarted(which_t, policy[1], begun[1]))
    logits, values = (torch.stack(column) for column in zip(*seen, strict=True))
    return logits, values


@torch.no_grad()
def _next_values(actor_critic: ActorCritic, acted: Acted, values: Tensor) -> Tensor:
    """V(x_{t+1}) (H, B): the value of the next step, or of the next frame where that step has another or is missing."""
    apart = acted["start"] >= 0
    apart[-1] = True
    following = torch.cat([values[1:], values[:1]])
    following[apart] = actor_critic(acted["next_frames"][apart], (acted["h"][apart], acted["c"][apart]))[1]
    return following
