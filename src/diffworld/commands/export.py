"""`diffworld export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from diffworld.commands.parsing import demo_named, parse_checked
from diffworld.runs import load, pack
from diffworld.runs.packed import LARGEST_TEXT
from diffworld.runs.starts import MAX_STARTS
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.files import check_writable
from diffworld.runtime.memory import in_words


@dataclass(frozen=True)
class ExportOptions:
    """Write a dream as one file that others can play: `diffworld play FILE`, or `diffworld.load("FILE")`.

    It holds the networks in bfloat16, the game's description, frames to start from and the licence that you give: no
    code, no paths, none of the other recordings. Without its data the real game cannot be played beside the dream,
    unless it is one that everybody has.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder; or demo (or --demo), or a file that was exported before."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The file to write, such as game.zip."""
    licence: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Text that says what others may do with it; it goes into the file."""
    starts: Annotated[int, Ge(1), Le(MAX_STARTS)] = 64
    """Places that dreams may start from, evenly spread over the data."""


def main(arguments: list[str]) -> int:
    """Write the file, whole or not at all."""
    options = parse_checked(ExportOptions, "diffworld export", demo_named(arguments))
    if options.out.exists():
        raise UserError(f"{options.out} is there already: choose another --out")
    check_writable(options.out.parent)
    licence = "" if options.licence is None else _text(options.licence)
    model = load(options.run, "cpu")
    model.require_world()
    pack(model, options.out, options.starts, licence)
    licence = licence or model.licence
    said = f"licence: {one_line(licence, 60)}" if licence else "no licence: nobody may know what is allowed (--licence)"
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {said}")
    print(f"play it: diffworld play {options.out}")
    return 0


def _text(path: Path) -> str:
    """The licence's text; UserError if it is none."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise UserError(f"the licence {path} is longer than {in_words(LARGEST_TEXT)}: give a text")
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"cannot read the licence {path} ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the licence {path} is no text in UTF-8: save it as such") from error
    if not text:
        raise UserError(f"the licence {path} is empty: give its text, or leave --licence out")
    return text
