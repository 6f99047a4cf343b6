"""The U-Net that every denoiser is: any number of levels, channels, depths, attention per level."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffworld.nn.blocks import Modulations, ResBlocks, Upsample, downsample


class UNet(nn.Module):
    """Conditioned U-Net on (B, channels[0], H, W), any H and W; output of the same shape.

    `channels`, `depths` and `attention` have one entry a level, level 0 at full resolution. On the way up
    each block takes one stored feature of the way down, and a level has one block more than down there.
    """

    def __init__(
        self, channels: Sequence[int], depths: Sequence[int], attention: Sequence[bool], cond_channels: int
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        down, up = [], []
        for level, (c, depth, attend) in enumerate(zip(channels, depths, attention, strict=True)):
            above = channels[max(0, level - 1)]
            down.append(ResBlocks([(above, c)] + [(c, c)] * (depth - 1), cond_channels, attend))
            up.append(ResBlocks([(2 * c, c)] * depth + [(above + c, above)], cond_channels, attend))
        self.down = nn.ModuleList(down)  # blocks are registered in the order they run, as `modulations` wants it
        self.middle = ResBlocks([(channels[-1], channels[-1])] * 2, cond_channels, True)
        self.up = nn.ModuleList(reversed(up))  # in the order they run: deepest first
        self.downsamples = nn.ModuleList([nn.Identity(), *(downsample(c) for c in channels[:-1])])
        self.upsamples = nn.ModuleList([nn.Identity(), *(Upsample(c) for c in reversed(channels[:-1]))])

    def forward(self, x: Tensor, modulations: Modulations) -> Tensor:
        height, width = x.shape[-2:]
        right, below = -width % self.multiple, -height % self.multiple
        x = F.pad(x, (0, right, 0, below)) if right or below else x  # or it would copy
        stored: list[list[Tensor]] = []
        for shrink, level in zip(self.downsamples, self.down, strict=True):
            x = shrink(x)
            features = [x]
            for block in level.blocks:  # type: ignore[union-attr]
                x = block(x, modulations)
                features.append(x)
            stored.append(features)
        x = self.middle(x, modulations)
        for grow, level in zip(self.upsamples, self.up, strict=True):
            x = grow(x)
            features = stored.pop()
            for block in level.blocks:  # type: ignore[union-attr]
                x = block(torch.cat([x, features.pop()], dim=1), modulations)
        return x[..., :height, :width]
