"""The bootstrap interval covers as often as it says, and behaves at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffworld.evaluation.statistics import Interval, clearly_above, mean_interval
from diffworld.runtime.errors import UserError

scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(scores)
def test_bounds_lie_around_the_mean_and_within_the_scores(values: list[float]) -> None:
    interval = mean_interval(values, resamples=200)
    slack = 1e-6 * (1 + max(map(abs, values)))
    assert interval.mean == pytest.approx(math.fsum(values) / len(values), abs=slack)
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack


@given(scores, st.floats(-1e3, 1e3))
def test_a_shift_of_the_scores_shifts_the_interval(values: list[float], shift: float) -> None:
    before, after = (
        mean_interval(values, resamples=100),
        mean_interval([v + shift for v in values], resamples=100),
    )
    for name in ["mean", "low", "high"]:
        assert getattr(after, name) == pytest.approx(getattr(before, name) + shift, abs=1e-6)


def test_equal_scores_and_a_single_one_give_a_point() -> None:
    assert mean_interval([0.1] * 7) == Interval(0.1, 0.1, 0.1)
    assert mean_interval([3.0]) == Interval(3.0, 3.0, 3.0)


def test_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(10, 2, size=400)
    interval = mean_interval(list(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    narrower = mean_interval(list(values), confidence=0.5)
    assert narrower.high - narrower.low == pytest.approx(2 * half * 0.6745 / 1.96, abs=0.02)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        interval = mean_interval(list(generator.exponential(1, size=40)), resamples=500)
        covered += interval.low <= 1 <= interval.high
    assert 0.88 <= covered / 300 <= 0.97


def test_same_scores_same_interval() -> None:
    values = [1.0, 5.0, 2.0, 8.0]
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values, resamples=50) != mean_interval(values, resamples=50, seed=1)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_no_mean_to_give(values: list[float]) -> None:
    with pytest.raises(UserError, match="at least one finite score"):
        mean_interval(values)


def test_clearly_above() -> None:
    low, high = Interval(1, 0, 2), Interval(4, 3, 5)
    assert clearly_above(high, low)
    assert not clearly_above(low, high)
    assert not clearly_above(Interval(3, 2, 3), low)
    assert not clearly_above(high, Interval(2, 0, 10))


def test_reads_well() -> None:
    assert str(Interval(12.3456, 10, 14.5)) == "12.35 (10 to 14.5)"
