"""The study of docs/sweeps/minatar.toml in numbers and a picture.

    python -m research.minatar runs/sweep-minatar --reference docs/data/ppo_1000000.json \\
        --ppo docs/data/ppo_20000.json --out docs/data/minatar.json \\
        --picture docs/images/minatar.png

Reads every finished run OUT/SETTING/GAME/seed-N. Scores are also given between random play (0) and the reference (1),
and aggregated over games and seeds as Agarwal et al. 2021 (arXiv 2108.13264) do. Prints the tables of docs/results.md.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.measuring import COLOURS, command, dress, new_figure, save_figure, write_compact_json
from diffworld.report.aggregates import Estimate, aggregates, probability_of_improvement
from diffworld.report.runs import Run, read_run
from diffworld.runtime.errors import UserError

PROGRAM = "python -m research.minatar"
PPO = "PPO"
SHOWN = ("iqm", "mean")
BLIND = ("random", "best constant action", "blind mixture")
DREAMS = "dreams"

Scores = dict[str, dict[str, list[float]]]
"""Method -> game -> the score of each seed."""


@dataclass(frozen=True)
class Options:
    """Put the runs of the MinAtar study together."""

    runs: Positional[Path]
    """The campaign's folder."""
    reference: Path
    """Scores that count as 1, of research.ppo."""
    out: Path
    """JSON to write."""
    ppo: Path | None = None
    """Scores of PPO at as many real steps, of research.ppo."""
    picture: Path | None = None
    """PNG to draw."""


def run(options: Options) -> None:
    """Read, aggregate, write, draw, print."""
    found = read_runs(options.runs)
    reference = ppo_scores(options.reference)
    record = study(found, reference, ppo_scores(options.ppo) if options.ppo else {})
    write_compact_json(options.out, record)
    if options.picture is not None:
        draw(record, options.picture)
    print("\n".join(tables(record)))


def read_runs(folder: Path) -> dict[str, list[Run]]:
    """The finished runs of each setting; UserError if there is none."""
    places = sorted(folder.glob("*/*/seed-*/summary.json"))
    if not places:
        raise UserError(f"{folder} has no finished run: diffworld sweep docs/sweeps/minatar.toml trains them")
    found: dict[str, list[Run]] = {}
    for place in places:
        found.setdefault(place.parents[2].name, []).append(read_run(place.parent))
    return found


