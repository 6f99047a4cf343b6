"""Several dreams of the same starts, actions and noise, and two baselines, all measured alike."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from diffworld.evaluation.fidelity import frame_metrics
from diffworld.evaluation.fidelity.baselines import TrainingFrames, last_frame_film, nearest_frame_film
from diffworld.evaluation.fidelity.drift import CELL, KnownColours
from diffworld.evaluation.fidelity.measure import by_step, flip_steps, measure
from diffworld.evaluation.fidelity.reward_end import judge, reward_end_scores
from diffworld.evaluation.fidelity.rollouts import frames_per_second, roll_out
from diffworld.evaluation.fidelity.starts import Starts
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.device import autocast
from diffworld.runtime.frames import Film
from diffworld.world import FrameStack, WorldModel

REAL, LAST_FRAME, NEAREST_FRAME = "real game", "last frame repeated", "nearest training frame"

SPEED_SECONDS = 1.0
"""How long frames are drawn for, to count them a second."""

Kind = Literal["real", "baseline", "dream"]
Bar = Callable[[str, str, int], AbstractContextManager[Callable[[int], None]]]
"""(what is done, its unit, how many) -> a context that yields what to call with each advance."""


@dataclass(frozen=True)
class Dream:
    """A world model, and what to say of it in the record."""

    world: WorldModel[Any]
    details: Mapping[str, Any] = field(default_factory=dict)


def sampled_dreams(world: FrameStack, steps: Sequence[int], dtype: torch.dtype) -> dict[str, Dream]:
    """A dream for each number of denoising steps; frames alone, as no dream here needs to know rewards or ends."""
    return {
        f"dream, {count} denoising step{'s' if count > 1 else ''}": Dream(
            FrameStack(world.denoiser, None, replace(world.sampler, denoising_steps=count), dtype),
            {"denoising_steps": count},
        )
        for count in steps
    }


@dataclass(frozen=True)
class Study:
    """The record (see docs/fidelity.md), and the longest row of each film, uint8 (T, H, W, 3), to look at."""

    record: dict[str, Any]
    shown: dict[str, Film]


@dataclass(frozen=True, eq=False)
class Inspector:
    """What a film is measured with: the same for every film of a study."""

    starts: Starts
    reward_end: RewardEndModel | None
    known: KnownColours | None
    device: torch.device
    dtype: torch.dtype
    bar: Bar

    def inspect(self, name: str, kind: Kind, film: Film) -> dict[str, Any]:
        """Everything there is to say of a film, as its entry in the record."""
        with self.bar(f"measuring: {name}", "frame", int(self.starts.lengths.sum())) as advance:
            values = measure(film, self.starts, self.known, self.device, advance)
        entry = {"kind": kind, "by_step": {measured: by_step(numbers) for measured, numbers in values.items()}}
        if self.reward_end is None:
            return entry
        with autocast(self.device, self.dtype):
            judgement = judge(self.reward_end, self.starts, film, self.device)
        return entry | reward_end_scores(judgement, self.starts)


def study_dreams(
    dreams: Mapping[str, Dream],
    starts: Starts,
    reward_end: RewardEndModel | None,
    training: TrainingFrames | None,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    nearest_among: int = 20_000,
    bar: Bar,
) -> Study:
    """Measure dreams and baselines from the same starts; every dream sees the same actions and noise.

    Args:
        dreams: by the name they have in record and figures.
        reward_end: judges every film; without it the record has no rewards and ends.
        training: what the run learnt from; without it there is no nearest frame and nothing is known of colours.
        dtype: number format of the reward/end model's arithmetic.
        nearest_among: the nearest training frame is looked for among this many, evenly spaced.
    """
    known = None if training is None else _known_colours(training, device, bar)
    inspector = Inspector(starts, reward_end, known, device, dtype, bar)
    films: dict[str, Any] = {}
    shown: dict[str, Film] = {}

    def add(name: str, kind: Kind, film: Film, **details: Any) -> None:
        films[name] = inspector.inspect(name, kind, film) | details
        shown[name] = film[0].copy()

    add(REAL, "real", starts.truth)
    add(LAST_FRAME, "baseline", last_frame_film(starts))
    if training is not None:
        some = training.thinned(nearest_among)
        with bar("looking for the nearest frames", "frame", len(some.rows)) as advance:
            film = nearest_frame_film(starts, some, device, advance)
        add(NEAREST_FRAME, "baseline", film, searched=len(some.rows))
    for name, dream in dreams.items():
        speeds = _speeds(dream.world, starts, device)
        with bar(f"dreaming: {name}", "frame", int(starts.lengths.sum())) as advance:
            film = roll_out(dream.world, starts, device, seed=seed, advance=advance)
        add(name, "dream", film, **dream.details, frames_per_second=speeds)
    return Study(_record(starts, training, films), shown)


def _known_colours(training: TrainingFrames, device: torch.device, bar: Bar) -> KnownColours:
    with bar("colours of the training frames", "frame", len(training.rows)) as advance:
        return KnownColours(training.chunks(advance), device)


def _speeds(world: WorldModel[Any], starts: Starts, device: torch.device) -> dict[str, float]:
    """Frames a second with all rows side by side, and with one."""
    rows = len(starts.lengths)
    return {
        "rows": rows,
        "all_rows": round(frames_per_second(world, starts, device, rows, SPEED_SECONDS), 2),
        "one_row": round(frames_per_second(world, starts, device, 1, SPEED_SECONDS), 2),
    }


def _record(starts: Starts, training: TrainingFrames | None, films: dict[str, Any]) -> dict[str, Any]:
    height, width = starts.truth.shape[2:4]
    horizon = starts.truth.shape[1]
    side = frame_metrics.ssim_window(height, width)
    return {
        "starts": len(starts.lengths),
        "horizon": horizon,
        "rows": starts.rows.tolist(),
        "measures": {
            "psnr": {"unit": "dB", "largest": frame_metrics.PSNR_MAX},
            "ssim": {"window": side, "standard_deviation": frame_metrics.SSIM_SIGMA},
            "flip": {
                "steps": flip_steps(horizon),
                "pixels_per_degree": frame_metrics.flip_ppd(height),
                "display_pixels_per_degree": frame_metrics.FLIP_DISPLAY,
                "enlargement": frame_metrics.flip_enlargement(height),
            },
            "unseen": {"cell_levels": CELL, "training_frames": 0 if training is None else len(training.rows)},
        },
        "films": films,
    }
