"""Everything a report says, as numbers: who is compared with whom, on what, and what had to be left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
)
from diffworld.report.runs import Run, named, read_run
from diffworld.report.scores import Benchmark, Method, load_benchmark, read_method
from diffworld.runtime.errors import UserError

TAU = np.linspace(0, 4, 161)
REFERENCE_METHOD = "DIAMOND"  # whom others are compared with where the user brings no complete method

Aggregates = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Contents:
    """What a report is made of, and what follows from that.

    methods: played under the benchmark's rules, the user's first; they may lack games.
    apart: the user's methods under other rules, from files. runs: the user's run folders, under any rules.
    """

    benchmark: Benchmark
    methods: tuple[Method, ...]
    apart: tuple[Method, ...]
    runs: tuple[Run, ...]
    resamples: int = RESAMPLES

    @property
    def own(self) -> list[Method]:
        """The user's comparable methods."""
        return [method for method in self.methods if method.own]

    @property
    def own_names(self) -> set[str]:
        """Their names."""
        return {method.name for method in self.own}

    @property
    def constants(self) -> dict[str, float]:
        """What the best constant action scored in each of the benchmark's games, where a comparable run measured it."""
        measured = [run for run in self.runs if run.comparable and run.test.blind]
        return {run.game: run.test.blind.constant.mean for run in measured if run.test.blind}

    def ranked(self) -> list[str]:
        """Methods that lack no game, best interquartile mean first."""
        return sorted(self.aggregates, key=lambda name: -self.aggregates[name]["iqm"].value)

    @cached_property
    def complete(self) -> Mapping[str, Games]:
        """Human-normalised scores of the methods that lack no game."""
        return self._able(self.benchmark.games)

    def _able(self, games: Sequence[str]) -> dict[str, Games]:
        able = (method for method in self.methods if all(method.scores.get(game) for game in games))
        return {
            method.name: [self.benchmark.normalised(game, method.scores[game]) for game in games] for method in able
        }

    @cached_property
    def aggregates(self) -> Aggregates:
        """By method, of those that lack no game."""
        return {name: aggregates(scores, self.resamples) for name, scores in self.complete.items()}

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """By method, of those that lack no game."""
        return {name: performance_profile(games, TAU, self.resamples) for name, games in self.complete.items()}

    @cached_property
    def improvement(self) -> dict[tuple[str, str], Estimate]:
        """(X, Y) -> how likely X beats Y."""
        subjects = [name for name in self.complete if name in self.own_names] or [REFERENCE_METHOD]
        pairs = [(x, y) for x in subjects for y in self.complete if x != y]
        return {
            (x, y): probability_of_improvement(self.complete[x], self.complete[y], self.resamples) for x, y in pairs
        }

    @cached_property
    def subsets(self) -> dict[str, Aggregates]:
        """For each of the user's methods that lack games but have two or more: everyone on the games it has."""
        found: dict[str, Aggregates] = {}
        for own in self.own:
            games = [game for game in self.benchmark.games if own.scores.get(game)]
            if 1 < len(games) < len(self.benchmark.games):
                able = self._able(games)
                found[own.name] = {name: aggregates(scores, self.resamples) for name, scores in able.items()}
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know first, in sentences."""
        remarks: dict[str, list[str]] = {}
        for run in self.runs:
            for remark in run.remarks:
                remarks.setdefault(remark, []).append(f"{run.path.name} ({run.game})")
        count = sum(not run.comparable for run in self.runs) + len(self.apart)
        apart = (
            f"{count} of your results {'was' if count == 1 else 'were'} made under other rules than the benchmark's. "
            "They are in a table of their own and in no comparison with published scores."
        )
        return (
            *(note for method in self.own for note in _notes(method, self.benchmark)),
            *([apart] if count else []),
            *(f"{remark[0].upper()}{remark[1:]}: {', '.join(names)}." for remark, names in remarks.items()),
        )


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
    return Contents(benchmark, (*own, *benchmark.methods), tuple(apart), tuple(runs), resamples)


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


def _notes(method: Method, benchmark: Benchmark) -> Iterator[str]:
    """What a reader must know of a user's method."""
    missing, (fewest, most) = benchmark.missing(method), method.runs()
    if missing:
        yield (
            f"{method.name} has {len(benchmark.games) - len(missing)} of the {len(benchmark.games)} games, so it "
            f"has no aggregates over all games. Missing: {', '.join(missing)}."
        )
    if fewest < 2:
        yield (
            f"{method.name} has only one run on some games, so its aggregates have no intervals: they would not "
            "show how much another training seed changes."
        )
    if fewest < most:
        yield (
            f"{method.name} has from {fewest} to {most} runs a game; in its interquartile "
            "mean and performance profile, which pool runs, games with more runs count for more."
        )
