"""Samplers: plain functions that turn noise into a frame, given any denoise callable.

Another solver is another function with the signature of `sample`. Source: Karras et al. 2022,
algorithms 1 and 2, with the deviations of the published DIAMOND code that its weights expect
(see `sample`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffworld.models.diffusion import Randn
from diffworld.runtime.checked import Amount, Count, Positive

Denoise = Callable[[Tensor, float, int], Tensor]
"""(noisy frames (B, C, H, W), sigma, step index) -> denoised frames, on the 8-bit grid."""


@dataclass(frozen=True)
class SamplerConfig:
    """How a frame is drawn."""

    denoising_steps: Count = 3
    """Denoising steps N; each costs a pass of the denoiser a frame. More are not always sharper."""
    sigma_min: Positive = 0.002
    """Noise level of the last step."""
    sigma_max: Positive = 5.0
    """Noise level of the first step."""
    rho: Positive = 7.0
    """Curvature of the schedule: larger puts more steps at low noise."""
    initial_noise: Positive = 1.0
    """Standard deviation of what a frame begins as; EDM has sigma_max (docs/algorithm.md says what for)."""
    order: Literal[1, 2] = 1
    """1: Euler. 2: Heun, two evaluations a step."""
    churn: Amount = 0.0
    """Noise put back during sampling (S_churn); 0 is deterministic."""
    churn_min: Amount = 0.0
    """Churn only at noise levels from here ..."""
    churn_max: Amount = 1000.0
    """... to here (the default is above any noise level)."""
    churn_noise: Amount = 1.0
    """Standard deviation of the churn noise (S_noise)."""
    sigma_context: Amount = 0.0
    """Noise added to the context frames in sampling, for denoisers trained with context noise."""


def karras_schedule(config: SamplerConfig) -> list[float]:
    """Noise levels sigma_0 > ... > sigma_{N-1}, then 0 (equation 5 of Karras et al.); N = 1 gives [sigma_max, 0]."""
    ramp = torch.linspace(0, 1, config.denoising_steps)
    high, low = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    return [*((high + ramp * (low - high)) ** config.rho).tolist(), 0.0]


def sample(denoise: Denoise, start: Tensor, config: SamplerConfig, randn: Randn) -> tuple[Tensor, list[Tensor]]:
    """Draw frames with Euler or Heun steps; returns them and the states before the first and after each step.

    `start` (B, C, H, W) is standard normal. It is *not* scaled by sigma_max, unless `initial_noise` says so: that
    reduces drift, and leaves out what comes seldom and by chance: D takes so little noise for the likeliest frame.
    With churn, D is evaluated at sigma while the step starts from the raised sigma_hat: published weights
    look as published only that way. The last step is always Euler.
    """
    x = start if config.initial_noise == 1 else config.initial_noise * start
    trajectory = [x]
    sigmas = karras_schedule(config)
    max_gamma = min(config.churn / config.denoising_steps, math.sqrt(2) - 1)
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        gamma = max_gamma if config.churn_min <= sigma <= config.churn_max else 0.0
        sigma_hat = sigma * (1 + gamma)
        if gamma > 0:
            x = x + randn(tuple(x.shape)) * (config.churn_noise * math.sqrt(sigma_hat**2 - sigma**2))
        d = (x - denoise(x, sigma, step)) / sigma_hat
        x_next = x + d * (sigma_next - sigma_hat)
        if config.order == 2 and sigma_next > 0:
            d_next = (x_next - denoise(x_next, sigma_next, step)) / sigma_next
            x_next = x + (d + d_next) / 2 * (sigma_next - sigma_hat)
        x = x_next
        trajectory.append(x)
    return x, trajectory
