"""Lambda-returns against a plain recursion, and where gradients flow in the actor-critic's losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffworld.agents.actions import draw_actions, entropy, log_prob
from diffworld.agents.returns import ReturnConfig, actor_critic_losses, lambda_returns
from diffworld.game import ActionSpace, Choice, Keys

FIVE = ActionSpace.discrete(5)


def recursion(
    rewards: list[float], ends: list[bool], truncated: list[bool], next_values: list[float], config: ReturnConfig
) -> list[float]:
    """R_t of one row, straight from its definition."""

    def at(t: int) -> float:
        if t == len(rewards):
            return next_values[-1]
        sign = (rewards[t] > 0) - (rewards[t] < 0)
        if ends[t]:
            return sign
        if truncated[t]:
            return sign + config.discount * next_values[t]
        lambda_ = config.lambda_return
        return sign + config.discount * ((1 - lambda_) * next_values[t] + lambda_ * at(t + 1))

    return [at(t) for t in range(len(rewards))]


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[list[list[float]], list[list[bool]], list[list[bool]], list[list[float]]]:
    rows, steps = draw(st.integers(1, 4)), draw(st.integers(1, 8))

    def table(values: st.SearchStrategy) -> list:
        return draw(st.lists(st.lists(values, min_size=steps, max_size=steps), min_size=rows, max_size=rows))

    rare = st.integers(0, 3).map(lambda number: number == 0)
    reward = st.sampled_from([-200.0, -1.0, 0.0, 0.25, 1.0, 7.0])
    return table(reward), table(rare), table(rare), table(st.floats(-10, 10, width=32))


@given(rollouts(), st.floats(0, 1), st.floats(0, 1))
def test_lambda_returns_are_the_recursion(
    rollout: tuple[list[list[float]], list[list[bool]], list[list[bool]], list[list[float]]],
    discount: float,
    lambda_: float,
) -> None:
    config = ReturnConfig(discount=discount, lambda_return=lambda_)
    rewards, ends, truncated, next_values = rollout
    returns = lambda_returns(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor(ends),
        torch.tensor(truncated),
        torch.tensor(next_values, dtype=torch.float64),
        config,
    )
    expected = [recursion(*row, config) for row in zip(rewards, ends, truncated, next_values, strict=True)]
    torch.testing.assert_close(returns, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def returns_of(rewards: list[float], values: list[float], config: ReturnConfig, **over: list[int]) -> list[float]:
    none = [0] * len(rewards)
    ends, truncated = (torch.tensor([over.get(name, none)]).bool() for name in ("ends", "truncated"))
    return lambda_returns(torch.tensor([rewards]), ends, truncated, torch.tensor([values]), config)[0].tolist()


def test_lambda_0_looks_one_step_ahead() -> None:
    config = ReturnConfig(discount=0.5, lambda_return=0.0)
    assert returns_of([3.0, 0.0, -9.0], [10.0, 20.0, 30.0], config) == [1 + 5, 10, -1 + 15]


def test_lambda_1_is_monte_carlo_with_a_bootstrap() -> None:
    config = ReturnConfig(discount=0.5, lambda_return=1.0)
    assert returns_of([3.0, 0.0, -9.0], [10.0, 20.0, 30.0], config) == [1 + 0.25 * 14, 0.5 * 14, -1 + 15]


def test_an_end_cuts_what_follows_and_a_truncation_bootstraps() -> None:
    config = ReturnConfig(discount=0.5, lambda_return=1.0)
    assert returns_of([0.0, 1.0, 1.0], [10.0, 20.0, 30.0], config, ends=[0, 1, 0])[:2] == [0.5, 1]
    assert returns_of([0.0, 1.0, 1.0], [10.0, 20.0, 30.0], config, truncated=[0, 1, 0])[:2] == [5.5, 11]
    both = returns_of([0.0, 1.0, 1.0], [10.0, 20.0, 30.0], config, ends=[0, 1, 0], truncated=[0, 1, 0])
    assert both[:2] == [0.5, 1], "a row that ended has no value after, horizon or not"


def test_defaults_are_the_papers() -> None:
    assert ReturnConfig() == ReturnConfig(
        discount=0.985, lambda_return=0.95, entropy_weight=0.001, scale_advantages=False
    )


def batch(rows: int = 3, steps: int = 4, actions: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, actions, values, returns."""
    shape = (rows, steps)
    logits, values = torch.randn(*shape, actions, requires_grad=True), torch.randn(shape, requires_grad=True)
    return logits, torch.randint(actions, shape), values, torch.randn(shape, requires_grad=True)


