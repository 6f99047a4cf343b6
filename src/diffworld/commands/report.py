"""`diffworld report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import demo_named, parse
from diffworld.runtime.errors import UserError


@dataclass(frozen=True)
class ReportOptions:
    """Compare runs with every published Atari 100k method, on one page that reads on screen and on paper.

    Without a run: the published methods alone. A run's score is the mean of its test games: of its last checkpoint,
    from the evaluation with the most games (`diffworld evaluate`), or from the last test of its training. Runs that
    differ only in game and seed are one method. Runs under other rules than the benchmark's (frame skip 4, no sticky
    actions, 30 no-ops, whole games, 100,000 real steps) stand in a table of their own.

    Scores from elsewhere: {"method": "Name", "scores": {"Alien": [812.5, 901.0], "Pong": 18.3}}, one raw score for
    each run, or one number where only the mean is known. Optional: "source", a text, and "protocol", what differs
    from the benchmark's rules, such as {"sticky_actions": 0.25}.
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN|SCORES.json]...")] = ()
    """Run folders, and JSON files of other people's scores."""
    out: Path = Path("report")
    """The folder to write: report.html, its figures as PNG, its tables as CSV, and report.json."""
    name: str = ""
    """What to call the runs given (default: their preset and what they change of it)."""


def main(arguments: list[str]) -> int:
    """Gather, work out, write; the folder appears whole or not at all."""
    if any(a.partition("/")[0] == "demo" and not Path(a).exists() for a in demo_named(arguments)):
        raise UserError("a demo has no run folder to report on: diffworld evaluate --demo breakout prints its scores")
    options = parse(ReportOptions, "diffworld report", arguments)
    from diffworld.report.contents import gather
    from diffworld.report.write import PAGE, check_place, write_report

    check_place(options.out)
    contents = gather(options.inputs, options.name or None)
    names = write_report(contents, options.out)
    for note in contents.notes:
        print(f"note: {note}")
    print(f"open {options.out / PAGE}   ({len(names) - 1} more files beside it)")
    return 0
