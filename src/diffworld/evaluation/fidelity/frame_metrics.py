"""PSNR, SSIM and FLIP of frames beside true ones, for whole batches. Frames are uint8 (N, H, W, 3), sRGB."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.runtime.errors import UserError

MSE_FLOOR = 1 / 12
"""Mean square error of rounding to whole levels: equal frames count as this far apart, not 0."""
PSNR_MAX = 10 * math.log10(255**2 / MSE_FLOOR)
"""So no frame has more than this (dB)."""

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
FLIP_DISPLAY = 67.0
"""Pixels a degree of the display that FLIP assumes unless told otherwise."""
FLIP_HEIGHT = 256
"""Frames are taken to be shown enlarged by the least whole number that makes them at least this high."""


def psnr(test: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB over all pixels and channels, at most `PSNR_MAX`."""
    mse = (test.float() - true.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse.clamp(min=MSE_FLOOR))


def ssim_window(height: int, width: int) -> int:
    """Side of the SSIM window: 11, or in frames smaller than that the largest odd number that fits."""
    return min(SSIM_WINDOW, *(side - (side + 1) % 2 for side in (height, width)))


def ssim(test: Tensor, true: Tensor) -> Tensor:
    """Structural similarity (N,) in [-1, 1], mean over channels and all places where the window fits.

    Wang, Bovik, Sheikh and Simoncelli 2004, equation 13 with C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = 255, and a
    Gaussian window of 11x11 with standard deviation 1.5.
    """
    height, width = test.shape[1:3]
    side = ssim_window(height, width)
    down, across = (_window_weights(size, side).to(test.device) for size in (height, width))

    def mean(x: Tensor) -> Tensor:
        """Weighted mean in each window. A product of matrices: PyTorch lets convolutions compute in TF32."""
        return down @ x @ across.T

    x, y = (frames.movedim(3, 1).float() / 255 for frames in (test, true))
    c1, c2 = 0.01**2, 0.03**2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.mean(dim=(1, 2, 3))


def _window_weights(size: int, side: int) -> Tensor:
    """(size - side + 1, size): row i has the Gaussian weights of the window that begins at i."""
    places = torch.arange(side, dtype=torch.float64) - side // 2
    gaussian = torch.exp(-(places**2) / (2 * SSIM_SIGMA**2))
    weights = torch.zeros(size - side + 1, size)
    for i in range(len(weights)):
        weights[i, i : i + side] = gaussian / gaussian.sum()
    return weights


def flip_enlargement(height: int) -> int:
    """How many display pixels high a frame's pixel is taken to be."""
    return max(1, -(-FLIP_HEIGHT // height))


def flip_ppd(height: int) -> float:
    """Frame pixels a degree of the visual field, for a frame shown enlarged."""
    return FLIP_DISPLAY / flip_enlargement(height)


def require_flip() -> None:
    """UserError if FLIP's package is not there."""
    try:
        import flip_evaluator  # noqa: F401
    except ImportError as error:
        raise UserError(f"FLIP is missing ({error}): pip install 'diffworld[fidelity]'") from None


def flip(test: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean LDR-FLIP (N,) in [0, 1], 0 for equal frames: the difference seen on flipping between the two.

    Andersson, Nilsson, Akenine-Möller, Oskarsson, Åström and Fairchild 2020, by NVIDIA's own package.
    """
    import flip_evaluator

    parameters = {"ppd": flip_ppd(true.shape[1])}
    pairs = zip(*(frames.astype(np.float32) / 255 for frames in (true, test)), strict=True)
    means = [flip_evaluator.evaluate(y, x, "LDR", True, False, True, parameters)[1] for y, x in pairs]
    return np.asarray(means, np.float64)
