"""The report as one HTML page that needs nothing beside it but films too large to lie inside.

Its words and its markup are the templates in `data/`; here is what they are given.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import date

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffworld import __version__
from diffworld.evaluation.protocol import ATARI_100K, rules
from diffworld.report.aggregates import RESAMPLES, STATISTICS, Estimate
from diffworld.report.contents import REFERENCE_METHOD, Contents
from diffworld.report.films import Film
from diffworld.report.runs import Run
from diffworld.report.scores import TAKEN, Benchmark
from diffworld.report.tables import Row, per_game

MOST_PLAYING = 6  # films: with more, none starts by itself


def page(contents: Contents, figures: Mapping[str, bytes], curves: Mapping[str, bytes], films: Sequence[Film]) -> str:
    """The whole page.

    figures: "aggregates", "profiles", "improvement" as PNG. curves: a learning-curve PNG by its caption.
    """
    templates = Environment(
        loader=PackageLoader("diffworld.report", "data"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (raw, number, bounds, normalised, marks, data_uri)
    templates.filters |= {function.__name__: function for function in filters}
    return templates.get_template("page.html").render(
        contents=contents,
        benchmark=contents.benchmark,
        methods={method.name: method for method in contents.methods},
        others=[run for run in contents.runs if not run.comparable],
        headline=_headline(contents),
        columns=STATISTICS,
        per_game=per_game(contents),
        changes=_changes(contents.runs),
        figures=figures,
        curves=curves,
        films=films,
        most_playing=MOST_PLAYING,
        resamples=RESAMPLES,
        rules=rules(ATARI_100K),
        made=f"diffworld {__version__}, {date.today():%-d %B %Y}",
    )


def _headline(contents: Contents) -> str | None:
    """The method shown in large print: the user's best, or DIAMOND; None if all of the user's lack games."""
    complete = (name for name in contents.ranked() if name in contents.own_names)
    return next(complete, None if contents.own else REFERENCE_METHOD)


def _changes(runs: Sequence[Run]) -> list[str]:
    """What the methods change of their presets, a line each."""
    lines = {}
    for run in runs:
        if run.changes and run.changes[0] not in run.method:  # where the name does not say it
            lines[run.method] = f"{run.method}: {', '.join(run.changes)}, else the preset {run.preset}"
    return list(lines.values())


def raw(score: float | None) -> str:
    """A raw score at the precision it deserves in a table, or a dash."""
    if score is None:
        return "–"
    return f"{score:,.0f}" if abs(score) >= 100 else f"{score:.1f}".replace("-0.0", "0.0")


def number(value: float | None, key: str = "") -> str:
    """A human-normalised score or an aggregate, or a dash."""
    if value is None:
        return "–"
    return f"{value:.0f}" if key == "above_human" else f"{value:.3f}"


def bounds(estimate: Estimate, key: str) -> str:
    """The bounds of an aggregate's interval; empty text without one."""
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 0 if key == "above_human" else 2
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def normalised(run: Run, benchmark: Benchmark) -> float | None:
    """A run's human-normalised score, where it may be compared."""
    return float(benchmark.normalised(run.game, run.interval.mean)) if run.comparable else None


def marks(row: Row, name: str) -> str:
    """Classes of a method's score in a row of `per_game`: missing, the best of the row, human play or more."""
    score, human = row[name], row["Human"]
    if score is None:
        return "faint"
    best = max(other for key, other in row.items() if key not in TAKEN and other is not None)
    found = {"best": score == best, "human": score >= human - 1e-9 * abs(human)}
    return " ".join(key for key, holds in found.items() if holds)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a media type as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
