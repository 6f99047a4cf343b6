"""Raw scores by method, game and run: the published ones that ship with the package, and other people's."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffworld.evaluation.protocol import ATARI_100K, departures, protocol_from
from diffworld.evaluation.saved import check_scores
from diffworld.runtime.errors import UserError, one_line

REFERENCES = ("Random", "Human")
TAKEN = ("game", *REFERENCES, "Constant")  # columns of the tables that are no method's
FIELDS = ("method", "scores", "source", "protocol")


@dataclass(frozen=True)
class Method:
    """One method's raw scores.

    scores: game -> one score a run (some authors give only a mean: one number).
    origin: "published" (ships with the package), "file" (someone's JSON) or "run" (run folders).
    departures: what sets its scores apart from the benchmark's rules, in words.
    """

    name: str
    scores: Mapping[str, tuple[float, ...]]
    source: str
    origin: str = "published"
    departures: tuple[str, ...] = ()

    @property
    def own(self) -> bool:
        """Whether the user brought it."""
        return self.origin != "published"

    def mean(self, game: str) -> float | None:
        """Mean over its runs of a game; None without any."""
        return fmean(self.scores[game]) if self.scores.get(game) else None

    def runs(self) -> tuple[int, int]:
        """Fewest and most runs a game."""
        counts = [len(scores) for scores in self.scores.values()]
        return min(counts), max(counts)


@dataclass(frozen=True)
class Benchmark:
    """Atari 100k: its games, random and human play, published methods, and methods of which only aggregates are."""

    games: tuple[str, ...]
    random: Mapping[str, float]
    human: Mapping[str, float]
    methods: tuple[Method, ...]
    aggregates: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]

    def taken(self) -> set[str]:
        """Names that no other method may have."""
        return {*TAKEN, *self.aggregates, *(method.name for method in self.methods)}

    def missing(self, method: Method) -> list[str]:
        """Games without a score of the method."""
        return [game for game in self.games if not method.scores.get(game)]

    def normalised(self, game: str, scores: ArrayLike) -> NDArray[np.float64]:
        """Human-normalised scores of a game: (score - random) / (human - random)."""
        random, human = self.random[game], self.human[game]
        return (np.asarray(scores, dtype=np.float64) - random) / (human - random)

    def reference(self, game: str | None) -> tuple[float, float] | None:
        """Raw scores of random and human play, if the game is one of the benchmark's."""
        return (self.random[game], self.human[game]) if game is not None and game in self.human else None


def load_benchmark() -> Benchmark:
    """The scores that ship with the package."""
    data = json.loads(resources.files("diffworld.report").joinpath("data/atari100k_scores.json").read_text("utf-8"))
    table, sources = data["scores"], data["sources"]
    random, human = ({game: scores[0] for game, scores in table[name].items()} for name in REFERENCES)
    methods = tuple(
        Method(name, {game: tuple(table[name][game]) for game in data["games"]}, sources[name])
        for name in table
        if name not in REFERENCES
    )
    return Benchmark(tuple(data["games"]), random, human, methods, data["published_aggregates"], sources)


def read_method(path: Path, benchmark: Benchmark) -> Method:
    """Read somebody's scores from a JSON file.

    {"method": "Name", "scores": {"Alien": [812.5, 901.0], "Pong": 18.3}}, with one raw score for each run, or one
    number where only the mean is known. Optional: "source", where they come from, and "protocol", which names what
    differs from the benchmark's rules, such as {"sticky_actions": 0.25} (fields of `evaluation.protocol.Protocol`).

    Raises: UserError, one line, on anything else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read scores from {path} ({one_line(error)}): see diffworld report --help") from error
    _check_fields(data, path)
    name, scores = data["method"].strip(), data["scores"]
    if name in benchmark.taken():
        raise UserError(f"{path}: the report already has a method '{name}': choose another name")
    protocol = protocol_from(data.get("protocol", {}), f"{path}: protocol")
    apart = tuple(departures(f"atari/{benchmark.games[0]}", protocol)) if protocol != ATARI_100K else ()
    checked = {game: _scores(game, values, benchmark, path) for game, values in scores.items()}
    return Method(name, checked, data.get("source", path.name), "file", apart)


def _check_fields(data: Any, path: Path) -> None:
    """UserError unless the top of a file of scores is as `read_method` says."""
    form = '{"method": "Name", "scores": {"Alien": [812.5, 901.0]}}'
    if not isinstance(data, dict) or not {"method", "scores"} <= data.keys():
        raise UserError(f"{path} is no file of scores: write it as {form}")
    unknown = [key for key in data if key not in FIELDS]
    if unknown:
        raise UserError(f"{path} has an unknown field '{unknown[0]}': choose from {', '.join(FIELDS)}")
    for field, length in (("method", 60), ("source", 200)):
        text = data.get(field, "none")
        if not (isinstance(text, str) and 0 < len(text.strip()) <= length and text.isprintable()):
            raise UserError(f"{path}: {field} should be one line of at most {length} characters")
    if not isinstance(data["scores"], dict) or not data["scores"]:
        raise UserError(f"{path}: scores should map at least one game to its scores, as in {form}")


def _scores(game: str, values: Any, benchmark: Benchmark, path: Path) -> tuple[float, ...]:
    if game not in benchmark.games:
        close = get_close_matches(game, benchmark.games, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"leave it out, or use one of {', '.join(benchmark.games)}"
        raise UserError(f"{path}: '{game}' is no Atari 100k game: {hint}")
    values = values if isinstance(values, list) else [values]
    try:
        check_scores(values)
    except ValueError as error:
        raise UserError(f"{path}: {game}: {error}, one for each run") from None
    return tuple(float(value) for value in values)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if it names something twice, which JSON itself would pass over."""
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"it has '{twice[0]}' twice")
    return dict(pairs)
