"""Fidelity in short, for the end of a training: PSNR and SSIM of some dreams. `diffworld fidelity` measures more."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.data import Dataset
from diffworld.evaluation.fidelity import Advance, unheard
from diffworld.evaluation.fidelity.films import last_frame_film, roll_out
from diffworld.evaluation.fidelity.measure import by_step, measure
from diffworld.evaluation.fidelity.starts import dataset_episodes, draw_starts
from diffworld.evaluation.fidelity.study import LAST_FRAME, told_steps
from diffworld.world import WorldModel

STARTS, HORIZON = 16, 50
"""Dreams, and the steps of each."""


def brief_fidelity(
    world: WorldModel[Any],
    dataset: Dataset,
    among: NDArray[np.bool_] | None,
    device: torch.device,
    advance: Advance = unheard,
) -> dict[str, Any]:
    """Measures by step of dreams of real actions, and of the last frame repeated, in episodes `among` (E,) or all.

    `advance` is told the frames drawn. UserError where no episode is long enough.
    """
    episodes = dataset_episodes(dataset, among)
    starts = draw_starts(episodes, STARTS, world.context_frames, HORIZON, np.random.default_rng(0))
    films = {"dream": roll_out(world, starts, device, advance=advance), LAST_FRAME: last_frame_film(starts)}
    found: dict[str, Any] = {"starts": len(starts.lengths), "horizon": len(starts.rows), "rows": starts.rows.tolist()}
    for name, film in films.items():
        values = measure(film, starts, None, device, with_flip=False)
        found[name] = {measured: by_step(values[measured]) for measured in ("psnr", "ssim")}
    return found


def brief_line(found: dict[str, Any]) -> str:
    """In words, at a few steps."""

    def said(film: dict[str, Any], step: int) -> str:
        psnr, ssim = (film[measured]["mean"][step - 1] for measured in ("psnr", "ssim"))
        return f"{psnr:.1f} / {ssim:.2f}"

    steps = [
        f"step {step} {said(found['dream'], step)} ({said(found[LAST_FRAME], step)})"
        for step in told_steps(found["horizon"])
    ]
    return f"fidelity, PSNR in dB / SSIM (of the {LAST_FRAME}): {', '.join(steps)}"
