"""Replay windows as tensors on the device, for each network that learns or dreams from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffworld.replay import Windows
from diffworld.world_model.diffusion import frames_from_bytes


@dataclass(frozen=True)
class Batch:
    """Windows (B, L) on a device; shapes as in `replay.Windows`, frames (B, L, 3, H, W) in [-1, 1]."""

    frames: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    mask: Tensor
    successor: Tensor


def to_batch(windows: Windows, device: torch.device) -> Batch:
    """Move windows to `device`; bytes travel, floats are made there. Padded frames become 0 (mid-grey)."""

    def move(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    return Batch(
        frames=frames_from_bytes(move(windows.frames), move(windows.has_frame)),
        actions=move(windows.actions),
        rewards=move(windows.rewards),
        ends=move(windows.terminated.astype(np.int64)),
        mask=move(windows.mask),
        successor=move(windows.successor),
    )
