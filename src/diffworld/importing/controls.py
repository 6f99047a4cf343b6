"""What players did, as a log tells it, and the same by the steps that a data set will have."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
_LONG_AGO = -1e9  # seconds


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Rewards and ends of T ticks or steps, each None where it is not known."""

    rewards: Floats | None = None
    terminated: Bools | None = None
    truncated: Bools | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Deeds:
    """What was done in each of T ticks or steps, by name.

    buttons: whether a key was down. axes: numbers; those named in `moves` are ways gone, the others places.
    choices: one of `labels`, by number.
    """

    buttons: Mapping[str, Bools] = field(default_factory=dict)
    axes: Mapping[str, Floats] = field(default_factory=dict)
    moves: frozenset[str] = frozenset()
    choices: Mapping[str, Ints] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Steps(Deeds):
    """T steps: a key is down that was at any time; movements are summed, places averaged.

    known: whether the log says what was done. repaired: how many numbers it gave as no number at all.
    """

    known: Bools
    repaired: int = 0

    def __len__(self) -> int:
        return len(self.known)

    def take(self, rows: NDArray[Any]) -> Steps:
        """Those steps alone."""
        columns = {
            name: {each: values[rows] for each, values in getattr(self, name).items()}
            for name in ("buttons", "axes", "choices")
        }
        return replace(self, known=self.known[rows], **columns)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Ticks(Deeds):
    """A log of N lines at `times` (N,), increasing: a line a tick, or `events`, each line the state since a change.

    A tick lasts to the next one, the last one as long as most do. It belongs to the step that it begins in; a step in
    which none begins goes on with the state of the last one. A press counts in every step it touches, however short.
    Axes may have gaps (nan): no movement, and the place before.
    """

    times: Floats
    told: Outcomes = Outcomes()
    events: bool = False

    @property
    def steady(self) -> bool:
        """Whether a line was written every so often, and not only when something changed."""
        return not self.events and (len(self.times) < 2 or pace(self.times)[1])

    def between(self, edges: Floats) -> Steps:
        """What falls into each of T steps, the step k from `edges[k]` up to `edges[k + 1]`, edges (T + 1,)."""
        first, after = self._inside(edges)
        some = after > first
        at = np.where(some, first, np.maximum(first - 1, 0))  # a tick of the step, or the last one before it
        if self.events:  # what goes down in a step, and what is down when it begins
            begun = np.searchsorted(self.times, edges[:-1] + ROUNDING, "right") - 1
            pressed = {name: down & ~np.append(False, down[:-1]) for name, down in self.buttons.items()}
            buttons = {n: (_sums(pressed[n], first, after) > 0) | down[begun] for n, down in self.buttons.items()}
        else:
            buttons = {n: np.where(some, _sums(down, first, after) > 0, down[at]) for n, down in self.buttons.items()}
        axes = {}
        for name, values in self.axes.items():
            whole = np.where(np.isfinite(values), values, 0.0) if name in self.moves else filled(values)
            sums = _sums(whole, first, after)
            axes[name] = sums if name in self.moves else np.where(some, sums / np.maximum(after - first, 1), whole[at])
        return Steps(
            known=self._covered(edges) & (after > 0),
            repaired=sum(int((~np.isfinite(values)).sum()) for values in self.axes.values()),
            buttons=buttons,
            axes=axes,
            moves=self.moves,
            choices={name: _commonest(values, first, after, at) for name, values in self.choices.items()},
            labels=self.labels,
        )

    def outcomes(self, edges: Floats) -> Outcomes:
        """Rewards and ends in each step."""
        first, after = self._inside(edges)

        def ends(values: Bools | None) -> Bools | None:
            return None if values is None else _sums(values, first, after) > 0

        rewards = self.told.rewards
        summed = None if rewards is None else _sums(np.nan_to_num(rewards), first, after)
        return Outcomes(summed, ends(self.told.terminated), ends(self.told.truncated))

    def beyond(self, end: float) -> int:
        """How many lines were logged from then on."""
        return int((self.times >= end - ROUNDING).sum())

    def _inside(self, edges: Floats) -> tuple[Ints, Ints]:
        """The first tick that begins in each step, and the first one after it."""
        places = np.searchsorted(self.times, edges - ROUNDING, "left")
        return places[:-1], places[1:]

    def _covered(self, edges: Floats) -> Bools:
        """Whether the log was being written during the whole of each step."""
        if not self.steady:
            return edges[:-1] >= self.times[0] - ROUNDING
        lasting = np.diff(self.times)
        tick = float(np.median(lasting)) if len(lasting) else 1.0
        holes = np.flatnonzero(lasting > max(GAP_TICKS * tick, GAP_SECONDS))
        begins = np.concatenate([self.times[:1], self.times[holes + 1]])
        ends = np.concatenate([self.times[holes], self.times[-1:]]) + tick
        stretch = np.searchsorted(begins, edges[:-1] + ROUNDING, "right") - 1
        return (stretch >= 0) & (edges[1:] <= ends[np.maximum(stretch, 0)] + ROUNDING)