def test_losses_in_numbers() -> None:
    logits, actions, values, returns = batch()
    config = ReturnConfig(entropy_weight=0.01)
    losses = actor_critic_losses(FIVE, logits, actions, values, returns, config)
    policy, value, entropy = 0.0, 0.0, 0.0
    for row in range(3):
        for t in range(4):
            p = logits[row, t].softmax(0).tolist()
            advantage = (returns[row, t] - values[row, t]).item()
            policy -= math.log(p[int(actions[row, t])]) * advantage / 12
            value += advantage**2 / 12
            entropy -= sum(x * math.log(x) for x in p) / 12
    assert losses.policy.item() == pytest.approx(policy, rel=1e-4)
    assert losses.value.item() == pytest.approx(value, rel=1e-4)
    assert losses.entropy.item() == pytest.approx(-0.01 * entropy, rel=1e-4)
    torch.testing.assert_close(losses.total, losses.policy + losses.value + losses.entropy)


def policy_loss(stretch: float, scale: bool) -> float:
    """The policy's loss in a batch whose returns and values are multiplied by `stretch`; their spread was 1."""
    torch.manual_seed(0)
    logits, actions, values, _ = batch(rows=101, steps=1)
    returns = torch.linspace(-0.5, 0.5, 101)[torch.randperm(101), None] / 0.9
    config = ReturnConfig(scale_advantages=scale)
    return actor_critic_losses(FIVE, logits, actions, stretch * values, stretch * returns, config).policy.item()


@pytest.mark.parametrize("stretch", [1.5, 10.0, 1000.0])
def test_scaled_advantages_of_a_game_that_pays_more_are_the_same(stretch: float) -> None:
    assert policy_loss(stretch, scale=True) == pytest.approx(policy_loss(1.0, scale=False), rel=1e-4)
    assert policy_loss(stretch, scale=False) == pytest.approx(stretch * policy_loss(1.0, scale=False), rel=1e-4)


@pytest.mark.parametrize("stretch", [0.0, 0.01, 0.9])
def test_advantages_of_a_game_that_pays_little_are_not_made_larger(stretch: float) -> None:
    assert policy_loss(stretch, scale=True) == policy_loss(stretch, scale=False)


def test_no_gradient_through_the_advantage_or_the_returns() -> None:
    logits, actions, values, returns = batch()
    actor_critic_losses(FIVE, logits, actions, values, returns, ReturnConfig(entropy_weight=0.0)).total.backward()
    advantage = (returns - values).detach()
    assert returns.grad is None
    torch.testing.assert_close(values.grad, -2 * advantage / 12)
    chosen = F.one_hot(actions, 5)
    expected = (logits.softmax(-1) - chosen) * advantage[..., None] / 12
    torch.testing.assert_close(logits.grad, expected.detach())


def test_descending_the_entropy_loss_raises_entropy() -> None:
    logits, actions, values, _ = batch()
    config = ReturnConfig(entropy_weight=1.0)
    losses = actor_critic_losses(FIVE, logits, actions, values, values, config)  # no advantage
    losses.total.backward()
    assert logits.grad is not None
    closer = (logits - 0.1 * logits.grad).detach()
    after = actor_critic_losses(FIVE, closer, actions, values, values, config)
    assert -after.entropy > -losses.entropy > 0
    uniform = actor_critic_losses(FIVE, torch.zeros_like(logits), actions, values, values, config)
    assert uniform.entropy.item() == pytest.approx(-math.log(5))


def test_a_certain_policy_has_finite_losses() -> None:
    _, actions, values, returns = batch()
    sure = torch.where(F.one_hot(actions, 5) == 1, 200.0, -200.0).requires_grad_()
    losses = actor_critic_losses(FIVE, sure, actions, values, returns, ReturnConfig())
    losses.total.backward()
    assert losses.total.isfinite() and sure.grad is not None and sure.grad.isfinite().all()


def test_losses_of_keys_and_choices() -> None:
    """The same formulas with the space's own log-probabilities and entropy."""
    space = ActionSpace((Keys(("w", "s", "a"), (("w", "s"),)), Choice("mouse", ("-", "0", "+"))))
    logits, values, returns = torch.randn(4, 3, 6, requires_grad=True), torch.randn(4, 3), torch.randn(4, 3)
    actions = draw_actions(space, logits.detach().flatten(0, 1)).unflatten(0, (4, 3))
    losses = actor_critic_losses(space, logits, actions, values, returns, ReturnConfig(entropy_weight=0.1))
    torch.testing.assert_close(losses.policy, -(log_prob(space, logits, actions) * (returns - values)).mean())
    torch.testing.assert_close(losses.policy_entropy, entropy(space, logits).mean().detach())
    torch.testing.assert_close(losses.entropy, -0.1 * entropy(space, logits).mean())
    losses.total.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