def ppo_scores(path: Path) -> dict[str, list[float]]:
    """Game -> the score of each seed, from a file of research.ppo."""
    try:
        return {game: list(seeds.values()) for game, seeds in json.loads(path.read_text("utf-8"))["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no file of research.ppo: {error}") from error


def study(
    found: Mapping[str, list[Run]], reference: dict[str, list[float]], ppo: dict[str, list[float]]
) -> dict[str, Any]:
    """All there is to say of the runs, as JSON data."""
    games = sorted({run.env for runs in found.values() for run in runs})
    if missing := [game for game in games if game not in reference]:
        raise UserError(f"the reference has no score of {missing[0]}: python -m research.ppo {missing[0]} --out FILE")
    every = [run for runs in found.values() for run in runs]
    scores: Scores = {name: {game: seeds(runs, game) for game in games} for name, runs in found.items()}
    if ppo:
        scores[PPO] = {game: ppo.get(game, []) for game in games}
    blind = {game: blind_scores([run for run in every if run.env == game]) for game in games}
    scale = {game: (blind[game]["random"], fmean(reference[game])) for game in games}
    whole = {name: of for name, of in scores.items() if all(of.values())}
    normalised = {name: [between(of[game], *scale[game]) for game in games] for name, of in whole.items()}
    return {
        "games": games,
        "scores": scores,
        "blind": blind,
        "reference": {game: reference[game] for game in games},
        "hours": {name: hours(runs) for name, runs in found.items()},
        "real_steps": {name: max(run.test.env_steps for run in runs) for name, runs in found.items()},
        "aggregates": {name: shown(values) for name, values in normalised.items()},
        "improvement": improvement(normalised),
        "runs": [one_run(name, run) for name, runs in found.items() for run in runs],
    }


def shown(normalised: list[NDArray[np.float64]]) -> dict[str, Any]:
    """The aggregates that the study reports."""
    found = aggregates(normalised)
    return {key: asdict(found[key]) for key in SHOWN}


def seeds(runs: list[Run], game: str) -> list[float]:
    return [run.interval.mean for run in sorted(runs, key=lambda run: run.seed) if run.env == game]


def hours(runs: list[Run]) -> float:
    """Mean hours of a run."""
    return round(fmean(run.test.wall_seconds for run in runs) / 3600, 3)


def blind_scores(runs: list[Run]) -> dict[str, float]:
    """What players score who do not look: the best of each over a game's runs, but of random play the mean."""
    blind = [run.test.blind for run in runs if run.test.blind]
    random = [run.random.mean for run in runs if run.random]
    best = (max(each.constant.mean for each in blind), max(each.mixture.mean for each in blind))
    return dict(zip(BLIND, (fmean(random), *best), strict=True))


def between(scores: list[float], random: float, reference: float) -> NDArray[np.float64]:
    """Scores with random play at 0 and the reference at 1."""
    return (np.array(scores) - random) / (reference - random)


def improvement(normalised: Mapping[str, list[NDArray[np.float64]]]) -> dict[str, dict[str, Any]]:
    """How likely a run of the dreams is better than one of each other method, on a game drawn at random."""
    own = normalised.get(DREAMS)
    others = {name: values for name, values in normalised.items() if name != DREAMS}
    return {name: asdict(probability_of_improvement(own, values)) for name, values in others.items()} if own else {}


def one_run(name: str, run: Run) -> dict[str, Any]:
    """A run's score and its learning curve."""
    curve = [
        (m["env_steps"], round(m["wall_seconds"]), m["collect/return"]) for m in run.metrics if "collect/return" in m
    ]
    return {
        "setting": name,
        "game": run.env,
        "seed": run.seed,
        "score": [run.interval.mean, run.interval.low, run.interval.high],
        "hours": round(run.test.wall_seconds / 3600, 3),
        "env_steps": [steps for steps, _, _ in curve],
        "seconds": [seconds for _, seconds, _ in curve],
        "while_collecting": [round(score, 3) for _, _, score in curve],
    }


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: scores by game, each seed; aggregates."""
    games = record["games"]
    yield f"| | {' | '.join(game.split('/')[1] for game in games)} | interquartile mean | better than it |"
    yield "|---" * (3 + len(games)) + "|"
    for name in BLIND:
        yield row(name, [f"{record['blind'][game][name]:.2f}" for game in games])
    for name, of in record["scores"].items():
        cells = [", ".join(f"{score:.2f}" for score in of[game]) for game in games]
        total, chance = record["aggregates"].get(name, {}).get("iqm"), record["improvement"].get(name)
        yield row(name, cells, interval(total), interval(chance))
    yield row("reference", [f"{fmean(record['reference'][game]):.2f}" for game in games], "1")


def row(name: str, cells: list[str], total: str = "", chance: str = "") -> str:
    return "| " + " | ".join([name, *cells, total, chance]) + " |"


def interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    around = "" if estimate["low"] is None else f" ({estimate['low']:.2f} to {estimate['high']:.2f})"
    return f"{estimate['value']:.2f}{around}"


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Learning curves of each game by real steps, and the aggregates."""
    figure = new_figure(14, 6.5)
    games, hues = record["games"], dict(zip(record["scores"], COLOURS, strict=False))
    for axes, game in zip(figure.subplots(2, 3).flat, [*games, None], strict=False):
        if game is None:
            draw_aggregates(axes, record["aggregates"], hues)
            continue
        for one in record["runs"]:
            if one["game"] == game:
                axes.plot(one["env_steps"], one["while_collecting"], color=hues[one["setting"]], alpha=0.4, linewidth=1)
                axes.plot(one["env_steps"][-1], one["score"][0], "o", color=hues[one["setting"]], markersize=5)
        axes.axhline(record["blind"][game]["random"], color="#777777", linestyle=":", linewidth=1)
        axes.axhline(fmean(record["reference"][game]), color="#777777", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        dress(axes, game.split("/")[1].replace("_", " "), "real steps", "score")
    save_figure(figure, path)


def draw_aggregates(axes: Axes, found: Mapping[str, Mapping[str, Any]], hues: Mapping[str, str]) -> None:
    """The interquartile mean of each method with its interval."""
    names = list(found)[::-1]  # the first one on top
    for place, name in enumerate(names):
        total = Estimate(**found[name]["iqm"])
        if total.low is not None and total.high is not None:
            axes.plot([total.low, total.high], [place, place], color=hues[name], linewidth=6, alpha=0.4)
        axes.plot(total.value, place, "o", color=hues[name], markersize=8)
    axes.set_yticks(range(len(names)), names)
    dress(axes, "all games: 0 is random play, 1 the reference", "interquartile mean, 95 % interval", "")


if __name__ == "__main__":
    sys.exit(command(Options, PROGRAM, run))
