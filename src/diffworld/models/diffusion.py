"""Diffusion mathematics as pure functions (Karras et al. 2022, arXiv:2206.00364), with offset noise.

Frames are float tensors in [-1, 1]. `sigma` is the standard deviation of the pixel noise; `sigma_offset`
that of one extra normal number per frame and channel, which moves a whole channel up or down and teaches
the network to correct drifting brightness.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from diffworld.runtime.checked import Amount, Number, Positive

Randn = Callable[[tuple[int, ...]], Tensor]
"""Draws standard normal numbers of a shape; injectable, so that every draw can be reproduced."""

SIGMA_DATA = 0.5


@dataclass(frozen=True)
class Preconditioning:
    """Coefficients of D(y) = c_skip y + c_out F(c_in y, c_noise), each (B,): Karras et al., table 1."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor
    c_noise: Tensor


def precondition(sigma: Tensor, sigma_offset: float) -> Preconditioning:
    """Coefficients for noise levels `sigma` (B,), with the offset noise counted in."""
    s = (sigma**2 + sigma_offset**2).sqrt()
    c_in = 1 / (s**2 + SIGMA_DATA**2).sqrt()
    c_skip = SIGMA_DATA**2 / (s**2 + SIGMA_DATA**2)
    return Preconditioning(c_in, c_skip, c_out=s * c_skip.sqrt(), c_noise=s.log() / 4)


def expand(coefficient: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1), to multiply frames with."""
    return coefficient[:, None, None, None]


@dataclass(frozen=True)
class LogNormalSigma:
    """Distribution of sigma in training: ln sigma ~ N(mean, std^2), then clipped to [low, high]."""

    mean: Number = -0.4
    """Mean of ln sigma (-1.2 for the shooter)."""
    std: Amount = 1.2
    """Standard deviation of ln sigma."""
    low: Positive = 0.002
    """Smallest sigma."""
    high: Positive = 20.0
    """Largest sigma."""

    def draw(self, rows: int, randn: Randn) -> Tensor:
        """Noise levels (rows,)."""
        return (randn((rows,)) * self.std + self.mean).exp().clamp(self.low, self.high)


def add_noise(frames: Tensor, sigma: Tensor, sigma_offset: float, randn: Randn) -> Tensor:
    """y = x + sigma_offset z_channel + sigma z_pixel, for frames (B, C, H, W) and sigma (B,)."""
    b, c, *_ = frames.shape
    offset = sigma_offset * randn((b, c, 1, 1))
    return frames + offset + randn(tuple(frames.shape)) * expand(sigma)


def to_byte_grid(frames: Tensor) -> Tensor:
    """Clamp to [-1, 1] and truncate to the 256 levels of 8 bits, as every denoised frame is."""
    levels = ((frames.clamp(-1, 1) + 1) / 2 * 255).floor()
    return levels / 255 * 2 - 1
