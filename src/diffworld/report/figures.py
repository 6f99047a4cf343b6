"""The report's figures, as PNG bytes: aggregates, performance profiles, probability of improvement, learning curves."""

import io
import warnings
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from diffworld.evaluation.plots import points, running_mean
from diffworld.report.aggregates import STATISTICS, Estimate
from diffworld.report.contents import Contents
from diffworld.report.runs import Run

# A palette that colour-blind readers can tell apart (Okabe and Ito 2008); the user's methods are vermilion.
OWN, PLAIN, INK, GREY, RULE = "#D55E00", "#0072B2", "#222222", "#8A8A8A", "#DDDDDD"
PALETTE = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
DASHES = ("--", ":", "-.", (0, (6, 3, 1, 3, 1, 3)), (0, (1, 5)))
"""Of the lines of scores to compare with."""
WIDTH, DPI = 11.0, 150
PUBLISHED_KEYS = {"mean": "mean", "median": "median", "iqm": "iqm", "superhuman": "above_human"}


def aggregate_figure(contents: Contents) -> bytes:
    """Each aggregate with its interval, a row a method; hollow where only the authors' aggregate is known."""
    names = contents.ranked()
    only = list(contents.benchmark.aggregates)
    rows = {name: len(names) + len(only) - 1 - i for i, name in enumerate([*names, *only])}
    figure = Figure(figsize=(WIDTH, 1.3 + 0.25 * len(rows)), dpi=DPI, layout="constrained")
    all_axes = figure.subplots(1, len(STATISTICS), sharey=True)
    for axes, (key, title) in zip(all_axes, STATISTICS.items(), strict=True):
        for name in names:
            _interval(axes, contents.aggregates[name][key], rows[name], OWN if name in contents.own_names else PLAIN)
        for name in only:
            value = next((contents.benchmark.aggregates[name].get(k) for k, v in PUBLISHED_KEYS.items() if v == key), 0)
            if value:
                axes.plot(value, rows[name], "D", markersize=5, markerfacecolor="white", color=GREY)
        _finish(axes, fill(title + " (less is better)" * (key == "optimality_gap"), 18), grid="x")
        axes.use_sticky_edges = False
        axes.margins(x=0.07)
        axes.set_xlim(left=0)
        if key == "above_human":
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    labels = all_axes[0]
    labels.set_yticks(list(rows.values()), [_text(name) for name in rows])
    for tick, name in zip(labels.get_yticklabels(), rows, strict=True):
        tick.set_color(OWN if name in contents.own_names else GREY if name in only else INK)
        tick.set_fontweight("bold" if name in contents.own_names else "normal")
    for axes in all_axes:
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.7, len(rows) - 0.3)
    return _png(figure)


