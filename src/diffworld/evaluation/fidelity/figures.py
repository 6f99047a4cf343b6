"""What people would rather look at: curves over the steps, a strip of frames, a film."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from diffworld.evaluation.fidelity.study import BICUBIC, LAST_FRAME, NEAREST_FRAME, REAL, UPSAMPLED, told_steps
from diffworld.evaluation.plots import finish, padded_figure, plain_numbers, write_png
from diffworld.runtime.frames import Film
from diffworld.runtime.video import side_by_side, write_video

STRIP_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

# Okabe and Ito 2008; several dreams get shades in order instead.
_FIXED: dict[str, dict[str, Any]] = {
    REAL: {"color": "#222222", "linewidth": 1.4},
    LAST_FRAME: {"color": "#999999", "linewidth": 1.4, "linestyle": "--"},
    NEAREST_FRAME: {"color": "#CC79A7", "linewidth": 1.4, "linestyle": (0, (1, 1))},
    BICUBIC: {"color": "#E69F00", "linewidth": 1.4, "linestyle": "--"},
    UPSAMPLED: {"color": "#D55E00", "linewidth": 1.4},
}
_CURVES = (
    ("psnr", "PSNR (higher is closer)", "dB"),
    ("ssim", "SSIM (higher is closer)", "SSIM"),
    ("flip", "FLIP (lower is closer)", "FLIP"),
    ("brightness_error", "Drift: brightness", "|dream − real|, levels of 255"),
    ("contrast_error", "Drift: contrast", "|dream − real|, levels of 255"),
    ("unseen_here", "Pixels whose colour no training frame has there", "share of pixels (%)"),
)
Record = Mapping[str, Any]
Styles = Mapping[str, dict[str, Any]]
"""How the curves of each film are drawn."""
_POOL = 1.08  # curves are drawn as means over steps no further apart than this factor


def draw_curves(record: Record, path: Path | str) -> None:
    """Draw the record of a study (or of several with the same starts) as one figure, PNG.

    Twelve panels, or the upper six where nothing was asked about rewards and ends.
    """
    events = [event for event in ("reward", "end") if event in record["films"][REAL]]
    lines = 2 + len(events)
    figure = padded_figure(15, 0.7 + 3.7 * lines, 0.1, 0.1)
    axes = figure.subplots(lines, 3)
    styles = _styles(record["films"])
    for panel, (name, title, unit) in zip(axes[:2].flat, _CURVES, strict=True):
        _draw_measure(panel, record, styles, name, title, unit)
    for row, event in zip(axes[2:], events, strict=True):
        for panel, score in zip(row, ("precision", "recall"), strict=False):
            _draw_score(panel, record, styles, event, score)
        _draw_reliability(row[2], record, styles, event)
    handles = [Line2D([], [], **style) for style in styles.values()]
    speeds = {name: film.get("frames_per_second") for name, film in record["films"].items()}
    labels = [f"{name} ({speed['all_rows']:.3g} frames/s)" if speed else name for name, speed in speeds.items()]
    columns, bold = -(-len(labels) // 2), FontProperties(size=12, weight="bold")
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=10)
    legend.set_title(_headline(record), prop=bold)
    write_png(figure, path)


def draw_strip(shown: Mapping[str, Film], path: Path | str) -> None:
    """Draw films (T, H, W, 3) as rows, one column a chosen step, PNG. Films may differ in length."""
    length = max(len(film) for film in shown.values())
    steps = sorted({*(step for step in STRIP_STEPS if step < length), length})
    _, height, width, _ = next(iter(shown.values())).shape
    size = 1.25  # inches a frame is wide
    figure = padded_figure(size * len(steps) + 2.2, size * height / width * len(shown) + 0.5, 0.02, 0.02)
    for row, (name, film) in zip(figure.subplots(len(shown), len(steps), squeeze=False), shown.items(), strict=True):
        for axes, step in zip(row, steps, strict=True):
            axes.axis("off")
            if step <= len(film):
                axes.imshow(film[step - 1], interpolation="nearest")
            if axes is row[0]:
                axes.text(-0.08, 0.5, name.replace(", ", ",\n"), transform=axes.transAxes, ha="right", va="center")
    for axes, step in zip(figure.axes, steps, strict=False):
        axes.set_title(f"step {step}", fontsize=10)
    write_png(figure, path)


def write_film(shown: Mapping[str, Film], path: Path | str, fps: float = 15) -> None:
    """Write films side by side under their names, MP4."""
    write_video(path, side_by_side(list(shown.values()), list(shown)), fps=fps, scale=1)


def pooled(values: list[float | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps (counted from 1) and values for drawing: means over neighbours in ranges that grow with the step."""
    steps = np.arange(1, len(values) + 1, dtype=np.float64)
    numbers = np.array([np.nan if value is None else value for value in values])
    steps, numbers = steps[~np.isnan(numbers)], numbers[~np.isnan(numbers)]
    if not steps.size:
        return steps, numbers
    # Ranges a whole step wide at least, so that early steps stay single.
    pool = np.maximum(np.log(steps) / np.log(_POOL), 0).astype(np.int64)
    _, place, count = np.unique(pool, return_inverse=True, return_counts=True)
    return np.bincount(place, steps) / count, np.bincount(place, numbers) / count


