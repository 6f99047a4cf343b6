"""The denoiser: the next frame from past frames and actions, by diffusion; also the shooter's two networks.

One network serves three jobs, told apart by how it is conditioned: Atari (discrete actions), the shooter's
low-resolution denoiser (multi-hot actions, noised context frames) and its upsampler (no actions, a
low-resolution frame as extra input).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from diffworld.game import ActionSpace
from diffworld.models.diffusion import (
    SIGMA_DATA,
    LogNormalSigma,
    Preconditioning,
    Randn,
    add_noise,
    expand,
    precondition,
    to_byte_grid,
)
from diffworld.models.embedding import ActionEmbedding
from diffworld.models.sampler import SamplerConfig, karras_schedule, sample
from diffworld.nn.blocks import FourierFeatures, conv3x3, group_norm, modulations, silu, zero_init
from diffworld.nn.unet import UNet
from diffworld.runtime.checked import Amount, Count, Natural


@dataclass(frozen=True)
class DenoiserConfig:
    """Size and conditioning of a denoiser."""

    context_frames: Count = 4
    """Past frames (and actions) seen, n."""
    cond_channels: Count = 256
    """Width of the condition vector; a multiple of 2 and of context_frames."""
    channels: tuple[Count, ...] = (64, 64, 64, 64)
    """Channels of each U-Net level, full resolution first."""
    depths: tuple[Count, ...] = (2, 2, 2, 2)
    """Residual blocks of each level."""
    attention: tuple[bool, ...] = (False, False, False, False)
    """Self-attention at each level (the middle always has it)."""
    sigma_offset: Amount = 0.3
    """Standard deviation of the offset noise (0.1 for the shooter)."""
    noise_levels: LogNormalSigma = field(default_factory=LogNormalSigma)
    """Noise levels drawn in training."""
    context_noise_levels: LogNormalSigma = field(default_factory=lambda: LogNormalSigma(mean=-1.2))
    """Those of the context frames, one for all of a row, where they are noised too (recipe shooter)."""
    autoregressive_steps: Natural = 1
    """Frames predicted from its own predictions in training, k."""
    final_frames: bool = True
    """Also learn the frame that an episode ends with, from which the reward/end model tells the end. The published
    rule leaves these frames out: dreams then hardly ever end (docs/algorithm.md)."""


@dataclass(frozen=True)
class UpsamplerConfig(DenoiserConfig):
    """Size and conditioning of an upsampler: it draws a large frame from the small one and the large ones before it."""

    context_frames: Count = 1
    factor: Annotated[int, Interval(ge=2, le=64)] = 5
    """How many times smaller, a side, the frames of the first stage are."""


@dataclass(frozen=True)
class Conditioning:
    """What a denoiser draws from besides past frames and actions: the shooter's two networks differ in it."""

    noise_context: bool = False
    """Noise the context frames too, in training and (`SamplerConfig.sigma_context`) in sampling."""
    upsampling_factor: int = 1
    """Above 1: an upsampler, conditioned on a frame this many times smaller instead of on actions."""


@dataclass(frozen=True)
class Context:
    """What a frame is drawn from, computed once and used by every denoising step of that frame."""

    features: Tensor
    """The input convolution's answer to the context frames, bias included (B, channels[0], H, W)."""
    condition: Tensor
    """Action and context-noise part of the condition, before the MLP (B, cond_channels)."""


