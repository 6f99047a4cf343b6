"""The report as one HTML page that needs nothing beside it but films too large to lie inside."""

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from importlib import resources
from string import Template

from diffworld import __version__
from diffworld.report.contents import REFERENCE_METHOD, Contents
from diffworld.report.films import Film
from diffworld.report.html import Cell, bullets, data_uri, film, image, paragraph, section, table
from diffworld.report.runs import Run
from diffworld.report.sections import (
    COLUMNS,
    aggregates_section,
    apart_section,
    bounds_text,
    improvement_section,
    method_section,
    number_text,
    per_game_section,
    profiles_section,
    raw_text,
    subset_section,
)

MOST_PLAYING = 6  # films: with more, none starts by itself


def page(contents: Contents, figures: Mapping[str, bytes], curves: Mapping[str, bytes], films: Sequence[Film]) -> str:
    """The whole page.

    figures: "aggregates", "profiles", "improvement" as PNG. curves: a learning-curve PNG by its caption.
    """
    sections = [
        _runs(contents, curves, films),
        aggregates_section(contents, figures["aggregates"]),
        *(subset_section(contents, name) for name in contents.subsets),
        profiles_section(figures["profiles"]),
        improvement_section(contents, figures["improvement"]),
        per_game_section(contents),
        apart_section(contents),
        method_section(contents),
    ]
    folder = resources.files("diffworld.report").joinpath("data")
    return Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        style=folder.joinpath("page.css").read_text("utf-8"),
        subtitle=escape(_subtitle(contents)),
        made=escape(f"diffworld {__version__}, {date.today():%-d %B %Y}"),
        links=_links(contents),
        cards=_cards(contents),
        notes=f'<div class="notes"><h2>Read first</h2>{bullets(contents.notes)}</div>' if contents.notes else "",
        sections="\n".join(part for part in sections if part),
    )


def _subtitle(contents: Contents) -> str:
    published = sum(not method.own for method in contents.methods)
    own = len(contents.own) + len(contents.apart) + len({r.method for r in contents.runs if not r.comparable})
    yours = f" beside {own} of yours" if own else ""
    return f"{len(contents.benchmark.games)} games, 100,000 real steps. {published} published methods{yours}."


def _links(contents: Contents) -> str:
    """The page's contents, as links."""
    titles = {"runs": "your runs"} if contents.runs else {}
    titles |= {"aggregates": "aggregates"}
    titles |= {f"subset-{i + 1}": f"only the games {name} has" for i, name in enumerate(contents.subsets)}
    titles |= {"profiles": "profiles", "improvement": "improvement", "games": "game by game"}
    if contents.apart or any(not run.comparable for run in contents.runs):
        titles["apart"] = "other protocols"
    titles["method"] = "how the numbers are made"
    return "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in titles.items())


def _cards(contents: Contents) -> str:
    """The aggregates in large print: the user's best method, or DIAMOND; none if the user's methods lack games."""
    complete = [name for name in contents.ranked() if name in {method.name for method in contents.own}]
    if not complete and contents.own:
        return ""
    name = complete[0] if complete else REFERENCE_METHOD
    cards = "".join(
        f'<div class="card"><b>{number_text(key, estimate.value)}</b><span>{escape(title)}</span>'
        f"<small>{escape(bounds_text(key, estimate))}</small></div>"
        for key, title in COLUMNS.items()
        for estimate in [contents.aggregates[name][key]]
    )
    head = f'<div class="card name"><b>{escape(name)}</b><span>human-normalised</span></div>'
    return f'<div class="cards">{head}{cards}</div>'


def _runs(contents: Contents, curves: Mapping[str, bytes], films: Sequence[Film]) -> str:
    if not contents.runs:
        return ""
    head = ["method", "game", "seed", "score (95 %)", "random", "normalised", "test games", "real steps", "hours"]
    rows = [_run_row(contents, run) for run in contents.runs]
    parts = [
        paragraph(
            "Mean raw score over whole test games, with the interval that their number leaves; it says nothing about "
            "other training seeds."
        ),
        table([Cell(text) for text in head], rows, "plain"),
        bullets(_changes(contents.runs), "fine"),
    ]
    for caption, png in curves.items():
        parts += [f"<h3>{escape(caption)}</h3>", image(png, f"Learning curves: {caption}")]
    if curves:
        parts.append(
            paragraph("Line: games while collecting, smoothed. Dots: tests in training. Diamond: the test reported.")
        )
    playing = len(films) <= MOST_PLAYING
    shown = "".join(
        film(one.beside or data_uri(one.data, "video/mp4"), one.still, one.caption, playing) for one in films
    )
    if shown:
        parts.append(f'<h3>Films</h3><div class="films">{shown}</div>')
    return section("runs", "Your runs", *parts)


def _changes(runs: Sequence[Run]) -> list[str]:
    """What the methods change of their presets, a line each."""
    lines = {}
    for run in runs:
        if run.changes and run.changes[0] not in run.method:  # where the name does not say it
            lines[run.method] = f"{run.method}: {', '.join(run.changes)}, else the preset {run.preset}"
    return list(lines.values())


def _run_row(contents: Contents, run: Run) -> list[Cell]:
    reference = contents.benchmark.reference(run.game)
    normalised = "–"
    if run.comparable and reference:
        normalised = f"{(run.interval.mean - reference[0]) / (reference[1] - reference[0]):.3f}"
    why = "" if run.comparable else "other rules"
    low, high = raw_text(run.interval.low), raw_text(run.interval.high)
    return [
        Cell(run.method),
        Cell(run.game),
        Cell(str(run.seed)),
        Cell(raw_text(run.interval.mean), small=f"{low} to {high}", title=run.test.origin),
        Cell(raw_text(run.random.mean) if run.random else "–"),
        Cell(normalised, small=why),
        Cell(str(len(run.test.scores))),
        Cell(f"{run.test.env_steps:,}"),
        Cell(f"{run.test.wall_seconds / 3600:.1f}"),
    ]
