"""What was pressed and moved, as a log tells it, and what of it falls into each step of a game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROUNDING = 1e-3
"""Seconds: clocks are written in milliseconds, so what is logged so shortly before a frame belongs to that frame."""
STEADY = 0.8
"""Share of lines or frames that follow at one pace where things are regular."""
GAP_TICKS, GAP_SECONDS = 5, 0.5
"""Longer than both, the time between two ticks is a hole in the log."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Rewards and ends of T ticks or steps, each None where it is not known."""

    rewards: Floats | None = None
    terminated: Bools | None = None
    truncated: Bools | None = None


@dataclass(frozen=True, eq=False)
class Steps:
    """What was done in each of T steps, by name; `known` is false where the log does not say.

    buttons: whether a key was down at any time. movements: sums. axes: means of positions. choices: one of `labels`,
    by number.
    """

    known: Bools
    buttons: Mapping[str, Bools] = field(default_factory=dict)
    movements: Mapping[str, Floats] = field(default_factory=dict)
    axes: Mapping[str, Floats] = field(default_factory=dict)
    choices: Mapping[str, Ints] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repaired: int = 0  # numbers that the log gave as no number at all

    def __len__(self) -> int:
        return len(self.known)

    def take(self, rows: NDArray[Any]) -> Steps:
        """Those steps alone."""
        return replace(
            self,
            known=self.known[rows],
            buttons={name: down[rows] for name, down in self.buttons.items()},
            movements={name: sums[rows] for name, sums in self.movements.items()},
            axes={name: means[rows] for name, means in self.axes.items()},
            choices={name: numbers[rows] for name, numbers in self.choices.items()},
        )


def pace(times: Floats) -> tuple[float, bool]:
    """How many of these times (n, at least 2) there are a second, and whether most follow at one pace.

    If so, that pace, whatever is missing in between; else the average.
    """
    lasting = np.diff(times)
    usual = np.abs(lasting - np.median(lasting)) <= np.median(lasting) / 2
    steady = bool(usual.mean() >= STEADY)
    return 1 / float((lasting[usual] if steady else lasting).mean() or np.inf), steady


class Controls(Protocol):
    """A log of what was pressed, moved and chosen."""

    def between(self, edges: Floats) -> Steps:
        """What falls into each of T steps, the step k from `edges[k]` up to `edges[k + 1]`, edges (T + 1,)."""

    def outcomes(self, edges: Floats) -> Outcomes:
        """Rewards and ends in each step."""

    def beyond(self, end: float) -> int:
        """How many lines were logged from then on."""


