"""Several dreams of the same starts, actions and noise, and baselines, all measured alike; and the next frame alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.evaluation.fidelity import Advance, frame_metrics, unheard
from diffworld.evaluation.fidelity.drift import CELL, KnownColours
from diffworld.evaluation.fidelity.films import (
    TrainingFrames,
    bicubic_film,
    frames_per_second,
    last_frame_film,
    nearest_frame_film,
    roll_out,
    upsampled_film,
)
from diffworld.evaluation.fidelity.measure import by_step, flip_steps, measure
from diffworld.evaluation.fidelity.reward_end import Judge, reward_end_scores
from diffworld.evaluation.fidelity.starts import Starts
from diffworld.runtime.device import autocast
from diffworld.runtime.frames import Film
from diffworld.world import TwoStages, WorldModel

REAL, LAST_FRAME, NEAREST_FRAME = "real game", "last frame repeated", "nearest training frame"
UPSAMPLED, BICUBIC = "true small frame, upsampler", "true small frame, bicubic"

SPEED_SECONDS = 1.0
"""How long frames are drawn for, to count them a second."""

NEXT_PLACES = 1024
"""Places at which the next frame alone is drawn, at most."""
_ROWS = 64  # of these drawn at once

NEXT_MEASURES = ("psnr", "ssim")
"""What is measured of the next frame alone, at many places: FLIP would take minutes."""
Kind = Literal["real", "baseline", "stage", "dream"]
Draw = Callable[..., Film]
"""(starts, seed=, advance=) -> a film of them."""
Bar = Callable[[str, str, int], AbstractContextManager[Advance]]
"""(what is done, its unit, how many) -> a context that yields what to call with each advance."""


def sampled_dreams(world: WorldModel[Any], steps: Sequence[int], dtype: torch.dtype) -> dict[str, WorldModel[Any]]:
    """A dream for each number of denoising steps of the first stage; frames alone, as none needs to know rewards or
    ends."""
    alone, (first, *rest) = world.frames_alone(dtype), world.samplers
    return {
        f"dream, {count} denoising step{'s' if count > 1 else ''}": alone.with_samplers(
            (replace(first, denoising_steps=count), *rest)
        )
        for count in steps
    }


def told_steps(horizon: int) -> list[int]:
    """The steps at which a few words tell how it went."""
    return sorted({1, *(step for step in (10, 100) if step < horizon), horizon})


@dataclass(frozen=True)
class Study:
    """The record (see docs/fidelity.md), and the longest row of each film, uint8 (T, H, W, 3), to look at."""

    record: dict[str, Any]
    shown: dict[str, Film]


def study_dreams(
    dreams: Mapping[str, WorldModel[Any]],
    starts: Starts,
    judge: Judge | None,
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
        judge: the reward/end model, which judges every film; without it the record has no rewards and ends.
        training: what the run learnt from; without it there is no nearest frame and nothing is known of colours.
        dtype: number format of the reward/end model's arithmetic.
        nearest_among: the nearest training frame is looked for among this many, evenly spaced.
    """
    known = None if training is None else _known_colours(training, device, bar)
    films: dict[str, Any] = {}
    shown: dict[str, Film] = {}
    frames = int(starts.lengths.sum())

    def add(name: str, kind: Kind, film: Film, **details: Any) -> None:
        with bar(f"measuring: {name}", "frame", frames) as advance:
            values = measure(film, starts, known, device, advance)
        films[name] = {"kind": kind, "by_step": {measured: by_step(numbers) for measured, numbers in values.items()}}
        if judge is not None:
            with autocast(device, dtype):
                films[name] |= reward_end_scores(judge(starts, film, device), starts)
        films[name] |= details
        shown[name] = film[0].copy()

    add(REAL, "real", starts.truth)
    for name, kind, draw in _undreamt(dreams, device):
        with bar(f"drawing: {name}", "frame", frames) as advance:
            film = draw(starts, seed=seed, advance=advance)
        add(name, kind, film)
    if training is not None:
        some = training.thinned(nearest_among)
        with bar("looking for the nearest frames", "frame", len(some.rows)) as advance:
            film = nearest_frame_film(starts, some, device, advance)
        add(NEAREST_FRAME, "baseline", film, searched=len(some.rows))
    for name, dream in dreams.items():
        counts = {"all_rows": len(starts.lengths), "one_row": 1}
        speeds = {key: frames_per_second(dream, starts, device, rows, SPEED_SECONDS) for key, rows in counts.items()}
        with bar(f"dreaming: {name}", "frame", frames) as advance:
            film = roll_out(dream, starts, device, seed=seed, advance=advance)
        speeds = {"rows": counts["all_rows"], **{key: round(speed, 2) for key, speed in speeds.items()}}
        add(name, "dream", film, denoising_steps=dream.samplers[0].denoising_steps, frames_per_second=speeds)
    return Study(_record(starts, training, films), shown)


