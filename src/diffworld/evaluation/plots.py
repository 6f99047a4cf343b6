"""Learning curves: one figure that shows whether each part of a run learns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from diffworld.evaluation.statistics import Interval
from diffworld.runtime.files import atomic_file

# A palette that colour-blind readers can tell apart (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_REFERENCE_COLOURS = (_GREY, "#CC79A7", "#E69F00")
_COUNTER_NAMES = {"env_steps": "environment steps"}
_SMOOTH_FROM = 40  # points: from here on a curve is drawn smoothed over its own faint line


@dataclass(frozen=True)
class Curve:
    """One metric: its name in the record, its name in the legend, its colour; dots for sparse ones."""

    name: str
    label: str
    colour: str
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes: curves of one unit over one counter."""

    title: str
    unit: str
    counter: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None


PANELS = (
    Panel(
        "Real game",
        "return of an episode",
        "env_steps",
        (
            Curve("collect/return", "while collecting", _BLUE),
            Curve("eval/return_mean", "test, mean", _ORANGE, dots=True),
        ),
    ),
    Panel(
        "Denoiser",
        "loss",
        "denoiser_gradient_steps",
        (
            Curve("denoiser/loss", "training", _BLUE),
            Curve("denoiser/held_out_loss", "held out", _ORANGE, dots=True),
        ),
        logarithmic=True,
    ),
    Panel(
        "Reward and end model: loss",
        "cross-entropy (nats)",
        "reward_end_gradient_steps",
        (
            Curve("reward_end/loss_reward", "reward, training", _BLUE),
            Curve("reward_end/loss_end", "end, training", _GREEN),
            Curve("reward_end/held_out_loss", "sum, held out", _ORANGE, dots=True),
        ),
        logarithmic=True,
    ),
    Panel(
        "Reward and end model: F1",
        "F1, held out",
        "reward_end_gradient_steps",
        (
            Curve("reward_end/reward_f1", "reward", _BLUE, dots=True),
            Curve("reward_end/end_f1", "end", _GREEN, dots=True),
        ),
        bounds=(-0.03, 1.03),
    ),
    Panel(
        "Actor-critic: imagined return",
        "imagined return",
        "actor_critic_gradient_steps",
        (Curve("actor_critic/imagined_return", "imagined return", _BLUE),),
    ),
    Panel(
        "Actor-critic: entropy and losses",
        "entropy (nats), losses",
        "actor_critic_gradient_steps",
        (
            Curve("actor_critic/entropy", "policy entropy", _BLUE),
            Curve("actor_critic/loss_value", "value loss", _ORANGE),
            Curve("actor_critic/loss_policy", "policy loss", _GREEN),
        ),
    ),
)


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    path_png: Path | str,
    reference: Mapping[str, Interval] | None = None,
) -> None:
    """Draw the figure of a run.

    Args:
        metrics: the entries of the run's record, in order; names an entry lacks, or that are None, are passed
            over, and so are curves that no entry has.
        path_png: where to; the file is whole or absent.
        reference: returns to compare the real game with, such as {"random": Interval(...)}, drawn as a line
            at the mean in a band between the bounds.

    Raises: UserError if the file cannot be written.
    """
    figure = Figure(figsize=(14, 7.5), dpi=110, layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.1))
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        _draw(axes, panel, metrics, (reference or {}) if panel is PANELS[0] else {})
    with atomic_file(path_png) as temporary:
        figure.savefig(temporary, format="png")


def points(metrics: Iterable[Mapping[str, Any]], counter: str, name: str) -> NDArray[np.float64]:
    """Return where a metric was measured and what it was, float64 (2, K), None and NaN left out."""
    pairs = [(entry[counter], entry[name]) for entry in metrics if _has(entry, counter) and _has(entry, name)]
    return np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T


def _has(entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get(name)
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _draw(axes: Axes, panel: Panel, metrics: Sequence[Mapping[str, Any]], reference: Mapping[str, Interval]) -> None:
    counter = next((c for c in (panel.counter, "env_steps") if any(_has(entry, c) for entry in metrics)), "epoch")
    measured = [(curve, points(metrics, counter, curve.name)) for curve in panel.curves]
    measured = [(curve, xy) for curve, xy in measured if xy.size]
    for (label, interval), colour in zip(reference.items(), _REFERENCE_COLOURS * len(reference), strict=False):
        axes.axhspan(interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)
        axes.axhline(interval.mean, color=colour, linewidth=1.2, linestyle="--", label=label)
    for curve, (x, y) in measured:
        _draw_curve(axes, curve, x, y)

    axes.set_title(panel.title, fontsize=11, fontweight="bold", loc="left")
    axes.set_ylabel(panel.unit)
    axes.set_xlabel(_COUNTER_NAMES.get(counter, counter.replace("_", " ")))
    axes.spines[["top", "right"]].set_visible(False)
    if not measured:
        axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", va="center", color=_GREY)
    if panel.logarithmic and measured and all((y > 0).all() for _, (_, y) in measured):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if panel.bounds:
        axes.set_ylim(*panel.bounds)
    if measured:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
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
