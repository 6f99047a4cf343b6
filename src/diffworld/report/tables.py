"""The report's tables as plain rows: each becomes a CSV file and a list in `report.json`."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from diffworld.report.aggregates import Estimate
from diffworld.report.contents import Contents

Row = Mapping[str, Any]


def per_game(contents: Contents) -> list[Row]:
    """A row a game: raw scores, the mean over a method's runs."""
    random, human, constants = contents.benchmark.random, contents.benchmark.human, contents.constants
    return [
        {"game": game, "Random": random[game], "Human": human[game], "Constant": constants.get(game)}
        | {method.name: method.mean(game) for method in contents.methods}
        for game in contents.benchmark.games
    ]


def scores(contents: Contents) -> list[Row]:
    """A row a run of a method on a game, raw and human-normalised; methods under other rules without the latter."""
    normalised = contents.benchmark.normalised
    return [
        {"method": method.name, "game": game, "run": i, "score": score}
        | {"human_normalised": None if method.departures else float(normalised(game, score))}
        for method in [*contents.methods, *contents.apart]
        for game, values in method.scores.items()
        for i, score in enumerate(values)
    ]


def aggregates(contents: Contents) -> list[Row]:
    """A row an aggregate of a method: over all games, over the games a user's method has, or as published."""
    everywhere = f"all {len(contents.benchmark.games)}"
    groups = [(everywhere, contents.aggregates), *((f"those {k} has", v) for k, v in contents.subsets.items())]
    computed = [
        (games, method, name, estimate, "raw scores")
        for games, found in groups
        for method, estimates in found.items()
        for name, estimate in estimates.items()
    ]
    published = [
        (everywhere, method, name, Estimate(value), f"published aggregate, {found['source']}")
        for method, found in contents.benchmark.aggregates.items()
        for name, value in found.items()
        if name not in ("source", "runs")
    ]
    return [
        {"games": games, "method": method, "statistic": name, **asdict(estimate), "source": source}
        for games, method, name, estimate, source in computed + published
    ]


def profiles(contents: Contents) -> list[Row]:
    """A row a point of a performance profile."""
    return [
        {
            "method": method,
            "above": round(float(tau), 6),
            "share": float(profile.share[i]),
            "low": None if profile.low is None else float(profile.low[i]),
            "high": None if profile.high is None else float(profile.high[i]),
        }
        for method, profile in contents.profiles.items()
        for i, tau in enumerate(profile.tau)
    ]


def improvement(contents: Contents) -> list[Row]:
    """A row a pair: how likely a run of X beats one of Y."""
    return [{"x": x, "y": y, **asdict(estimate)} for (x, y), estimate in contents.improvement.items()]


def runs(contents: Contents) -> list[Row]:
    """A row a run folder."""
    return [
        {
            "run": str(run.path),
            "method": run.method,
            "preset": run.preset,
            "changes": "; ".join(run.changes),
            "game": run.game,
            "seed": run.seed,
            "score": run.interval.mean,
            "low": run.interval.low,
            "high": run.interval.high,
            "random": run.random.mean if run.random else None,
            "constant": run.test.blind.constant.mean if run.test.blind else None,
            "constant_action": run.test.blind.action if run.test.blind else None,
            "blind": run.test.blind.mixture.mean if run.test.blind else None,
            "test_games": len(run.test.scores),
            "env_steps": run.test.env_steps,
            "wall_seconds": run.test.wall_seconds,
            "from": run.test.origin,
            "comparable": run.comparable,
            "departures": "; ".join(run.departures),
            "remarks": "; ".join(run.remarks),
        }
        for run in contents.runs
    ]


def curves(contents: Contents) -> list[Row]:
    """A row an epoch of a run: what its learning curves are drawn from."""
    names = ("epoch", "env_steps", "wall_seconds", "collect/return", "eval/return_mean")
    return [
        {"run": str(run.path), **{name: entry.get(name) for name in names}}
        for run in contents.runs
        for entry in run.metrics
    ]


def tables(contents: Contents) -> dict[str, list[Row]]:
    """Every table by name."""
    all_of_them = (per_game, scores, aggregates, profiles, improvement, runs, curves)
    return {rows.__name__: rows(contents) for rows in all_of_them}


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV text with a header; empty text without rows."""
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