def _interval(axes: Axes, estimate: Estimate, y: float, colour: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        width = max(estimate.high - estimate.low, 1e-9)
        axes.barh(y, width, left=estimate.low, height=0.62, color=colour, alpha=0.35, linewidth=0)
    axes.plot([estimate.value, estimate.value], [y - 0.31, y + 0.31], color=colour, linewidth=2.2)


def profile_figure(contents: Contents) -> bytes:
    """Performance profiles: the user's methods and the best published ones in colour, the others in grey."""
    figure = Figure(figsize=(WIDTH, 5.0), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    own = [name for name in contents.ranked() if name in contents.own_names]
    best = [name for name in contents.ranked() if name not in own]
    chosen = list(dict.fromkeys(["DIAMOND", *best]))[: len(PALETTE)]
    for name in best:
        if name not in chosen:
            profile = contents.profiles[name]
            axes.plot(profile.tau, profile.share, color="#BBBBBB", linewidth=0.9, zorder=1)
    colours = dict(zip(chosen, PALETTE, strict=False)) | dict.fromkeys(own, OWN)
    for i, (name, colour) in enumerate(colours.items()):
        profile = contents.profiles[name]
        style = LINE_STYLES[own.index(name) % 4] if name in own else "-"
        if profile.low is not None and profile.high is not None:
            axes.fill_between(profile.tau, profile.low, profile.high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            profile.tau, profile.share, style, color=colour, linewidth=2.4 if name in own else 1.6, label=_text(name)
        )
        axes.collections[-1].set_zorder(2 + i)
    if len(best) > len(chosen):
        axes.plot([], [], color="#BBBBBB", linewidth=0.9, label="other published methods")
    axes.axvline(1, color=GREY, linewidth=0.9, linestyle=":")
    axes.text(1.02, 0.97, "human play", color=GREY, fontsize=9, va="top")
    axes.set(xlim=(0, 4), ylim=(0, 1), xlabel="human-normalised score", ylabel="share of runs above it")
    _finish(axes, "Performance profiles")
    axes.legend(frameon=False, fontsize=9.5)
    return _png(figure)


def improvement_figure(contents: Contents) -> bytes:
    """Probability of improvement of each compared method X over every other Y."""
    subjects = list(dict.fromkeys(x for x, _ in contents.improvement))
    most = max(sum(x == subject for x, _ in contents.improvement) for subject in subjects)
    columns = min(2, len(subjects))
    lines = -(-len(subjects) // columns)
    figure = Figure(figsize=(WIDTH, lines * (1.2 + 0.25 * most)), dpi=DPI, layout="constrained")
    every_axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in every_axes[len(subjects) :]:
        axes.set_axis_off()
    for axes, subject in zip(every_axes, subjects, strict=False):
        others = sorted((y for x, y in contents.improvement if x == subject), key=contents.ranked().index)[::-1]
        for row, other in enumerate(others):
            _interval(axes, contents.improvement[subject, other], row, OWN if subject in contents.own_names else PLAIN)
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(others)), [_text(name) for name in others])
        axes.set(xlim=(0, 1), ylim=(-0.7, len(others) - 0.3), xlabel="probability (0.5: as good as each other)")
        axes.tick_params(axis="y", length=0)
        _finish(axes, f"How likely {_text(subject)} beats", grid="x")
    return _png(figure)


def curve_figure(runs: Sequence[Run], lines: Mapping[str, float]) -> bytes:
    """Learning curves of runs on one game, by real steps and by wall time; `lines` are scores to compare with."""
    figure = Figure(figsize=(WIDTH, 4.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, counter, scale, title in (
        (left, "env_steps", 1.0, "by real steps"),
        (right, "wall_seconds", 1 / 3600, "by wall time"),
    ):
        for (name, score), dash in zip(lines.items(), DASHES, strict=False):
            axes.axhline(score, color=GREY, linewidth=1.1, linestyle=dash, label=_text(name))
        for i, run in enumerate(runs):
            _draw_run(axes, run, counter, scale, PALETTE[i % len(PALETTE)])
        _finish(axes, title)
        axes.set_xlim(left=0)
        axes.margins(x=0.03)
    left.set(xlabel="real steps", ylabel="score of a game")
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.set_xlabel("hours of training")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return _png(figure)


def _draw_run(axes: Axes, run: Run, counter: str, scale: float, colour: str) -> None:
    """While collecting: a smoothed line; tests: dots; the test reported: a diamond with its interval."""
    x, y = points(run.metrics, counter, "collect/return")
    if len(x):
        axes.plot(x * scale, running_mean(y, len(y) // 20), color=colour, linewidth=1.3, alpha=0.8)
    x, y = points(run.metrics, counter, "eval/return_mean")
    if len(x):
        axes.plot(x * scale, y, "o", color=colour, markersize=3.5)
    at = scale * (run.test.env_steps if counter == "env_steps" else run.test.wall_seconds)
    bounds = np.array([[run.interval.mean - run.interval.low], [run.interval.high - run.interval.mean]])
    label = _text(f"{run.method}, seed {run.seed}")
    axes.errorbar(at, run.interval.mean, bounds, fmt="D", color=colour, markersize=6, capsize=3, label=label)


def _finish(axes: Axes, title: str, grid: Literal["both", "x"] = "both") -> None:
    axes.set_title(title, fontsize=10, fontweight="bold", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    axes.grid(True, axis=grid, color=RULE, linewidth=0.6)


def _text(name: str) -> str:
    """A name as matplotlib should draw it: no formula between dollar signs, no underscore that hides it."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box in a name does no harm
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
