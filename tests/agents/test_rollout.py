"""Rollouts in a small world written out by hand: whose value, whose state, whose gradient."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from diffworld.agents.rollout import RecordedAct, Rollout, RolloutState, act, rollout, start_rollout
from diffworld.game import ActionSpace
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig, PolicyState
from diffworld.runtime.errors import UserError
from diffworld.world.imagination import Outcome

ACTIONS, BURN_IN = 3, 2
SPACE = ActionSpace.discrete(ACTIONS)


@dataclass(frozen=True)
class Place:
    """Where each row of a `Corridor` stands: its game, its step in it and the sum of its actions; and all starts."""

    game: Tensor
    step: Tensor
    total: Tensor
    starts: Tensor
    """Burn-in frames of each game that can come next, one a game that ever is."""


class Corridor:
    """A deterministic world: frames show game, step and actions so far; rows restart when their game is over.

    `lengths` (B,) says after how many steps each row's games are over, `ends` whether by an end or a cut. The start of
    game g is number g: games are 10 apart from row to row.
    """

    def __init__(self, lengths: list[int], ends: list[bool] | None = None) -> None:
        self.lengths = torch.tensor(lengths)
        self.ends = torch.tensor(ends or [False] * len(lengths))

    def draw(self, game: Tensor, step: Tensor, total: Tensor) -> Tensor:
        """Frames (B, 3, 4, 4) of those games, which differ wherever a number does."""
        seen = torch.stack([game, step, total], dim=1).float()
        waves = torch.linspace(0.3, 2.9, 16).view(1, 1, 4, 4)
        return torch.sin(seen[..., None, None] * waves + torch.arange(3.0).view(1, 3, 1, 1))

    def start(self, rows: int) -> Place:
        assert rows == len(self.lengths)
        zero, games = torch.zeros(rows, dtype=torch.int64), torch.arange(10 * rows)
        before = torch.arange(BURN_IN) - BURN_IN  # steps -2, -1: what a replay window shows before its last frame
        starts = torch.stack([self.draw(games, step.expand(len(games)), 0 * games) for step in before], 1)
        return Place(torch.arange(rows) * 10, zero, zero, starts)

    def refill(self, state: Place) -> Place:
        return state

    def frames(self, state: Place) -> Tensor:
        return self.draw(state.game, state.step, state.total)

    def burn_in(self, state: Place) -> Tensor:
        return state.starts

    def step(self, state: Place, actions: Tensor) -> tuple[Place, Outcome]:
        step, total = state.step + 1, state.total + actions
        over = step >= self.lengths
        game = state.game + over
        outcome = Outcome(
            next_frames=self.draw(state.game, step, total),
            rewards=(total % 3 - 1).float(),
            ends=over & self.ends,
            truncated=over & ~self.ends,
            start=torch.where(over, game, -1),
        )
        return Place(game, torch.where(over, 0, step), torch.where(over, 0, total), state.starts), outcome


def agent(seed: int = 0) -> ActorCritic:
    actor_critic = ActorCritic(ActorCriticConfig(lstm_channels=6, channels=(4, 4), pool=(True, False)), SPACE, (4, 4))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in actor_critic.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return actor_critic


@torch.no_grad()
def by_hand(actor_critic: ActorCritic, world: Corridor, steps: Rollout, row: int) -> tuple[list[float], list[float]]:
    """Values and next values of one row of a first rollout, playing its actions again alone."""
    own, actions = Corridor(world.lengths[row : row + 1].tolist()), steps.actions[row]
    place = replace(own.start(1), game=torch.tensor([row * 10]), starts=world.start(len(world.lengths)).starts)
    state, values, next_values = actor_critic.zero_state(1), [], []
    for action in actions:
        _, value, state = actor_critic(own.frames(place), state)
        place, outcome = own.step(place, action[None])
        values.append(value.item())
        next_values.append(actor_critic(outcome.next_frames, state)[1].item())
        if outcome.start >= 0:
            state = actor_critic.zero_state(1)
            for frame in place.starts[outcome.start[0]]:
                _, _, state = actor_critic(frame[None], state)
    return values, next_values


@pytest.mark.parametrize("ends", [[False] * 4, [True, False, True, False]])
def test_values_and_next_values_of_every_row(ends: list[bool]) -> None:
    """Among them rows that restart in the middle, at every step, at the last step, and never."""
    actor_critic, world = agent(), Corridor([3, 1, 7, 100], ends)
    steps, _ = rollout(actor_critic, world, start_rollout(actor_critic, world, 4), 7)
    assert steps.logits.shape == (4, 7, ACTIONS)
    for row in range(4):
        values, next_values = by_hand(actor_critic, world, steps, row)
        assert steps.values[row].tolist() == pytest.approx(values, abs=1e-5)
        assert steps.next_values[row].tolist() == pytest.approx(next_values, abs=1e-5)
    over = torch.zeros(4, 7, dtype=torch.bool)
    over[0, [2, 5]], over[1], over[2, 6] = True, True, True
    assert torch.equal(steps.ends | steps.truncated, over)
    assert torch.equal(steps.ends, over & torch.tensor(ends)[:, None])
    torch.testing.assert_close(steps.rewards[3], (steps.actions[3].cumsum(0) % 3 - 1).float())
    assert not steps.next_values.requires_grad and steps.values.requires_grad and steps.logits.requires_grad


def test_a_restarted_row_knows_nothing_of_its_past() -> None:
    actor_critic = agent()
    world = Corridor([2, 2])
    begin = start_rollout(actor_critic, world, 2)
    noisy = RolloutState(begin.world, (torch.randn(2, 6), torch.randn(2, 6)))
    values = []
    for state in (begin, noisy):
        torch.manual_seed(3)
        steps, _ = rollout(actor_critic, Corridor([2, 2]), state, 3)
        values.append(steps.values.detach())
    assert not torch.allclose(values[0][:, :2], values[1][:, :2])
    torch.testing.assert_close(values[0][:, 2], values[1][:, 2])


def test_the_very_first_start_has_no_burn_in() -> None:
    actor_critic, world = agent(), Corridor([5, 5])
    state = start_rollout(actor_critic, world, 2)
    assert not state.policy[0].any() and not state.policy[1].any()
    steps, _ = rollout(actor_critic, world, state, 1)
    alone = actor_critic(world.frames(state.world), actor_critic.zero_state(2))[1]
    torch.testing.assert_close(steps.values[:, 0], alone)


@pytest.mark.parametrize("lengths", [[100, 100], [3, 4], [1, 5]])
def test_two_rollouts_are_one_of_twice_the_length(lengths: list[int]) -> None:
    actor_critic = agent()
    state = start_rollout(actor_critic, Corridor(lengths), 2)
    torch.manual_seed(11)
    whole, end = rollout(actor_critic, Corridor(lengths), state, 8)
    torch.manual_seed(11)
    first, middle = rollout(actor_critic, Corridor(lengths), state, 4)
    second, last = rollout(actor_critic, Corridor(lengths), middle, 4)
    for name in ("logits", "values", "actions", "rewards", "ends", "truncated", "next_values"):
        both = torch.cat([getattr(first, name), getattr(second, name)], dim=1)
        torch.testing.assert_close(both, getattr(whole, name), msg=name)
    torch.testing.assert_close(last.policy, end.policy)
    assert torch.equal(last.world.step, end.world.step)


def test_state_goes_on_detached() -> None:
    actor_critic, world = agent(), Corridor([3, 100])
    state = start_rollout(actor_critic, world, 2)
    for _ in range(2):  # a second backward through the first rollout would fail
        steps, state = rollout(actor_critic, world, state, 4)
        assert not state.policy[0].requires_grad and not state.policy[1].requires_grad
        (steps.values.sum() + steps.logits.sum()).backward()


def test_gradient_reaches_the_burn_in_frames() -> None:
    actor_critic, world = agent(), Corridor([2, 100])
    begin = start_rollout(actor_critic, world, 2)
    starts = begin.world.starts.requires_grad_()
    steps, _ = rollout(actor_critic, world, begin, 3)
    steps.values[:, 2].sum().backward()
    assert starts.grad is not None and all(starts.grad[1, i].any() for i in range(BURN_IN))
    starts.grad[1] = 0
    assert not starts.grad.any(), "only where a row began again"


@pytest.mark.parametrize("lengths", [[100, 100], [2, 3], [1, 5]])
def test_gradients_of_one_batch_are_those_of_one_step_after_another(lengths: list[int]) -> None:
    """The same loss from the same actions, the networks called once for each step as it is met."""
    actor_critic, world = agent(), Corridor(lengths)
    state = start_rollout(actor_critic, world, 2)
    steps, _ = rollout(actor_critic, world, state, 5)
    (steps.values.square().sum() + steps.logits.sin().sum()).backward()
    batched = [p.grad.clone() for p in actor_critic.parameters() if p.grad is not None]
    actor_critic.zero_grad(set_to_none=True)
    place, policy, loss = state.world, state.policy, torch.zeros(())
    for actions in steps.actions.T:
        logits, value, policy = actor_critic(world.frames(place), policy)
        loss = loss + value.square().sum() + logits.sin().sum()
        place, outcome = world.step(place, actions)
        for row in torch.nonzero(outcome.start >= 0).flatten().tolist():
            fresh = actor_critic.burn_in(place.starts[outcome.start[row]][None])
            policy = tuple(x.index_copy(0, torch.tensor([row]), y) for x, y in zip(policy, fresh, strict=True))  # type: ignore[assignment]
    loss.backward()
    stepped = [p.grad for p in actor_critic.parameters() if p.grad is not None]
    torch.testing.assert_close(batched, stepped, rtol=1e-4, atol=1e-5)


def test_weights_learn_in_bfloat16_though_acting_cast_them_without_gradients() -> None:
    actor_critic, world = agent(), Corridor([2, 100])
    with torch.autocast("cpu", torch.bfloat16):
        steps, _ = rollout(actor_critic, world, start_rollout(actor_critic, world, 2), 3)
    (steps.values.sum() + steps.logits.square().sum()).backward()
    for name, parameter in actor_critic.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_recording_acts_as_the_plain_function() -> None:
    actor_critic, world, recorded = agent(), Corridor([3, 1, 7]), RecordedAct()
    state = start_rollout(actor_critic, world, 3)
    found = []
    for how in (act, recorded):
        torch.manual_seed(5)
        first, middle = rollout(actor_critic, world, state, 4, how)
        second, last = rollout(actor_critic, world, middle, 4, how)
        found.append([*vars(first).values(), *vars(second).values(), *vars(last.world).values(), *last.policy])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_gradient_goes_back_through_time_but_not_past_a_restart() -> None:
    actor_critic, world = agent(), Corridor([2, 100])
    state = start_rollout(actor_critic, world, 2)
    policy: PolicyState = (torch.zeros(2, 6, requires_grad=True), torch.zeros(2, 6, requires_grad=True))
    steps, _ = rollout(actor_critic, world, RolloutState(state.world, policy), 3)
    steps.values[:, 2].sum().backward()
    assert policy[0].grad is not None
    assert not policy[0].grad[0].any() and policy[0].grad[1].any()


def test_burn_in_is_the_frames_one_by_one() -> None:
    actor_critic, frames = agent(), torch.randn(3, 4, 3, 4, 4)
    state = actor_critic.zero_state(3)
    for t in range(4):
        _, _, state = actor_critic(frames[:, t], state)
    torch.testing.assert_close(actor_critic.burn_in(frames), state)
    for part in actor_critic.burn_in(frames[:, :0]):
        assert part.shape == (3, 6) and not part.any()


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_a_new_agent_is_indifferent(size: tuple[int, int]) -> None:
    actor_critic = ActorCritic(ActorCriticConfig(8, (4, 8, 8), (True, True, False)), ActionSpace.discrete(6), size)
    logits, value, _ = actor_critic(torch.randn(2, 3, *size), actor_critic.zero_state(2))
    assert logits.shape == (2, 6) and not logits.any()
    assert value.shape == (2,) and not value.any()


def test_frames_too_small_for_the_poolings() -> None:
    with pytest.raises(UserError, match="too small for 3 poolings"):
        ActorCritic(ActorCriticConfig(8, (4, 8, 8), (True, True, True)), ActionSpace.discrete(6), (7, 64))