class Changes:
    """Gathers what changed, in the order in which it was told: keys that go down and up, axes that move."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, bool], int] = {}
        self._which, self._values = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._which)

    def key(self, name: str, down: bool) -> None:
        """A key goes down or up; one that is down already stays down, as when a keyboard repeats."""
        self._add((name, False), float(down))

    def move(self, name: str, amount: float) -> None:
        """An axis moves by that."""
        self._add((name, True), amount)

    def _add(self, kind: tuple[str, bool], value: float) -> None:
        self._which.append(self._kinds.setdefault(kind, len(self._kinds)))
        self._values.append(value)

    def ticks(self, times: Floats) -> Ticks:
        """All of them at those times (one each, nan leaves one out).

        Before the first change nothing is down, but for a key that first goes up.
        """
        order = np.argsort(times, kind="stable")
        order = order[np.isfinite(times[order])]
        which, values = (np.asarray(each)[order] for each in (self._which, self._values))
        buttons, axes = {}, {}
        for (name, moves), number in self._kinds.items():
            places = np.flatnonzero(which == number)
            column = np.full(1 + len(order), 0.0 if moves else np.nan)
            column[1 + places] = values[places]
            if moves:
                axes[name] = column
            elif len(places):
                column[0] = 1 - values[places[0]]
                buttons[name] = filled(column) > 0
        since = np.concatenate([[_LONG_AGO], times[order]])
        return Ticks(since, events=True, buttons=buttons, axes=axes, moves=frozenset(axes))


def columns_of(values: NDArray[Any], name: str, names: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Numbers (T, ...) as columns (T,) of those names; without fitting ones called after `name`, and numbered."""
    flat = values.reshape(len(values), -1)
    count = flat.shape[1]
    if len(set(names)) != count:
        names = [name] if count == 1 else [f"{name} {place}" for place in range(count)]
    return dict(zip(names, flat.T, strict=True))


def pace(times: Floats) -> tuple[float, bool]:
    """How many of these times (n, at least 2) there are a second, and whether most follow at one pace.

    If so, that pace, whatever is missing in between; else the average.
    """
    lasting = np.diff(times)
    usual = np.abs(lasting - np.median(lasting)) <= np.median(lasting) / 2
    steady = bool(usual.mean() >= STEADY)
    return 1 / float((lasting[usual] if steady else lasting).mean() or np.inf), steady


def filled(values: Floats) -> Floats:
    """Without gaps: what is no number is the last number before it, or the first one there is."""
    good = np.isfinite(values)
    if good.all():
        return values
    if not good.any():
        return np.zeros_like(values)
    last = np.maximum.accumulate(np.where(good, np.arange(len(values)), -1))
    return values[np.where(last < 0, int(np.argmax(good)), last)]


def _sums(values: NDArray[Any], first: Ints, after: Ints) -> Floats:
    """The sum over each range of places, 0 over an empty one."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[after] - total[first]


def _commonest(values: Ints, first: Ints, after: Ints, at: Ints) -> Ints:
    """The value that lasts longest in each step, of equals the earliest; `at` where no tick begins."""
    found = values[at]
    for step in np.flatnonzero(after - first > 1):
        inside = values[first[step] : after[step]]
        kinds, places, counts = np.unique(inside, return_index=True, return_counts=True)
        found[step] = kinds[np.lexsort((places, -counts))[0]]
    return found