class DenoiserNetwork(nn.Module):
    """F(c_in y, c_noise, context): the U-Net with its conditioning."""

    def __init__(self, config: DenoiserConfig, actions: ActionSpace | None, conditioning: Conditioning) -> None:
        super().__init__()
        upsampler = conditioning.upsampling_factor > 1
        cond, n, c0 = config.cond_channels, config.context_frames, config.channels[0]
        self.fourier = FourierFeatures(cond)
        # The upsampler has the features of context noise too, though its context is clean.
        self.context_fourier = FourierFeatures(cond) if conditioning.noise_context or upsampler else None
        self.action_embedding = None if upsampler or actions is None else ActionEmbedding(actions, cond // n)
        self.condition_mlp = nn.Sequential(nn.Linear(cond, cond), nn.SiLU(), nn.Linear(cond, cond))
        self.conv_in = conv3x3(3 * (n + 1 + upsampler), c0)
        self.unet = UNet(config.channels, config.depths, config.attention, cond)
        self.norm_out = group_norm(c0)
        self.conv_out = zero_init(conv3x3(c0, 3))

    def encode(self, frames: Tensor, actions: Tensor | None, c_noise_context: Tensor | None) -> Context:
        """Context from frames (B, 3 n, H, W), oldest first, and actions (B, n) or multi-hot (B, n, A)."""
        w = self.conv_in.weight[:, :-3]
        features = F.conv2d(frames / SIGMA_DATA, w, self.conv_in.bias, padding=1)
        condition = frames.new_zeros(len(frames), self.fourier.weight.shape[1] * 2)
        if self.action_embedding is not None and actions is not None:
            condition = condition + self.action_embedding(actions).flatten(1)
        if self.context_fourier is not None:
            if c_noise_context is None:
                c_noise_context = frames.new_zeros(len(frames))
            condition = condition + self.context_fourier(c_noise_context)
        return Context(features, condition)

    def modulate(self, c_noise: Tensor, condition: Tensor) -> list[Tensor]:
        """[scale, shift] (B, 2 C) of each norm of the U-Net, for c_noise (B,) and a context's condition."""
        return modulations(self.unet, self.condition_mlp(self.fourier(c_noise) + condition))

    def forward(self, scaled: Tensor, features: Tensor, modulated: list[Tensor]) -> Tensor:
        """F for c_in * y (B, 3, H, W), a context's features and what `modulate` gives; returns (B, 3, H, W)."""
        # A convolution over [context | noisy] is the sum of two: only the second changes between steps.
        x = features + F.conv2d(scaled, self.conv_in.weight[:, -3:], padding=1)
        x = self.unet(x, iter(modulated))
        return self.conv_out(silu(self.norm_out(x)))


class Denoiser(nn.Module):
    """D(y; sigma, context), its training loss and its sampling.

    Frames are (B, n, 3, H, W) in [-1, 1], oldest first; actions (B, n) int64, or (B, n, A) of 0 and 1;
    for an upsampler `actions` is None and `low_res` is (B, 3, H / factor, W / factor).
    """

    def __init__(
        self, config: DenoiserConfig, actions: ActionSpace | None, conditioning: Conditioning | None = None
    ) -> None:
        super().__init__()
        self.config, self.conditioning = config, conditioning or Conditioning()
        self.network = DenoiserNetwork(config, actions, self.conditioning)

    def encode(
        self,
        frames: Tensor,
        actions: Tensor | None,
        *,
        low_res: Tensor | None = None,
        sigma_context: Tensor | None = None,
    ) -> Context:
        """Everything about the context that does not change between denoising steps."""
        x = frames.flatten(1, 2)
        if low_res is not None:
            x = torch.cat([x, resize_bicubic(low_res, (x.shape[-2], x.shape[-1]))], dim=1)
        c_noise_context = None if sigma_context is None else sigma_context.log() / 4
        return self.network.encode(x, actions, c_noise_context)

    def network_output(
        self, noisy: Tensor, sigma: Tensor, context: Context, modulated: list[Tensor] | None = None
    ) -> tuple[Tensor, Preconditioning]:
        """F and the coefficients at noise levels sigma (B,); F in float32 whatever the autocast.

        `modulated` is what `DenoiserNetwork.modulate` gives for these noise levels, where it is known already.
        """
        c = precondition(sigma, self.config.sigma_offset)
        if modulated is None:
            modulated = self.network.modulate(c.c_noise, context.condition)
        return self.network(expand(c.c_in) * noisy, context.features, modulated).float(), c

    def denoise(self, noisy: Tensor, sigma: Tensor, context: Context, modulated: list[Tensor] | None = None) -> Tensor:
        """D(y; sigma, context) on the 8-bit grid (B, 3, H, W)."""
        output, c = self.network_output(noisy, sigma, context, modulated)
        return to_byte_grid(expand(c.c_skip) * noisy + expand(c.c_out) * output)

    def modulate_schedule(self, sigmas: list[float], context: Context) -> dict[float, list[Tensor]]:
        """`modulated` of `network_output` at each noise level of a frame, from one matrix product a norm."""
        rows = len(context.condition)
        sigma = torch.cat([context.condition.new_full((rows,), sigma) for sigma in sigmas])
        c_noise = precondition(sigma, self.config.sigma_offset).c_noise
        modulated = self.network.modulate(c_noise, context.condition.repeat(len(sigmas), 1))
        steps = zip(*(both.split(rows) for both in modulated), strict=True)
        return {sigma: list(step) for sigma, step in zip(sigmas, steps, strict=True)}

    def forward(
        self,
        target: Tensor,
        noisy: Tensor,
        sigma: Tensor,
        past: Tensor,
        actions: Tensor | None,
        low_res: Tensor | None,
        sigma_context: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """What one step of training computes, all of it, so that the compiler sees it whole.

        `target` and `noisy` (B, 3, H, W), the latter at noise levels `sigma` (B,), and the context as in `encode`;
        returns the loss of each row (B,) and the denoised frames, without gradient.
        """
        context = self.encode(past, actions, low_res=low_res, sigma_context=sigma_context)
        output, c = self.network_output(noisy, sigma, context)
        wanted = (target - expand(c.c_skip) * noisy) / expand(c.c_out)
        row_loss = (output - wanted).square().mean(dim=(1, 2, 3))
        return row_loss, to_byte_grid(expand(c.c_skip) * noisy + expand(c.c_out) * output.detach())

    def loss(
        self,
        frames: Tensor,
        actions: Tensor | None,
        mask: Tensor,
        randn: Randn,
        *,
        low_res: Tensor | None = None,
        counts: Tensor | None = None,
        each: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Mean loss over the predicted frames of windows (B, n + 1 + k, 3, H, W); `mask` (B, n + 1 + k) tells frames.

        Frames n, n + 1, ... are predicted in turn; each prediction replaces the true frame as context of the
        next (no gradient through it). Rows whose target is padding do not count. `counts` (n + 1 + k,) are the frames
        of a column to divide by, where those of this batch alone are not the ones. `each` is given the share of each
        predicted frame as soon as it is known, to descend it then: what is returned has no gradient, and no more than
        one step need be kept for the way back.
        """
        n = self.config.context_frames
        frames = frames.clone()
        losses = []
        for t in range(n, frames.shape[1]):
            target = frames[:, t].clone()
            past, sigma_context = frames[:, t - n : t].clone(), None
            if self.conditioning.noise_context:
                sigma_context = self.config.context_noise_levels.draw(len(frames), randn)
                past = self._noise_context(past, sigma_context, randn)
            sigma = self.config.noise_levels.draw(len(frames), randn)
            noisy = add_noise(target, sigma, self.config.sigma_offset, randn)
            actions_t = None if actions is None else actions[:, t - n : t]
            low_res_t = None if low_res is None else low_res[:, t]
            row_loss, denoised = self(target, noisy, sigma, past, actions_t, low_res_t, sigma_context)
            count = mask[:, t].sum().clamp(min=1) if counts is None else counts[t].clamp(min=1e-9)
            losses.append((row_loss * mask[:, t]).sum() / count)
            if each is not None:
                each(losses[-1] / (frames.shape[1] - n))
                losses[-1] = losses[-1].detach()
            if t + 1 < frames.shape[1]:
                frames[:, t] = denoised
        return torch.stack(losses).mean()

    def _noise_context(self, frames: Tensor, sigma: Tensor, randn: Randn) -> Tensor:
        flat = add_noise(frames.flatten(1, 2), sigma, self.config.sigma_offset, randn)
        return flat.unflatten(1, frames.shape[1:3])

    @torch.no_grad()
    def sample(
        self,
        frames: Tensor,
        actions: Tensor | None,
        config: SamplerConfig,
        randn: Randn,
        *,
        low_res: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Draw the frame after the context; returns it (B, 3, H, W) and the denoising trajectory."""
        b, n, c, h, w = frames.shape
        start = like_weights(randn((b, c, h, w)), self.network.conv_in)
        contexts: dict[int, Context] = {}
        sigma_context = frames.new_full((b,), config.sigma_context) if config.sigma_context > 0 else None
        noised = frames

        def context_of(step: int) -> Context:
            """The context, noised a little more at each step where the model wants that."""
            nonlocal noised
            key = 0 if sigma_context is None else step
            if key not in contexts:
                if sigma_context is not None:
                    randn((b, n * c, 1, 1))  # the published code draws an offset here and multiplies it by 0
                    noise = randn((b, n * c, h, w)).unflatten(1, (n, c))
                    noised = noised + config.sigma_context * noise
                contexts[key] = self.encode(noised, actions, low_res=low_res, sigma_context=sigma_context)
            return contexts[key]

        modulated = self.modulate_schedule(karras_schedule(config)[:-1], context_of(0))

        def denoise(x: Tensor, sigma: float, step: int) -> Tensor:
            return self.denoise(x, x.new_full((b,), sigma), context_of(step), modulated[sigma])

        return sample(denoise, start, config, randn)


def like_weights(frames: Tensor, conv: nn.Conv2d) -> Tensor:
    """Frames (B, C, H, W) in the memory format of a convolution's weights, so that nothing changes it on the way."""
    last = conv.weight.is_contiguous(memory_format=torch.channels_last)
    return frames.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def shrink(frames: Tensor, factor: int) -> Tensor:
    """Frames (..., 3, H, W) as they look `factor` times smaller: antialiased bicubic, clamped, rounded to 8 bits.

    Padding, which is exactly 0, stays exactly 0.
    """
    flat = frames.flatten(0, -4)
    size = (flat.shape[-2] // factor, flat.shape[-1] // factor)
    small = F.interpolate(flat, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    small = torch.where(small == 0, small, ((small + 1) * 127.5).round() / 127.5 - 1)
    return small.unflatten(0, frames.shape[:-3])


def resize_bicubic(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge frames (B, C, h, w) to (B, C, *size) by bicubic interpolation."""
    return F.interpolate(frames, size=size, mode="bicubic", align_corners=False)
