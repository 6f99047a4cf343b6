"""`diffworld import-data`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Gt, Le

from diffworld.commands.parsing import parse_checked
from diffworld.data import Compress
from diffworld.importing import (
    Cut,
    FormatName,
    KeyMap,
    Settings,
    Summary,
    find_recordings,
    import_data,
    parse_size,
    set_aside,
)
from diffworld.runtime.errors import UserError
from diffworld.runtime.progress import Display


@dataclass(frozen=True)
class ImportDataOptions:
    """Turn recordings of a game into a data set, to look at with `diffworld data` and to train on.

    Read are videos with a log of keys beside them, VPT's recordings, LeRobot and Minari data sets, OWAMcap files,
    movies of stable-retro, Counter-Strike as published, NumPy arrays and folders of pictures; docs/your-own-game.md has
    what each must look like.
    The same command goes on where an import was stopped.
    """

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE...")]
    """Files, or folders that are searched with the folders in them."""
    out: Annotated[Path, tyro.conf.arg(metavar="DATA")]
    """The folder of the data set: a new one, or that of an import that was stopped."""
    format: FormatName = "auto"
    """What the sources are; auto looks, and says what it saw."""
    size: str = ""
    """HxW of the frames, such as 48x64 (default: the largest up to 64 a side that keeps the aspect; of Counter-Strike
    as published)."""
    fps: Annotated[float | None, Gt(0), Le(1000)] = None
    """Steps a second (default: the recording's, divided by a whole number until it is at most 20)."""
    shift: Annotated[int, Ge(-1000), Le(1000)] = 0
    """Take for each frame the action logged so many steps later; `diffworld data --check-alignment` finds how many."""
    cut: tuple[str, ...] = ()
    """Seconds to leave out, such as 0-12.5 or 300-; of one recording alone: clip.mp4@0-5."""
    keymap: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """JSON file that names keys, gives axes their bins, leaves things out (the import writes the one it used)."""
    camera: str = ""
    """Of several cameras or pictures, the one to take (default: the first)."""
    compress: Compress = "auto"
    """Compress each frame without loss; auto does so from 128x128 pixels on."""
    link: bool = False
    """Leave frames where they are, and only note where: they must stay there as they are (Counter-Strike)."""
    split: str = ""
    """Recordings to set aside to measure on: a file with their names, one a line, without folders, or a share such as
    0.1 (default: every tenth episode)."""
    outcomes: bool = False
    """Of Counter-Strike, keep kills as rewards, and deaths as ends of episodes (as published, there are none)."""
    name: str = ""
    """What the game is called (default: the name of the folder DATA; counter-strike)."""


def main(arguments: list[str]) -> int:
    """Import; Ctrl-C keeps what is there."""
    options = parse_checked(ImportDataOptions, "diffworld import-data", arguments)
    if not options.sources:
        raise UserError("say what to import: files, or folders with recordings")
    for text in options.cut:
        Cut.parse(text)  # UserError, before anything is read
    size, keymap = parse_size(options.size), KeyMap.read(options.keymap)
    if options.link and options.compress != "auto":
        raise UserError("--link stores no frames: leave out --compress")
    recordings, said = find_recordings(options.sources, options.format, options.camera)
    split, more = set_aside(recordings, options.split)
    asked = (options.cut, keymap, options.compress, split, options.outcomes, options.link)
    settings = Settings(size, options.fps, options.shift, *asked)
    display = Display()
    for line in [*said, *more]:
        display.line(line)
    try:
        summary = import_data(options.name, recordings, settings, options.out, display)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with {options.out}", file=sys.stderr)
        return 130
    for line in _lines(summary, options.out):
        display.line(line)
    return 0


def _lines(summary: Summary, out: Path) -> list[str]:
    """What came of it, what went, and what to do next."""
    lines = [f"{out}: {summary.steps:,} steps in {summary.episodes:,} episode{'s' * (summary.episodes != 1)}"]
    lines += [f"skipped {name}: {reason}" for name, reason in summary.skipped.items()]
    lines += [f"damaged {line}" for line in summary.damaged]
    lines += [f"{what}: {count:,}" for what, count in summary.lost.items()]
    lines += [f"wild values of {name}, put into its outermost bin: {count:,}" for name, count in summary.wild.items()]
    return [*lines, f"look at it: diffworld data {out} --check-alignment", f"train on it: diffworld train --data {out}"]