def study_next_frames(
    dreams: Mapping[str, WorldModel[Any]],
    places: Starts,
    *,
    device: torch.device,
    seed: int = 0,
    bar: Bar,
) -> dict[str, Any]:
    """How near one frame is that is drawn after true ones, given `places` of one step each: for each film but those
    that need training frames mean and standard deviation over places."""
    drawn: list[tuple[str, Kind, Draw]] = _undreamt(dreams, device)
    drawn += [(name, "dream", partial(roll_out, dream, device=device)) for name, dream in dreams.items()]
    count, films = len(places.lengths), dict[str, Any]()
    for name, kind, draw in drawn:
        values: dict[str, list[NDArray[np.float64]]] = {key: [] for key in NEXT_MEASURES}
        with bar(f"next frame: {name}", "frame", count) as advance:
            for number, first in enumerate(range(0, count, _ROWS)):
                part = places.part(slice(first, first + _ROWS))
                film = draw(part, seed=seed + number, advance=unheard)
                measured = measure(film, part, None, device, advance, with_flip=False)
                for key, found in values.items():
                    found.append(measured[key][:, 0])
        curves = {key: by_step(np.concatenate(found)[:, None]) for key, found in values.items()}
        films[name] = {"kind": kind} | {
            key: {said: numbers[0] for said, numbers in curve.items()} for key, curve in curves.items()
        }
    return {"places": count, "films": films}


def _undreamt(dreams: Mapping[str, WorldModel[Any]], device: torch.device) -> list[tuple[str, Kind, Draw]]:
    """The films that no dream is needed for: the last frame, and of two stages what becomes of true small frames."""
    found: list[tuple[str, Kind, Draw]] = [(LAST_FRAME, "baseline", lambda starts, **_: last_frame_film(starts))]
    world = next((dream for dream in dreams.values() if isinstance(dream, TwoStages)), None)
    if world is not None:
        found.append((BICUBIC, "stage", lambda starts, **_: bicubic_film(world, starts, device)))
        found.append((UPSAMPLED, "stage", partial(upsampled_film, world, device=device)))
    return found


def _known_colours(training: TrainingFrames, device: torch.device, bar: Bar) -> KnownColours:
    with bar("colours of the training frames", "frame", len(training.rows)) as advance:
        return KnownColours(training.chunks(advance), device)


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


def summary_lines(record: dict[str, Any]) -> list[str]:
    """A record's frame measures of the next frame and at a few steps, and speeds, as a table of text."""
    steps, flip_at = told_steps(record["horizon"]), record["measures"]["flip"]["steps"]
    near = [min(flip_at, key=lambda measured: abs(measured - step)) for step in steps]
    films, alone = record["films"], record["next_frame"]
    names = [name for name, film in films.items() if film["kind"] != "real"]
    width = max(len(name) for name in names)
    columns = ["next frame", *(f"step {step}" for step in steps)]
    rows = [alone["places"], *(record["rows"][step - 1] for step in steps)]
    lines = [
        f"{record['env']}: PSNR (dB) / SSIM / FLIP; the next frame after true ones, then dreams of {record['starts']} "
        "starts",
        " " * (width + 2) + "".join(f"{column:>21}" for column in columns) + "   frames/s  (one row)",
        f"  {'frames to compare with':{width}}" + "".join(f"{count:>21}" for count in rows),
    ]
    for name in names:
        film = films[name]
        psnr, ssim, flip = (film["by_step"][measured]["mean"] for measured in ("psnr", "ssim", "flip"))
        following = [alone["films"][name][key]["mean"] for key in NEXT_MEASURES] if name in alone["films"] else []
        cells = [
            _cell(*following),
            *(_cell(psnr[step - 1], ssim[step - 1], flip[seen - 1]) for step, seen in zip(steps, near, strict=True)),
        ]
        speed = film.get("frames_per_second")
        speeds = "" if speed is None else f"{speed['all_rows']:>11.4g}  {speed['one_row']:.4g}"
        lines.append(f"  {name:{width}}" + "".join(f"{cell:>21}" for cell in cells) + speeds)
    return lines


def _cell(*means: float) -> str:
    """PSNR with one digit after the point, the others with two."""
    return " / ".join(f"{mean:.{2 if place else 1}f}" for place, mean in enumerate(means))
