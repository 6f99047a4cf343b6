"""Lambda-returns and the actor-critic losses, as pure functions on (B, T) tensors."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffworld.agents.actions import entropy, log_prob
from diffworld.game import ActionSpace
from diffworld.runtime.checked import Amount, Share


@dataclass(frozen=True)
class ReturnConfig:
    """Discounting and the weights of the losses."""

    discount: Share = 0.985
    """gamma."""
    lambda_return: Share = 0.95
    """lambda of the lambda-return: 0 is one-step bootstrapping, 1 Monte Carlo."""
    entropy_weight: Amount = 0.001
    """Weight of the policy's entropy."""
    scale_advantages: bool = False
    """Divide advantages by how far the 5th and 95th percentiles of the returns lie apart, where that is more than 1
    (DreamerV3, Hafner et al. 2023; here in each batch alone, and not in the paper of DIAMOND). The weight of the
    entropy then means the same in games that pay often and seldom."""


@dataclass(frozen=True)
class ActorCriticLosses:
    """Scalar losses; `entropy` is the loss term, weight and sign included, `policy_entropy` is in nats."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    policy_entropy: Tensor


def lambda_returns(
    rewards: Tensor, ends: Tensor, truncated: Tensor, next_values: Tensor, config: ReturnConfig
) -> Tensor:
    """R_t = sign(r) + gamma (1 - e) [u V' + (1 - u) ((1 - lambda) V' + lambda R_{t+1})], all (B, T).

    `next_values` is V(x_{t+1}) of the step's own next frame, which also bootstraps the last step.
    """
    lam = config.lambda_return * (1 - truncated.float())
    following, returns = next_values[:, -1], []
    for t in reversed(range(rewards.shape[1])):
        mixed = (1 - lam[:, t]) * next_values[:, t] + lam[:, t] * following
        following = rewards[:, t].sign() + config.discount * (1 - ends[:, t].float()) * mixed
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def actor_critic_losses(
    space: ActionSpace,
    logits: Tensor,
    actions: Tensor,
    values: Tensor,
    returns: Tensor,
    config: ReturnConfig,
    among: Tensor | None = None,
) -> ActorCriticLosses:
    """Policy gradient with a value baseline, value regression, entropy bonus.

    `logits` (B, T, A), `actions` (B, T) or (B, T, A), `values`, `returns` (B, T); no gradient flows through `returns`.
    `among` are all returns of the update, by whose spread advantages are scaled; none given: `returns`.
    """
    returns = returns.detach()
    advantages = returns - values.detach()
    if config.scale_advantages:
        spread = returns if among is None else among.detach()
        low, high = spread.quantile(0.05), spread.quantile(0.95)
        advantages = advantages / (high - low).clamp(min=1)
    policy = (-log_prob(space, logits, actions) * advantages).mean()
    value = F.mse_loss(values, returns)
    policy_entropy = entropy(space, logits).mean()
    bonus = -config.entropy_weight * policy_entropy
    return ActorCriticLosses(policy + value + bonus, policy, value, bonus, policy_entropy.detach())
