"""One film beside the truth: every measure of every frame, and their means by step."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.evaluation.fidelity import Advance, unheard
from diffworld.evaluation.fidelity.drift import KnownColours, brightness, contrast
from diffworld.evaluation.fidelity.frame_metrics import flip, psnr, ssim
from diffworld.evaluation.fidelity.starts import Starts
from diffworld.runtime.frames import Film

FLIP_STEPS = 40
"""FLIP takes milliseconds a frame: it is measured at about this many steps, evenly spaced in their logarithm."""
_CHUNK = 256  # frames measured at once

Measures = dict[str, NDArray[np.float64]]
"""Name of a measure -> its values (B, T), NaN where there is none."""


def flip_steps(horizon: int) -> list[int]:
    """The steps, counted from 1, at which FLIP is measured: the first, the last, and some between."""
    return sorted({int(step) for step in np.geomspace(1, horizon, FLIP_STEPS).round()})


def measure(
    film: Film,
    starts: Starts,
    known: KnownColours | None,
    device: torch.device,
    advance: Advance = unheard,
    with_flip: bool = True,
) -> Measures:
    """Measure a film uint8 (B, T, H, W, 3) against `starts.truth`; colours only where some are `known`.

    The truth itself may be given as the film: only how it looks is measured then, which is what others aim at.
    """
    values: Measures = {}
    places = np.argwhere(starts.valid)
    at_flip = np.isin(places[:, 1] + 1, flip_steps(starts.truth.shape[1]))

    def keep(name: str, rows: NDArray[np.int64], steps: NDArray[np.int64], numbers: NDArray[np.float64]) -> None:
        values.setdefault(name, np.full(starts.valid.shape, np.nan))[rows, steps] = numbers

    for first in range(0, len(places), _CHUNK):
        rows, steps = places[first : first + _CHUNK].T
        test, true = film[rows, steps], starts.truth[rows, steps]
        x, y = torch.from_numpy(test).to(device), torch.from_numpy(true).to(device)
        measured = {"brightness": brightness(x), "contrast": contrast(x)}
        if known is not None:
            measured["unseen_here"], measured["unseen_anywhere"] = known.unseen(x)
        if film is not starts.truth:
            measured |= {"psnr": psnr(x, y), "ssim": ssim(x, y)}
            for look in (brightness, contrast):
                measured[f"{look.__name__}_error"] = (look(x) - look(y)).abs()
            if with_flip:
                chosen = at_flip[first : first + _CHUNK]
                keep("flip", rows[chosen], steps[chosen], flip(test[chosen], true[chosen]))
        for name, numbers in measured.items():
            keep(name, rows, steps, numbers.double().cpu().numpy())
        advance(len(rows))
    return values


def by_step(values: NDArray[np.float64]) -> dict[str, list[float | None]]:
    """Mean and standard deviation over rows of values (B, T), at each step; None where nothing was measured."""
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0).sum(axis=0) / count
    deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=0) / count)
    measured: NDArray[np.bool_] = np.asarray(there.any(axis=0))
    return {"mean": _numbers(mean, measured), "sd": _numbers(deviation, measured)}


def _numbers(values: NDArray[np.float64], measured: NDArray[np.bool_]) -> list[Any]:
    """Plain numbers of six significant digits."""
    return [float(f"{value:.6g}") if is_there else None for value, is_there in zip(values, measured, strict=True)]
