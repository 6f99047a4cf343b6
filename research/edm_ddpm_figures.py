"""What `research.edm_ddpm` says: curves by step, a strip of frames, a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.measuring import dress, new_figure, save_figure
from diffworld.evaluation.fidelity.reward_end import step_ranges
from diffworld.runtime.frames import Film

STRIP_STEPS = (1, 10, 50, 100, 200, 500, 1000)
_PANELS = (
    ("psnr", "PSNR (higher is closer)", "dB"),
    ("ssim", "SSIM (higher is closer)", "SSIM"),
    ("contrast_error", "Drift: contrast (0 is none)", "|dream − real|, levels of 255"),
    ("unseen_here", "Drift: pixels whose colour no training frame has there", "share of pixels (%)"),
)
_HUES = {"edm": "Blues", "ddpm": "Oranges"}
_DASHES = {"edm": "-", "ddpm": "--"}
_OTHERS: dict[str, dict[str, Any]] = {
    "real": {"color": "#222222", "linewidth": 1.2},
    "baseline": {"color": "#888888", "linestyle": ":"},
}


def table(record: Mapping[str, Any]) -> list[str]:
    """What there is to read: means over ranges of steps of four measures."""
    heads = [f"{first}-{last}" for first, last in step_ranges(record["horizon"])]
    lines = []
    for name, unit in (("psnr", "dB"), ("ssim", "1 is equal"), ("contrast_error", "levels"), ("unseen_here", "share")):
        lines.append(f"{f'{name} ({unit})':22}" + "".join(f"{head:>10}" for head in heads))
        for film, entry in record["films"].items():
            if name in entry["ranges"]:
                cells = "".join(f"{value:>10.3g}" for value in entry["ranges"][name])
                lines.append(f"  {film:20}{cells}")
    return lines


def draw_comparison(record: Mapping[str, Any], path: Path) -> None:
    """Draw a record as four panels, PNG: blue lines EDM, orange dashes DDPM, darker with more denoising steps."""
    figure = new_figure(12.5, 9)
    styles = _styles(record["films"])
    for axes, (name, title, unit) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        factor = 100 if unit.endswith("(%)") else 1
        for film, style in styles.items():
            curve = record["films"][film]["curves"].get(name)
            if curve is not None:
                axes.plot(curve["steps"], [value * factor for value in curve["values"]], **style)
        _finish(axes, title, unit, record["horizon"])
    order = ("edm", "ddpm", "baseline", "real")
    names = sorted(styles, key=lambda film: order.index(record["films"][film]["kind"]))
    figure.legend(
        [Line2D([], [], **styles[name]) for name in names],
        names,
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=10,
        title=f"{record['env']}: {record['starts']} dreams of the same real actions, mean by step",
        title_fontproperties={"size": 12, "weight": "bold"},
    )
    save_figure(figure, path)


def _styles(films: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    for name, film in films.items():
        kind = film["kind"]
        if kind in _OTHERS:
            styles[name] = _OTHERS[kind]
            continue
        same = [other for other, entry in films.items() if entry["kind"] == kind]
        shade = 0.4 + 0.55 * same.index(name) / max(1, len(same) - 1)
        styles[name] = {"color": colormaps[_HUES[kind]](shade), "linestyle": _DASHES[kind], "linewidth": 2.0}
    return styles


def _finish(axes: Axes, title: str, unit: str, horizon: int) -> None:
    dress(axes, title, "steps dreamt", unit)
    axes.set_xscale("log")
    axes.set_xlim(0.93, max(horizon, 2) * 1.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_frames(shown: Mapping[str, Film], path: Path) -> None:
    """Draw films (T, H, W, 3) of one length as rows, one column a chosen step, PNG."""
    length, height, width, _ = next(iter(shown.values())).shape
    steps = sorted({*(step for step in STRIP_STEPS if step < length), length})
    size = 1.35  # inches a frame is wide
    figure = new_figure(size * len(steps) + 1.3, size * height / width * len(shown) + 0.4)
    grid = figure.subplots(len(shown), len(steps), squeeze=False)
    for row, (name, film) in zip(grid, shown.items(), strict=True):
        for axes, step in zip(row, steps, strict=True):
            axes.imshow(film[step - 1], interpolation="nearest")
            axes.axis("off")
        row[0].text(-0.08, 0.5, name.replace(", ", ",\n"), transform=row[0].transAxes, ha="right", va="center")
    for axes, step in zip(grid[0], steps, strict=True):
        axes.set_title(f"step {step}", fontsize=10)
    save_figure(figure, path)
