"""Frames between bytes, uint8 (..., H, W, 3), and what networks see, (..., 3, H, W) in [-1, 1]."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Frame = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""
Film = NDArray[np.uint8]
"""uint8 (T, H, W, 3), or (B, T, H, W, 3) for several."""


def frames_from_bytes(frames: Tensor, has_frame: Tensor | None = None) -> Tensor:
    """Stored frames (..., H, W, C) uint8 to (..., C, H, W) float in [-1, 1]; rows without a frame become 0.

    The result is a view of channels-last memory, which the convolutions like best.
    """
    x = frames.movedim(-1, -3).float().div_(255).mul_(2).sub_(1)
    return x if has_frame is None else x * has_frame[..., None, None, None]


def frames_to_bytes(frames: Tensor) -> Tensor:
    """Frames (..., C, H, W) in [-1, 1] to (..., H, W, C) uint8, rounded (truncation would darken)."""
    return (frames.movedim(-3, -1).clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)


def to_numpy(frames: Tensor) -> Film:
    """Frames (..., 3, H, W) in [-1, 1] as uint8 (..., H, W, 3) on the CPU."""
    return np.ascontiguousarray(frames_to_bytes(frames).cpu().numpy())
