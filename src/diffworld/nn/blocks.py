"""Building blocks shared by the three networks: norms, attention, residual blocks, resampling.

Every block takes and returns feature maps of shape (B, C, H, W), float, in any memory format
(channels-last is fastest on CPUs and tensor cores alike).
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_PER_GROUP = 32
CHANNELS_PER_HEAD = 8
GROUP_NORM_EPS = 1e-5


def num_groups(channels: int) -> int:
    """Groups of a group norm over `channels` channels: one for every 32, at least one."""
    return max(1, channels // CHANNELS_PER_GROUP)


def num_heads(channels: int) -> int:
    """Attention heads over `channels` channels: one for every 8, at least one."""
    return max(1, channels // CHANNELS_PER_HEAD)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with an affine map, in the group size all networks share."""
    return nn.GroupNorm(num_groups(channels), channels, eps=GROUP_NORM_EPS)


def conv3x3(cin: int, cout: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size."""
    return nn.Conv2d(cin, cout, kernel_size=3, padding=1)


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Start a convolution's weights at zero, so that the branch it ends starts as (nearly) nothing."""
    nn.init.zeros_(conv.weight)
    return conv


class AdaptiveGroupNorm(nn.Module):
    """Group norm whose scale and shift come from a condition vector, by way of `modulations`."""

    def __init__(self, channels: int, cond_channels: int) -> None:
        super().__init__()
        self.groups = num_groups(channels)
        self.linear = nn.Linear(cond_channels, 2 * channels)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Normalise x (B, C, H, W), then scale and shift it by `modulation` (B, 2 C)."""
        scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, F.group_norm(x, self.groups, eps=GROUP_NORM_EPS), 1 + scale)


Modulations = Iterator[Tensor]
"""[scale, shift] (B, 2 C) of each adaptive norm, in the order in which the norms run; blocks take theirs from it."""


def modulations(module: nn.Module, cond: Tensor) -> list[Tensor]:
    """[scale, shift] (B, 2 C) of every adaptive norm of a module, in order, for conditions (B, cond_channels).

    They depend on nothing else, so those of all denoising steps of a frame are computed at once.
    """
    return [norm.linear(cond) for norm in module.modules() if isinstance(norm, AdaptiveGroupNorm)]


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that nothing else needs: in place where no gradient will ask for it again."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


FUSED_FROM = 256
"""Positions from which on a CPU attends by the fused kernel."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (B, heads, positions, d).

    On a CPU, torch's fused kernel takes twice as long as the two products over few positions, and a third of their time
    over many, where their matrix no longer fits the cache; but only of tensors that lie in one piece.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    if q.shape[-2] >= FUSED_FROM:
        return F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
    return (q / math.sqrt(q.shape[-1]) @ k.transpose(-1, -2)).softmax(-1) @ v


class SelfAttention(nn.Module):
    """Attention over all positions, heads of 8 channels; the skip carries the *normalised* input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = num_heads(channels)
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, kernel_size=1)
        self.out = zero_init(nn.Conv2d(channels, channels, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        y = self.norm(x)
        # Positions before channels, as they lie in memory in channels-last: no copies, there and back.
        qkv = self.qkv(y).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in qkv)  # (B, heads, H*W, a head's)
        out = attend(q, k, v).transpose(1, 2).flatten(2)
        return y + self.out(out.transpose(1, 2).unflatten(-1, (h, w)))


class ResBlock(nn.Module):
    """Two conditioned 3x3 convolutions around a skip, then attention where asked for."""

    def __init__(self, cin: int, cout: int, cond_channels: int, attention: bool) -> None:
        super().__init__()
        self.norm1 = AdaptiveGroupNorm(cin, cond_channels)
        self.conv1 = conv3x3(cin, cout)
        self.norm2 = AdaptiveGroupNorm(cout, cond_channels)
        self.conv2 = zero_init(conv3x3(cout, cout))
        self.skip = nn.Conv2d(cin, cout, kernel_size=1) if cin != cout else nn.Identity()
        self.attention = SelfAttention(cout) if attention else nn.Identity()

    def forward(self, x: Tensor, modulations: Modulations) -> Tensor:
        h = self.conv1(silu(self.norm1(x, next(modulations))))
        h = self.conv2(silu(self.norm2(h, next(modulations))))
        return self.attention(h + self.skip(x))


class ResBlocks(nn.Module):
    """Residual blocks in a row; `channels` lists (in, out) of each."""

    def __init__(self, channels: list[tuple[int, int]], cond_channels: int, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(cin, cout, cond_channels, attention) for cin, cout in channels)

    def forward(self, x: Tensor, modulations: Modulations) -> Tensor:
        for block in self.blocks:
            x = block(x, modulations)
        return x


def downsample(channels: int) -> nn.Conv2d:
    """Halve the size (rounding up) with a strided convolution, orthogonal at the start."""
    conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
    nn.init.orthogonal_(conv.weight)
    return conv


class Upsample(nn.Module):
    """Double the size: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        # The compiler's way back of the above adds up number by number, atomically; of this it is a sum.
        b, c, h, w = x.shape
        each = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(b, h, 2, w, 2, c)  # as it lies in channels-last
        return self.conv(each.reshape(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2))


class FourierFeatures(nn.Module):
    """[cos, sin](2 pi x w) of scalars x (B,), with fixed w ~ N(0, 1); returns (B, features)."""

    weight: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(1, features // 2))

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * x[:, None] * self.weight
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def init_lstm(lstm: nn.LSTM | nn.LSTMCell) -> None:
    """Xavier input weights, orthogonal recurrent weights, zero biases but 1 for the forget gate's input bias."""
    for name, parameter in lstm.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
        elif "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:  # gates are stored in the order input, forget, cell, output
                with torch.no_grad():
                    parameter[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0
