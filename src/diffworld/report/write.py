"""A report on disk: the page, its pictures, tables and numbers, in a folder that appears as a whole."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from diffworld.evaluation.protocol import ATARI_100K
from diffworld.report.contents import REFERENCE_METHOD, Contents
from diffworld.report.figures import aggregate_figure, curve_figure, improvement_figure, profile_figure
from diffworld.report.films import films
from diffworld.report.page import page
from diffworld.report.runs import Run
from diffworld.report.tables import tables, to_csv
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_folder, check_writable, encoded, read_json, without_nan
from diffworld.runtime.versions import versions

PAGE, NUMBERS = "report.html", "report.json"
FORMAT = 1


def write_report(contents: Contents, out: Path) -> list[str]:
    """Write a report into the folder `out`, in place of an earlier one, and return its files' names.

    Raises: UserError if the folder holds anything that no report put there, or cannot be written.
    """
    check_place(out)
    shown = films(contents.runs)
    drawn = {"aggregates": aggregate_figure, "profiles": profile_figure, "improvement": improvement_figure}
    figures = {name: draw(contents) for name, draw in drawn.items()}
    curves = {name: curve_figure(runs, _lines(contents, runs)) for name, runs in curve_groups(contents).items()}
    rows = tables(contents)
    files: dict[str, bytes] = {f"{name}.png": png for name, png in figures.items()}
    files |= {f"curves-{_plain(caption)}.png": png for caption, png in curves.items()}
    files |= {f"{name}.csv": encoded(to_csv(table)) for name, table in rows.items() if table}
    files |= {film.beside: film.data for film in shown if film.beside}
    files[PAGE] = encoded(page(contents, figures, curves, shown))
    names = sorted([*files, NUMBERS])
    numbers = {
        "format": FORMAT,
        "files": names,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "protocol": asdict(ATARI_100K),
        "notes": contents.notes,
        "sources": contents.benchmark.sources,
        "tables": rows,
    }
    files[NUMBERS] = encoded(json.dumps(without_nan(numbers), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    with atomic_folder(out) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return names


def check_place(out: Path) -> None:
    """UserError unless `out` can be written and is free, an empty folder, or holds a report and nothing else."""
    advice = "choose another --out"
    check_writable(out.parent)
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file: {advice}")
    there = {path.name for path in out.iterdir()}
    try:
        ours = set(read_json(out / NUMBERS)["files"] if there else [])
    except (UserError, KeyError, TypeError):
        raise UserError(f"{out} is not empty and holds no report: {advice}") from None
    foreign = sorted(there - ours)
    if foreign:
        raise UserError(f"{out} also holds {foreign[0]}, which is not part of a report: move it away, or {advice}")


def curve_groups(contents: Contents) -> dict[str, list[Run]]:
    """The runs with a record that share axes: those of one game under the same rules, by a caption."""
    games: dict[str, dict[tuple[str, ...], list[Run]]] = {}
    for run in (run for run in contents.runs if run.metrics):
        games.setdefault(run.game, {}).setdefault(run.departures, []).append(run)
    return {
        f"{game} ({i})" if i > 1 else game: runs
        for game, by_rules in games.items()
        for i, runs in enumerate(by_rules.values(), 1)
    }


def _lines(contents: Contents, runs: list[Run]) -> Mapping[str, float]:
    """Scores to draw into learning curves: published ones only where the rules are the benchmark's."""
    first = runs[0]
    reference = contents.benchmark.reference(first.game)
    blind = next((run.test.blind for run in runs if run.test.blind), None)
    lines = {f"always {blind.action}": blind.constant.mean, "blind mixture": blind.mixture.mean} if blind else {}
    if first.comparable and reference:
        published = next(method for method in contents.benchmark.methods if method.name == REFERENCE_METHOD)
        mean = published.mean(first.game) or 0
        return {"random": reference[0], REFERENCE_METHOD: mean, "human": reference[1], **lines}
    measured = [run.random.mean for run in runs if run.random]
    return {"random": measured[0], **lines} if measured else lines


def _plain(caption: str) -> str:
    """A caption as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", caption).strip("-")
