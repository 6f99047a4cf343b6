"""Windows as tensors on the device, by name: what each network of the world model learns from."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffworld.data.windows import Windows
from diffworld.runtime.frames import frames_from_bytes


class FrameBatch(NamedTuple):
    """Windows of L frames, each to be drawn from those before it."""

    frames: Tensor  # (B, L, 3, H, W) in [-1, 1]; padding is 0 (mid-grey)
    actions: Tensor  # (B, L) int64, or (B, L, A) uint8
    mask: Tensor  # (B, L) bool, true where there is a frame


class TransitionBatch(NamedTuple):
    """Windows of L frames, which give L - 1 transitions with reward and end."""

    frames: Tensor  # (B, L, 3, H, W) in [-1, 1], final observations in place
    actions: Tensor  # (B, L) int64, or (B, L, A) uint8
    rewards: Tensor  # (B, L), raw
    ends: Tensor  # (B, L) int64, 1 where a step terminated
    mask: Tensor  # (B, L) bool, true on steps whose next frame is known


def frame_batch(windows: Windows, device: torch.device) -> FrameBatch:
    """Windows for a denoiser, or for dreams to start in."""
    return FrameBatch(*_frames(windows, device), _move(windows.has_frame, device))


def transition_batch(windows: Windows, device: torch.device) -> TransitionBatch:
    """Windows for a reward/end model."""
    rest = (windows.rewards, windows.terminated.astype(np.int64), windows.has_next)
    return TransitionBatch(*_frames(windows, device), *(_move(array, device) for array in rest))


def _frames(windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Bytes travel; floats are made on the device."""
    frames, has_frame = _move(windows.frames, device), _move(windows.has_frame, device)
    return frames_from_bytes(frames, has_frame), _move(windows.actions, device)


def _move(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
