"""Aggregates over games, with stratified-bootstrap intervals, as Agarwal et al. 2021 (arXiv 2108.13264) define them.

Scores are human-normalised, a list with one array (runs,) for each game. A resampled list has arrays
(resamples, runs): within each game its runs are drawn with replacement, games are never exchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Games = Sequence[Floats]

STATISTICS = {
    "iqm": "interquartile mean",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap",
    "above_human": "games at or above human",
}
"""What the aggregates are called where people read them, in the order of their columns."""
RESAMPLES = 2000
_TIE = 1e-9  # a mean equal to the human's counts as reached, whatever the rounding


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where there is none, as with one run a game."""

    value: float
    low: float | None = None
    high: float | None = None


def aggregates(games: Games, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """Every one of `STATISTICS`, each with its interval where each game has several runs."""
    points = statistics([scores[None] for scores in games])
    if not several_runs(games):
        return {name: Estimate(float(values[0])) for name, values in points.items()}
    resampled = statistics(resample(games, resamples, np.random.default_rng(seed)))
    return {name: _estimate(float(values[0]), resampled[name]) for name, values in points.items()}


def statistics(samples: Sequence[Floats]) -> dict[str, Floats]:
    """The statistics of each resample, (R,) each, from one array (R, runs) a game.

    mean, median: over games, of a game's mean over runs.
    iqm: interquartile mean, of all runs of all games pooled, a quarter (rounded down) cut off either end.
    optimality_gap: how far scores fall short of human play (1), those above it counted as 1; mean over games.
    above_human: games whose mean over runs is at least human play's.
    """
    means = np.stack([scores.mean(axis=1) for scores in samples], axis=1)  # (R, games)
    pooled = np.sort(np.concatenate(samples, axis=1), axis=1)
    cut = pooled.shape[1] // 4
    gaps = [1 - np.minimum(scores, 1).mean(axis=1) for scores in samples]
    return {
        "mean": means.mean(axis=1),
        "median": np.median(means, axis=1),
        "iqm": pooled[:, cut : pooled.shape[1] - cut].mean(axis=1),
        "optimality_gap": np.mean(gaps, axis=0),
        "above_human": (means >= 1 - _TIE).sum(axis=1).astype(np.float64),
    }


def resample(games: Games, resamples: int, generator: np.random.Generator) -> list[Floats]:
    """Draw the runs of each game with replacement: one array (resamples, runs) a game."""
    return [scores[generator.integers(len(scores), size=(resamples, len(scores)))] for scores in games]


def several_runs(games: Games) -> bool:
    """Whether each game has more than one run; without, a bootstrap would show no uncertainty where there is some."""
    return all(len(scores) > 1 for scores in games)


@dataclass(frozen=True)
class Profile:
    """Share of all runs of all games whose score is above each `tau`; arrays (T,), bounds None with one run a game."""

    tau: Floats
    share: Floats
    low: Floats | None
    high: Floats | None


def performance_profile(games: Games, tau: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Profile:
    """The score distribution's tail (Agarwal et al. 2021, section 4.3), with pointwise 95 % bands."""
    share = (np.concatenate(games)[:, None] > tau).mean(axis=0)
    if not several_runs(games):
        return Profile(tau, share, None, None)
    generator = np.random.default_rng(seed)
    above = np.zeros((resamples, len(tau)))  # runs above each tau, game by game: how often each run was drawn
    for scores in games:
        above += _draw_counts(len(scores), resamples, generator) @ (scores[:, None] > tau)
    low, high = np.quantile(above / sum(len(scores) for scores in games), [0.025, 0.975], axis=0)
    return Profile(tau, share, low, high)


def probability_of_improvement(x: Games, y: Games, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """How likely a run of X beats one of Y on a game drawn at random: mean over games of P(X > Y) + P(X = Y) / 2.

    All pairs of runs count (the Mann-Whitney statistic). Both lists are of the same games. The interval resamples
    the runs of both.
    """
    generator = np.random.default_rng(seed)
    point, resampled = 0.0, np.zeros(resamples)
    for own, other in zip(x, y, strict=True):
        wins = (own[:, None] > other) + 0.5 * (own[:, None] == other)  # (runs of X, runs of Y)
        point += wins.mean() / len(x)
        drawn_x, drawn_y = (_draw_counts(len(scores), resamples, generator) for scores in (own, other))
        resampled += ((drawn_x @ wins) * drawn_y).sum(axis=1) / wins.size / len(x)
    return _estimate(point, resampled) if several_runs(x) and several_runs(y) else Estimate(point)


def _draw_counts(runs: int, resamples: int, generator: np.random.Generator) -> Floats:
    """How often each run was drawn, (resamples, runs)."""
    drawn = generator.integers(runs, size=(resamples, runs)) + runs * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * runs).reshape(resamples, runs).astype(np.float64)


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
