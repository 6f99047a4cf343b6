"""Means with the uncertainty that few episodes leave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffworld.runtime.errors import UserError


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval, in the unit of what was averaged."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} ({self.low:.4g} to {self.high:.4g})"


def mean_interval(scores: Sequence[float], confidence: float = 0.95, resamples: int = 10000, seed: int = 0) -> Interval:
    """Return the mean of independent scores with its percentile bootstrap interval (Efron 1979).

    The means of `resamples` samples drawn from the scores with replacement stand for what other episodes
    could have given. With fewer than about ten scores the interval is too narrow; with one it is a point.

    Raises: UserError if there are no scores or one is not finite; ValueError on a confidence not in (0, 1).
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise UserError("a mean needs at least one finite score; play more episodes")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    generator = np.random.default_rng(seed)
    # Counts of how often each score was drawn: far less memory than the samples themselves.
    counts = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    tail = (1 - confidence) / 2
    # Relative to the first score, so that equal scores give exactly themselves.
    first, above = values[0], values - values[0]
    low, high = first + np.quantile(counts @ above / len(values), [tail, 1 - tail])
    return Interval(float(first + above.mean()), float(low), float(high))


def clearly_above(a: Interval, b: Interval) -> bool:
    """Whether all of one interval lies above all of the other: a cautious sign that its mean is higher."""
    return a.low > b.high
