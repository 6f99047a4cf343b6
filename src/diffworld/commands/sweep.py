"""`diffworld sweep`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import parse_checked
from diffworld.commands.train import resolve
from diffworld.config import Config
from diffworld.report.contents import gather
from diffworld.report.runs import Run, last_test
from diffworld.report.scores import load_benchmark
from diffworld.report.write import PAGE, check_place, write_report
from diffworld.runs.folder import RunFolder
from diffworld.runtime.checked import Count
from diffworld.runtime.errors import UserError
from diffworld.runtime.progress import Display
from diffworld.sweep.campaign import Campaign, Configs, ThisMachine, epochs, last_line
from diffworld.sweep.nodes import Nodes
from diffworld.sweep.plan import REPORT, PlannedRun, Sweep, naming, read_sweep
from diffworld.training.interrupt import Interrupted
from diffworld.training.run import check_new_run

STATES = ("finished", "running", "unfinished")
"""Of runs, that are counted; the rest has not begun."""
PLAYERS = ("random", "best constant action", "blind mixture")
"""Columns of the table of all runs, beside the agent's."""


@dataclass(frozen=True)
class SweepOptions:
    """Train games x seeds x settings, and write the report over all of it. The same command goes on where it stopped.

    An example of a sweep file:

        out = "runs/ablation"      # the campaign's folder, relative to where the command is run
        preset = "demo"            # what every setting starts from (default: demo)
        games = ["atari/Freeway", "atari/Boxing"]
        seeds = [0, 1, 2]

        [options]                  # for every run: options of diffworld train, without the dashes
        collection.total-steps = 7200

        [settings.baseline]        # each table is a method in the report, called like the table
        [settings.three-steps]
        sampler.denoising-steps = 3

    Without settings there is one, called like the preset. Everything is checked before the first run begins. The
    runs go seed by seed, so that each setting soon has a result on each game. Each is a `diffworld train` of its own
    in OUT/SETTING/GAME/seed-N, with what it prints in seed-N.log beside it. Finished runs are kept, unfinished ones go
    on, failed ones stop no other and are tried again with the next call. More games, seeds and settings may be added
    later. Ctrl-C lets the runs save. At the end: a table of all runs, and the report in OUT/report.

    With --ray the runs go to the nodes of a Ray cluster that share the disk (docs/cluster.md). What each takes there:

        [resources]                # of every run; [settings.NAME.resources] of a setting's
        gpus = 0.25                # a GPU or a part (default: a whole one, if the cluster has any)
        cpus = 2                   # default: 1
        memory = "8 GiB"           # default: not counted
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The sweep file (TOML)."""
    jobs: Count | None = None
    """Runs side by side on this machine, which share the processor's cores (default: 1)."""
    ray: str | None = None
    """Train on a Ray cluster: the address HOST:PORT of its head node, auto for the one that this machine belongs to,
    or local for one of this machine alone."""
    dry_run: bool = False
    """Check everything (of a cluster nothing), list the runs with their state and their commands, and train nothing."""


def main(arguments: list[str]) -> int:
    """Train what is left, then report; 1 if a run failed, 130 on Ctrl-C."""
    options = parse_checked(SweepOptions, "diffworld sweep", arguments)

    if options.ray is not None and options.jobs is not None:
        raise UserError("--jobs is for this machine alone: on a cluster as many runs go side by side as have room")
    sweep = read_sweep(options.file)
    configs = checked(options.file, sweep, elsewhere=options.ray is not None)
    check_place(sweep.out / REPORT)
    if options.dry_run:
        _print_plan(sweep, configs)
        return 0
    display = Display()
    place = ThisMachine(options.jobs or 1) if options.ray is None else Nodes(options.ray, display)
    campaign = Campaign(sweep.out, configs, place, display)
    try:
        campaign.train()
    except Interrupted:
        finished = f"{sum(run.finished for run in configs)} of {len(configs)} runs are finished"
        print(f"stopped; {finished}, and the same command goes on from here", file=sys.stderr)
        return 130
    _conclude(sweep.out, list(configs), campaign.failures)
    return 1 if campaign.failures else 0


def checked(file: Path, sweep: Sweep, elsewhere: bool = False) -> dict[PlannedRun, Config]:
    """Every run's configuration; UserError for one that could not begin, or not go on in the folder it has.

    Where runs are trained `elsewhere`, this machine's devices and memory do not count.
    """

    bases: dict[str, Config] = {}
    for name, arguments in sweep.settings.items():
        with naming(f"{file}, setting '{name}'"):
            if name in load_benchmark().taken():
                raise UserError("that is the name of a method in the report: choose another")
            config = resolve(list(arguments)).config
            config.check()
            if twin := next((other for other in bases if bases[other] == config), None):
                raise UserError(f"it comes to the same configuration as '{twin}': leave one of them out")
            bases[name] = config
    found: dict[PlannedRun, Config] = {}
    seen: set[tuple[str, str]] = set()
    for run in sweep.runs():
        found[run] = replace(bases[run.setting], env=run.game, seed=run.seed)
        with naming(f"{file}, {run.name}"):
            if not RunFolder(run.folder).holds(found[run]) and (run.setting, run.game) not in seen:
                check_new_run(found[run], elsewhere)  # of its seed nothing depends
                seen.add((run.setting, run.game))
    return found


def _print_plan(sweep: Sweep, configs: Configs) -> None:
    states = {run: run.state for run in configs}
    kinds = [kind for kind in STATES if kind != "running" or kind in states.values()]
    counts = ", ".join(f"{list(states.values()).count(kind)} {kind}" for kind in kinds)
    print(f"{len(states)} run{'s' * (len(states) > 1)} in {sweep.out}, seed by seed: {counts}")
    for run, state in states.items():
        far, total = epochs(run, configs[run].total_epochs), configs[run].total_epochs
        where = f" by {RunFolder(run.folder).claimed_by}" if state == "running" else ""
        said = last_line(run.log) if state == "unfinished" else ""
        done = f", {far} of {total} epochs" if state in ("running", "unfinished") else ""
        print(f"{state}: {run.name}{done}{where}{said and f'; last said: {said}'}")
        print(f"    {shlex.join(['diffworld', 'train', *run.options])}")


def _conclude(out: Path, runs: Sequence[PlannedRun], failures: Mapping[PlannedRun, str]) -> None:
    """Print the table of all runs, and write the report over the finished ones."""

    settings = {run.folder: run.setting for run in runs if run.finished and last_test(RunFolder(run.folder))}
    contents = gather(list(settings), settings) if settings else None
    scores = {run.path: _cells(run) for run in contents.runs} if contents else {}
    rows: list[tuple[str, ...]] = [("setting", "game", "seed", *PLAYERS, "agent (mean and 95 % interval over games)")]
    for run in runs:
        none = f"failed, {failures[run]}" if run in failures else "no agent"
        results = scores.get(run.folder) or (*[""] * len(PLAYERS), none)
        rows.append((run.setting, run.game, str(run.seed), *results))
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    print()
    for *cells, last in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))
    print()
    if contents is None:
        advice = ": see the logs, then give the same command again" if failures else ""
        print(f"no agent was tested, so there is no report{advice}")
        return
    write_report(contents, out / REPORT)
    print(f"open {out / REPORT / PAGE}")


def _cells(run: Run) -> tuple[str, ...]:
    """A run's scores, in the columns of `PLAYERS` and the agent's."""
    blind = run.test.blind
    constant = f"{blind.constant} always {blind.action}" if blind else "-"
    return str(run.random or "-"), constant, str(blind.mixture if blind else "-"), str(run.interval)
