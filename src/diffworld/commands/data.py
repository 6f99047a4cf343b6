"""`diffworld data`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from annotated_types import Ge, Le

from diffworld.commands.parsing import parse_checked
from diffworld.data import Dataset, DatasetSchema
from diffworld.data.schema import ROWS
from diffworld.runtime.files import write_atomic
from diffworld.runtime.progress import Display


@dataclass(frozen=True)
class DataOptions:
    """Look at a data set before training on it: in the terminal in short, on a page with pictures.

    Any data set can be looked at: an imported one, a recorded one, a run's replay.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """The folder of the data set."""
    page: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page to write (default: look.html in the folder)."""
    check_alignment: bool = False
    """Find out whether actions are early or late, and how sure that is; takes a minute or two."""
    check: bool = False
    """Read every frame and compare it with its checksum, as opening does only where files have changed."""
    shifts: Annotated[int, Ge(1), Le(32)] = 4
    """Steps, earlier and later, to look for the right shift in."""


def main(arguments: list[str]) -> int:
    """Look, say, and write the page, which appears whole or not at all."""
    options = parse_checked(DataOptions, "diffworld data", arguments)
    from diffworld.evaluation.look import check_alignment, look, page
    from diffworld.evaluation.look.alignment import UPDATES

    display = Display()
    if options.check:
        display.line(_check(options.data, display))
    with Dataset.open(options.data) as dataset:
        seen = look(dataset)
        for line in seen.lines():
            display.line(line)
        alignment, verdict = None, ""
        if options.check_alignment:
            with display.bar("check alignment", "update", 2 * UPDATES) as advance:
                alignment = check_alignment(dataset, options.shifts, advance)
            verdict = alignment.verdict(_imported_shift(dataset.schema.info))
            display.line(f"alignment: {verdict}")
    path = options.page or options.data / "look.html"
    write_atomic(path, page(seen, alignment, verdict))
    display.line(f"open {path}")
    return 0


def _check(folder: Path, display: Display) -> str:
    """Check every row, and where the folder may be written let the data set say so; what was found. UserError for
    damage."""
    size = DatasetSchema.read(folder).record.itemsize
    path = folder / ROWS
    rows = path.stat().st_size // size if path.exists() else 0
    with (
        display.bar("check", "row", rows) as advance,
        Dataset.open(folder, writable=os.access(path, os.W_OK), checking=advance) as dataset,
    ):
        linked = ", and files with their frames have the size and date that they had"
        return f"all {dataset.num_rows:,} rows are as they were written" + linked * (dataset.schema.frames == "linked")


def _imported_shift(info: dict[str, Any]) -> int:
    """The shift that a data set was imported with."""
    imported = info.get("imported")
    shift = imported.get("shift") if isinstance(imported, dict) else None
    return shift if isinstance(shift, int) else 0
