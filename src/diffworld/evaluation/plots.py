"""Learning curves: one figure that shows whether each part of a run learns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from diffworld.evaluation.statistics import Interval
from diffworld.runtime.files import atomic_file

# A palette that colour-blind readers can tell apart (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_REFERENCE_COLOURS = (_GREY, "#CC79A7", "#E69F00", "#56B4E9")
_COUNTER_NAMES = {"env_steps": "environment steps"}
_SMOOTH_FROM = 40  # points: from here on a curve is drawn smoothed over its own faint line


@dataclass(frozen=True)
class Panel:
    """One set of axes: curves of one unit over one counter."""

    title: str
    unit: str
    counter: str
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None


REAL_GAME = Panel("Real game", "return of an episode", "env_steps")
DENOISER = Panel("Denoiser", "loss", "denoiser_gradient_steps", logarithmic=True)
UPSAMPLER = Panel("Upsampler", "loss", "upsampler_gradient_steps", logarithmic=True)
REWARD_END = "reward_end_gradient_steps"
LOSSES = Panel("Reward and end model: loss", "cross-entropy (nats)", REWARD_END, logarithmic=True)
F1 = Panel("Reward and end model: F1", "F1, held out", REWARD_END, bounds=(-0.03, 1.03))
IMAGINED = Panel("Actor-critic: imagined return", "imagined return", "actor_critic_gradient_steps")
POLICY = Panel("Actor-critic: entropy and losses", "entropy (nats), losses", "actor_critic_gradient_steps")
PANELS = (REAL_GAME, DENOISER, UPSAMPLER, LOSSES, F1, IMAGINED, POLICY)


@dataclass(frozen=True)
class Curve:
    """One metric: its axes, its name in the record, its name in the legend, its colour; dots for sparse ones."""

    panel: Panel
    name: str
    label: str
    colour: str
    dots: bool = False


CURVES = (
    Curve(REAL_GAME, "collect/return", "while collecting", _BLUE),
    Curve(REAL_GAME, "eval/return_mean", "test, mean", _ORANGE, dots=True),
    Curve(DENOISER, "denoiser/loss", "training", _BLUE),
    Curve(DENOISER, "denoiser/held_out_loss", "held out", _ORANGE, dots=True),
    Curve(UPSAMPLER, "upsampler/loss", "training", _BLUE),
    Curve(UPSAMPLER, "upsampler/held_out_loss", "held out", _ORANGE, dots=True),
    Curve(LOSSES, "reward_end/loss_reward", "reward, training", _BLUE),
    Curve(LOSSES, "reward_end/loss_end", "end, training", _GREEN),
    Curve(LOSSES, "reward_end/held_out_loss", "sum, held out", _ORANGE, dots=True),
    Curve(F1, "reward_end/reward_f1", "reward", _BLUE, dots=True),
    Curve(F1, "reward_end/end_f1", "end", _GREEN, dots=True),
    Curve(IMAGINED, "actor_critic/imagined_return", "imagined return", _BLUE),
    Curve(POLICY, "actor_critic/entropy", "policy entropy", _BLUE),
    Curve(POLICY, "actor_critic/loss_value", "value loss", _ORANGE),
    Curve(POLICY, "actor_critic/loss_policy", "policy loss", _GREEN),
)


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    path_png: Path | str,
    reference: Mapping[str, Interval] | None = None,
) -> None:
    """Draw the figure of a run.

    Args:
        metrics: the entries of the run's record, in order; names an entry lacks, or that are None, are passed
            over, and so are panels and curves that no entry has.
        path_png: where to; the file is whole or absent.
        reference: returns to compare the real game with, such as {"random": Interval(...)}, drawn as a line
            at the mean in a band between the bounds.

    Raises: UserError if the file cannot be written.
    """
    shown = [panel for panel in PANELS if _recorded(panel, metrics) or (reference and panel is REAL_GAME)]
    panels = shown or [REAL_GAME]
    columns = min(len(panels), 2 if len(panels) == 4 else 3)
    lines = -(-len(panels) // columns)
    figure = padded_figure(4.67 * columns, 3.75 * lines, 0.12, 0.1)
    for axes, panel in zip_longest(figure.subplots(lines, columns, squeeze=False).flat, panels):
        if panel:
            _draw(axes, panel, metrics, (reference or {}) if panel is REAL_GAME else {})
        else:
            axes.set_axis_off()
    write_png(figure, path_png)


def points(metrics: Iterable[Mapping[str, Any]], counter: str, name: str) -> NDArray[np.float64]:
    """Return where a metric was measured and what it was, float64 (2, K), None and NaN left out."""
    pairs = [(entry[counter], entry[name]) for entry in metrics if _has(entry, counter) and _has(entry, name)]
    return np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T


def _recorded(panel: Panel, metrics: Sequence[Mapping[str, Any]]) -> bool:
    return any(_has(entry, curve.name) for curve in CURVES if curve.panel is panel for entry in metrics)


def _has(entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get(name)
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _draw(axes: Axes, panel: Panel, metrics: Sequence[Mapping[str, Any]], reference: Mapping[str, Interval]) -> None:
    counter = next((c for c in (panel.counter, "env_steps") if any(_has(entry, c) for entry in metrics)), "epoch")
    curves = [(curve, points(metrics, counter, curve.name)) for curve in CURVES if curve.panel is panel]
    measured = [(curve, xy) for curve, xy in curves if xy.size]
    for (label, interval), colour in zip(reference.items(), _REFERENCE_COLOURS * len(reference), strict=False):
        axes.axhspan(interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)
        axes.axhline(interval.mean, color=colour, linewidth=1.2, linestyle="--", label=label.replace("$", r"\$"))
    for curve, (x, y) in measured:
        _draw_curve(axes, curve, x, y)

    finish(axes, panel.title, panel.unit, "" if measured else "nothing recorded")
    axes.set_xlabel(_COUNTER_NAMES.get(counter, counter.replace("_", " ")))
    if panel.logarithmic and measured and all((y > 0).all() for _, (_, y) in measured):
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
    if panel.bounds:
        axes.set_ylim(*panel.bounds)
    if measured:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if measured or reference:
        axes.legend(frameon=False, fontsize=9)


def _draw_curve(axes: Axes, curve: Curve, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    marker = "o" if curve.dots or len(x) == 1 else ""
    style: dict[str, Any] = {"color": curve.colour, "linewidth": 1.6, "marker": marker, "markersize": 3.5}
    if curve.dots or len(x) < _SMOOTH_FROM:
        axes.plot(x, y, label=curve.label, **style)
    else:
        axes.plot(x, y, color=curve.colour, alpha=0.25, linewidth=0.8)
        axes.plot(x, running_mean(y, len(y) // 40), label=f"{curve.label}, smoothed", **style)


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of each value with up to `width` neighbours on either side, float64 (K,)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    start, stop = np.maximum(places - width, 0), np.minimum(places + width + 1, len(values))
    means: NDArray[np.float64] = (sums[stop] - sums[start]) / (stop - start)
    return means


def padded_figure(width: float, height: float, h_pad: float, w_pad: float) -> Figure:
    """An empty figure of that size, whose axes are laid out around what stands in them; all in inches."""
    return Figure(figsize=(width, height), dpi=110, layout=ConstrainedLayoutEngine(h_pad=h_pad, w_pad=w_pad))


def write_png(figure: Figure, path: Path | str) -> None:
    """Write a figure, whole or not at all; UserError if that cannot be done."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def finish(axes: Axes, title: str, unit: str, nothing: str) -> None:
    """Title, unit and grid of axes; `nothing` is written into those that have nothing else to show."""
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    if nothing:
        axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", va="center", color=_GREY)


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, ..., without powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
