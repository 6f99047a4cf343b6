"""Lambda-returns and the actor-critic losses, as pure functions on (B, T) tensors."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ReturnConfig:
    """Discounting and the weights of the losses."""

    discount: float = 0.985
    """gamma."""
    lambda_: float = 0.95
    """lambda of the lambda-return: 0 is one-step bootstrapping, 1 Monte Carlo."""
    entropy_weight: float = 0.001
    """Weight of the policy's entropy."""
    value_weight: float = 1.0
    """Weight of the value loss."""
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

    `next_values` is V(x_{t+1}) of the step's own successor, which also bootstraps the last step.
    """
    lam = config.lambda_ * (1 - truncated.float())
    following, returns = next_values[:, -1], []
    for t in reversed(range(rewards.shape[1])):
        mixed = (1 - lam[:, t]) * next_values[:, t] + lam[:, t] * following
        following = rewards[:, t].sign() + config.discount * (1 - ends[:, t].float()) * mixed
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def actor_critic_losses(
    logits: Tensor, actions: Tensor, values: Tensor, returns: Tensor, config: ReturnConfig
) -> ActorCriticLosses:
    """Policy gradient with a value baseline, value regression, entropy bonus.

    `logits` (B, T, A), `actions`, `values`, `returns` (B, T); no gradient flows through `returns`.
    """
    returns = returns.detach()
    log_probs = logits.log_softmax(-1)
    log_prob = log_probs.gather(-1, actions[..., None]).squeeze(-1)
    advantages = returns - values.detach()
    if config.scale_advantages:
        low, high = returns.quantile(0.05), returns.quantile(0.95)
        advantages = advantages / (high - low).clamp(min=1)
    policy = (-log_prob * advantages).mean()
    value = config.value_weight * F.mse_loss(values, returns)
    policy_entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    entropy = -config.entropy_weight * policy_entropy
    return ActorCriticLosses(policy + value + entropy, policy, value, entropy, policy_entropy.detach())