@dataclass(frozen=True, eq=False)
class Ticks:
    """A log with a line a tick. Tick i lasts from `times[i]` to the next; the last one as long as most do.

    A tick belongs to the step that it begins in. A step in which none begins goes on with the state of the last one.
    The numbers of `movements` and `axes` may be missing (nan): no movement, and the position before.
    """

    times: Floats  # (N,), increasing
    buttons: Mapping[str, Bools] = field(default_factory=dict)
    movements: Mapping[str, Floats] = field(default_factory=dict)
    axes: Mapping[str, Floats] = field(default_factory=dict)
    choices: Mapping[str, Ints] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: Outcomes = Outcomes()
    rounding: float = ROUNDING

    @property
    def tick(self) -> float:
        """How long most ticks last."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1.0

    @property
    def steady(self) -> bool:
        """Whether a line was written every so often, and not only when something changed."""
        return len(self.times) < 2 or pace(self.times)[1]

    def between(self, edges: Floats) -> Steps:
        """See `Controls`."""
        first, after = self._inside(edges)
        some = after > first
        at = np.where(some, first, np.maximum(first - 1, 0))  # a tick of the step, or the last one before it
        movements, axes, repaired = {}, {}, 0
        for name, values in self.movements.items():
            movements[name] = np.where(some, _sums(np.nan_to_num(values, nan=0, posinf=0, neginf=0), first, after), 0.0)
            repaired += int((~np.isfinite(values)).sum())
        for name, values in self.axes.items():
            filled = _filled(values)
            axes[name] = np.where(some, _sums(filled, first, after) / np.maximum(after - first, 1), filled[at])
            repaired += int((~np.isfinite(values)).sum())
        return Steps(
            known=self._covered(edges) & ((after > 0) if len(self.times) else np.zeros(len(first), np.bool_)),
            buttons={n: np.where(some, _sums(v, first, after) > 0, v[at]) for n, v in self.buttons.items()},
            movements=movements,
            axes=axes,
            choices={name: _commonest(values, first, after, at) for name, values in self.choices.items()},
            labels=self.labels,
            repaired=repaired,
        )

    def outcomes(self, edges: Floats) -> Outcomes:
        """See `Controls`."""
        first, after = self._inside(edges)

        def any_(values: Bools | None) -> Bools | None:
            return None if values is None else _sums(values, first, after) > 0

        told = self.told
        rewards = None if told.rewards is None else _sums(np.nan_to_num(told.rewards), first, after)
        return Outcomes(rewards, any_(told.terminated), any_(told.truncated))

    def beyond(self, end: float) -> int:
        """See `Controls`."""
        return int((self.times >= end - self.rounding).sum())

    def _inside(self, edges: Floats) -> tuple[Ints, Ints]:
        """The first tick that begins in each step, and the first one after it."""
        places = np.searchsorted(self.times, edges - self.rounding, "left")
        return places[:-1], places[1:]

    def _covered(self, edges: Floats) -> Bools:
        """Whether the log was being written during the whole of each step."""
        if not self.steady:
            return edges[:-1] >= self.times[0] - self.rounding
        tick, slack = self.tick, self.rounding
        holes = np.flatnonzero(np.diff(self.times) > max(GAP_TICKS * tick, GAP_SECONDS))
        begins = np.concatenate([self.times[:1], self.times[holes + 1]])
        ends = np.concatenate([self.times[holes] + tick, self.times[-1:] + tick])
        stretch = np.searchsorted(begins, edges[:-1] + slack, "right") - 1
        return (stretch >= 0) & (edges[1:] <= ends[np.maximum(stretch, 0)] + slack)


@dataclass(frozen=True, eq=False)
class Events:
    """A log of changes: a key is down from a `presses` time up to the `releases` time of the same place.

    A press counts in every step it touches, however short. `moves` are (times, amounts) of each axis. Before the
    first event nothing is down, unless that event is a release.
    """

    presses: Mapping[str, Floats]
    releases: Mapping[str, Floats]
    moves: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)

    def between(self, edges: Floats) -> Steps:
        """See `Controls`."""
        begin, end = edges[:-1] - ROUNDING, edges[1:] - ROUNDING
        movements, repaired = {}, 0
        for name, (times, amounts) in self.moves.items():
            first, after = np.searchsorted(times, begin, "left"), np.searchsorted(times, end, "left")
            movements[name] = _sums(np.nan_to_num(amounts, nan=0, posinf=0, neginf=0), first, after)
            repaired += int((~np.isfinite(amounts)).sum())
        buttons = {}
        for name, presses in self.presses.items():
            before, by_end = np.searchsorted(presses, begin, "left"), np.searchsorted(presses, end, "left")
            released = np.searchsorted(self.releases[name], edges[:-1] + ROUNDING, "right")
            buttons[name] = (by_end > released) | (by_end > before)
        return Steps(np.ones(len(begin), np.bool_), buttons, movements, repaired=repaired)

    def outcomes(self, edges: Floats) -> Outcomes:
        """None are known."""
        return Outcomes()

    def beyond(self, end: float) -> int:
        """See `Controls`."""
        times = [*self.presses.values(), *self.releases.values(), *(times for times, _ in self.moves.values())]
        return sum(int((np.isfinite(each) & (each >= end)).sum()) for each in times)


def _sums(values: NDArray[Any], first: Ints, after: Ints) -> Floats:
    """The sum over each range of places."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[after] - total[first]


def _filled(values: Floats) -> Floats:
    """Without gaps: what is no number is the last number before it, or the first one there is."""
    good = np.isfinite(values)
    if good.all():
        return values
    if not good.any():
        return np.zeros_like(values)
    last = np.maximum.accumulate(np.where(good, np.arange(len(values)), -1))
    return values[np.where(last < 0, int(np.argmax(good)), last)]


def _commonest(values: Ints, first: Ints, after: Ints, at: Ints) -> Ints:
    """The value that lasts longest in each step, of equals the earliest; `at` where no tick begins."""
    found = values[at]
    for step in np.flatnonzero(after - first > 1):
        inside = values[first[step] : after[step]]
        kinds, places, counts = np.unique(inside, return_index=True, return_counts=True)
        found[step] = kinds[np.lexsort((places, -counts))[0]]
    return found