def _styles(films: Mapping[str, Any]) -> Styles:
    """How each film's curves are drawn; several dreams go from light to dark blue-green in their order."""
    dreams = [name for name, film in films.items() if film["kind"] == "dream"]
    shades = ["#0072B2"] if len(dreams) == 1 else colormaps["viridis_r"](np.linspace(0.12, 0.95, len(dreams)))
    own = {name: {"color": shade, "linewidth": 2.0} for name, shade in zip(dreams, shades, strict=True)}
    return {name: _FIXED.get(name) or own[name] for name in films}


def _draw_measure(axes: Axes, record: Record, styles: Styles, name: str, title: str, unit: str) -> None:
    factor = 100 if unit.endswith("(%)") else 1
    for film, style in styles.items():
        curve = record["films"][film]["by_step"].get(name)
        if curve is not None:
            x, y = pooled(curve["mean"])
            axes.plot(x, y * factor, **style)
    finish(axes, title, unit, "" if axes.lines else "not measured")
    _steps_axis(axes, record["horizon"])


def _draw_score(axes: Axes, record: Record, styles: Styles, event: str, score: str) -> None:
    for film, style in styles.items():
        ranges = [entry for entry in record["films"][film][event][:-1] if entry[score] is not None]
        x = [np.sqrt(entry["steps"][0] * entry["steps"][1]) for entry in ranges]
        if ranges:
            axes.plot(x, [entry[score] for entry in ranges], marker="o", markersize=4, **style)
    count = record["films"][REAL][event][-1]["true"]
    nothing = "never predicted" if score == "precision" else "never happened"
    title, nothing = f"{event.capitalize()}: {score} ({count} in the real game)", "" if axes.lines else nothing
    finish(axes, title, f"{score}, by range of steps", nothing)
    axes.set_ylim(-0.04, 1.04)
    _steps_axis(axes, record["horizon"])


def _draw_reliability(axes: Axes, record: Record, styles: Styles, event: str) -> None:
    axes.plot([0, 1], [0, 1], color="#CCCCCC", linewidth=1, zorder=0)
    for film, style in styles.items():
        bins = record["films"][film][event][-1]["reliability"]
        axes.plot([b["predicted"] for b in bins], [b["observed"] for b in bins], marker="o", markersize=4, **style)
    finish(axes, f"{event.capitalize()}: calibration (on the diagonal is best)", "observed frequency", "")
    axes.set_xlabel("predicted probability, all steps")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.04, 1.04)


def _steps_axis(axes: Axes, horizon: int) -> None:
    axes.set_xlabel("steps dreamt")
    axes.set_xscale("log")
    axes.set_xlim(0.93, max(horizon, 2) * 1.08)
    plain_numbers(axes.xaxis)


def _headline(record: Record) -> str:
    rows = record["rows"]
    left = ", ".join(f"{rows[step - 1]} at step {step}" for step in told_steps(record["horizon"]))
    env = record.get("env")
    return f"{env + ': ' if env else ''}fidelity of the dream by step; real rows to compare with: {left}"
