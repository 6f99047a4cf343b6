"""Signs that a dream drifts away from what the game looks like, whatever it should show."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffworld.runtime.frames import Film

LEVELS = 16
"""Cells a channel of the colour grid, each of 256 / LEVELS levels."""
CELL = 256 // LEVELS


def brightness(frames: Tensor) -> Tensor:
    """Mean (N,) over pixels and channels of frames uint8 (N, H, W, 3), in levels 0 to 255."""
    return frames.float().mean(dim=(1, 2, 3))


def contrast(frames: Tensor) -> Tensor:
    """Standard deviation (N,) over pixels of the mean of a pixel's channels, in levels."""
    return frames.float().mean(dim=3).flatten(1).std(dim=1, correction=0)


class KnownColours:
    """The colours that real frames have, at each place and anywhere, on a grid of 16x16x16 cells.

    A colour counts as known if a real frame has its cell or one of the 26 around it. So every colour within
    16 levels of a real one, in each channel, is known, and none that is 32 or more away in some channel.
    """

    def __init__(self, frames: Iterable[Film], device: torch.device) -> None:
        """Take in real frames, chunk by chunk, each uint8 (N, H, W, 3); ValueError if there is none."""
        here: Tensor | None = None
        for chunk in frames:
            cells = _cells(torch.from_numpy(chunk).to(device))
            if here is None:
                here = torch.zeros(cells.shape[1], LEVELS**3, dtype=torch.bool, device=device)
            here[torch.arange(cells.shape[1], device=device), cells] = True
        if here is None:
            raise ValueError("no real frames were given")
        for place in range(0, len(here), 1024):  # in parts: with neighbours the grid is of floats
            here[place : place + 1024] = _with_neighbours(here[place : place + 1024])
        self.here = here
        """bool (H * W, LEVELS^3), known at each place."""
        self.anywhere = here.any(dim=0)
        """bool (LEVELS^3,), known at some place."""

    def unseen(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (N,) of the pixels whose colour no real frame has at that place, and has anywhere."""
        cells = _cells(frames)
        here = self.here[torch.arange(cells.shape[1], device=cells.device), cells]
        return (~here).float().mean(dim=1), (~self.anywhere[cells]).float().mean(dim=1)


def _cells(frames: Tensor) -> Tensor:
    """Number of each pixel's cell, int64 (N, H * W)."""
    red, green, blue = frames.flatten(1, 2).long().div(CELL, rounding_mode="floor").unbind(-1)
    return (red * LEVELS + green) * LEVELS + blue


def _with_neighbours(cells: Tensor) -> Tensor:
    """Mark also the cells around marked ones; bool (P, LEVELS^3)."""
    grid = cells.float().view(-1, 1, LEVELS, LEVELS, LEVELS)
    return F.max_pool3d(grid, kernel_size=3, stride=1, padding=1).view(cells.shape) > 0
