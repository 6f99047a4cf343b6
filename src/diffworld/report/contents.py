"""Everything a report says, as numbers: who is compared with whom, on what, and what had to be left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffworld.report.aggregates import (
    RESAMPLES,
    Estimate,
    Games,
    Profile,
    aggregates,
    performance_profile,
    probability_of_improvement,
    several_runs,
)
from diffworld.report.runs import Run, named, read_run
from diffworld.report.scores import Benchmark, Method, load_benchmark, read_method
from diffworld.runtime.errors import UserError

TAU = np.linspace(0, 4, 161)
REFERENCE_METHOD = "DIAMOND"  # whom others are compared with where the user brings no complete method

Aggregates = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Contents:
    """What a report is made of.

    methods: played under the benchmark's rules, the user's first; they may lack games.
    apart: the user's methods under other rules, from files. runs: the user's run folders, under any rules.
    aggregates, profiles: by method, of those that lack no game. subsets: by a user's method that lacks games, the
    aggregates of all methods on just the games it has.
    improvement: (X, Y) -> how likely X beats Y. notes: what a reader must know first, in sentences.
    """

    benchmark: Benchmark
    methods: tuple[Method, ...]
    apart: tuple[Method, ...]
    runs: tuple[Run, ...]
    aggregates: Aggregates
    profiles: Mapping[str, Profile]
    improvement: Mapping[tuple[str, str], Estimate]
    subsets: Mapping[str, Aggregates] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> list[Method]:
        """The user's comparable methods."""
        return [method for method in self.methods if method.own]

    def ranked(self) -> list[str]:
        """Methods that lack no game, best interquartile mean first."""
        return sorted(self.aggregates, key=lambda name: -self.aggregates[name]["iqm"].value)


def gather(paths: Sequence[Path], name: str | Mapping[Path, str] | None = None, resamples: int = RESAMPLES) -> Contents:
    """Read run folders and files of scores, and work out everything; UserError for what cannot be used.

    name: what the runs' method is called, for all of them or by path; without, as their configurations say.
    """
    benchmark = load_benchmark()
    if isinstance(name, str) and (not name.strip() or not name.isprintable() or name in benchmark.taken()):
        raise UserError(f"--name {name!r} is blank or the name of a method in the report: choose another")
    folders = _distinct([path for path in paths if not path.is_file()])
    files = _distinct([path for path in paths if path.is_file()])
    runs = named([read_run(path) for path in folders], name)
    brought = [*methods_of(runs), *(read_method(path, benchmark) for path in files)]
    for i, method in enumerate(brought):
        if method.name in {other.name for other in brought[:i]}:
            raise UserError(f"two of the inputs are called '{method.name}': rename one (in its file, or with --name)")
    own = [method for method in brought if not method.departures]
    apart = [method for method in brought if method.departures]
    return _work_out(benchmark, [*own, *benchmark.methods], apart, runs, resamples)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Paths in order, those that are the same place only once."""
    return list({path.resolve(): path for path in paths}.values())


def methods_of(runs: Sequence[Run]) -> list[Method]:
    """The comparable runs as methods: one score for each run, the mean over its test games."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run.comparable:
            found.setdefault(run.method, {}).setdefault(run.game, []).append(run.interval.mean)
    return [
        Method(name, {game: tuple(scores) for game, scores in games.items()}, "run folders given", "run")
        for name, games in found.items()
    ]


def _work_out(
    benchmark: Benchmark, methods: Sequence[Method], apart: Sequence[Method], runs: Sequence[Run], resamples: int
) -> Contents:
    complete = {m.name: _normalised(benchmark, m, benchmark.games) for m in methods if not benchmark.missing(m)}
    subjects = [m.name for m in methods if m.own and m.name in complete] or [REFERENCE_METHOD]
    return Contents(
        benchmark=benchmark,
        methods=tuple(methods),
        apart=tuple(apart),
        runs=tuple(runs),
        aggregates={name: aggregates(games, resamples) for name, games in complete.items()},
        profiles={name: performance_profile(games, TAU, resamples) for name, games in complete.items()},
        improvement={
            (x, y): probability_of_improvement(complete[x], complete[y], resamples)
            for x in subjects
            for y in complete
            if x != y
        },
        subsets=_subsets(benchmark, methods, resamples),
        notes=tuple(_notes(benchmark, methods, apart, runs)),
    )


def _normalised(benchmark: Benchmark, method: Method, games: Sequence[str]) -> Games:
    return [benchmark.normalised(method, game) for game in games]


def _subsets(benchmark: Benchmark, methods: Sequence[Method], resamples: int) -> dict[str, Aggregates]:
    """For each of the user's methods that lack games but have two or more: everyone on the games it has."""
    found: dict[str, Aggregates] = {}
    for own in methods:
        games = [game for game in benchmark.games if own.scores.get(game)]
        if own.own and 1 < len(games) < len(benchmark.games):
            able = [m for m in methods if all(m.scores.get(game) for game in games)]
            found[own.name] = {m.name: aggregates(_normalised(benchmark, m, games), resamples) for m in able}
    return found


def _notes(benchmark: Benchmark, methods: Sequence[Method], apart: Sequence[Method], runs: Sequence[Run]) -> list[str]:
    notes = []
    for method in (m for m in methods if m.own):
        missing = benchmark.missing(method)
        if missing:
            notes.append(
                f"{method.name} has {len(benchmark.games) - len(missing)} of the {len(benchmark.games)} games, so it "
                f"has no aggregates over all games. Missing: {', '.join(missing)}."
            )
        if not several_runs([np.asarray(scores) for scores in method.scores.values()]):
            notes.append(
                f"{method.name} has only one run on some games, so its aggregates have no intervals: they would not "
                "show how much another training seed changes."
            )
        if len(set(method.runs())) > 1:
            notes.append(
                f"{method.name} has from {method.runs()[0]} to {method.runs()[1]} runs a game; in its interquartile "
                "mean and performance profile, which pool runs, games with more runs count for more."
            )
    others = [run for run in runs if not run.comparable]
    if others or apart:
        count = len(others) + len(apart)
        notes.append(
            f"{count} of your results {'was' if count == 1 else 'were'} made under other rules than the benchmark's. "
            "They are in a table of their own and in no comparison with published scores."
        )
    remarks: dict[str, list[str]] = {}
    for run in runs:
        for remark in run.remarks:
            remarks.setdefault(remark, []).append(f"{run.path.name} ({run.game})")
    return notes + [f"{remark[0].upper()}{remark[1:]}: {', '.join(names)}." for remark, names in remarks.items()]
