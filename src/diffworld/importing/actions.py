"""The actions of an import: found in what the players did, or given by a map of keys; and steps encoded in them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.importing.controls import Floats, Steps
from diffworld.importing.keys import codes, plain
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError
from diffworld.spec import MAX_ACTIONS, ActionSpace, Choice, Keys, numbered

BINS = 7
"""Of an axis that nobody gave edges for."""
FEW_VALUES = 16
"""An axis with no more different values than this has a bin for each."""
WILD = 20.0
"""A value so many times beyond the outermost edge of its bins is no movement of a player."""
_SAMPLE = 4096  # values kept of one axis of one recording


@dataclass(frozen=True)
class KeyMap:
    """What a user says of the actions; empty where it is to be found.

    keys: physical key -> name of the action, or None to leave it out. With any, all other keys are left out.
    recordings: pattern of recordings -> a map of keys that goes before `keys` there.
    axes: name -> edges between its bins, a number of bins, or None to leave it out.
    choices: name -> names of its values, by number; None leaves it out.
    exclusive: pairs of actions that are never both down.
    play: action -> key of the page (`KeyboardEvent.code`).
    """

    keys: Mapping[str, str | None] = field(default_factory=dict)
    recordings: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    axes: Mapping[str, list[float] | int | None] = field(default_factory=dict)
    choices: Mapping[str, list[str] | None] = field(default_factory=dict)
    exclusive: tuple[tuple[str, str], ...] = ()
    play: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> KeyMap:
        """From a JSON file that may leave fields out; UserError, one line, for anything else."""
        if path is None:
            return cls()
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"cannot read the key map {path}: {' '.join(str(error).split())[:100]}") from error
        if not isinstance(given, dict):
            raise UserError(f'the key map {path} should be a JSON object, such as {{"keys": {{"w": "forward"}}}}')
        found = read_as(cls, {**asdict(cls()), **given}, f"key map {path.name}")
        for name, bins in found.axes.items():
            if isinstance(bins, int) and not 2 <= bins <= MAX_ACTIONS:
                raise UserError(f"key map {path.name}: {name} has {bins} bins; give 2 or more")
            if isinstance(bins, list) and (not bins or (np.diff(bins) <= 0).any() or not np.isfinite(bins).all()):
                raise UserError(f"key map {path.name}: the edges of {name} must be numbers that increase")
        return found

    def named(self, steps: Steps, recording: str) -> Steps:
        """Steps with the names of actions in place of physical keys; what is left out is gone."""
        own = [keys for pattern, keys in self.recordings.items() if fnmatch(recording, pattern)]
        names = {plain(key): name for keys in (self.keys, *own) for key, name in keys.items()}
        buttons: dict[str, NDArray[np.bool_]] = {}
        for key, down in steps.buttons.items():
            name = names.get(key, None if self.keys or own else key)
            if name is not None:
                buttons[name] = buttons[name] | down if name in buttons else down
        gone = {name for given in (self.axes, self.choices) for name, value in given.items() if value is None}
        axes = {name: values for name, values in steps.axes.items() if name not in gone}
        movements = {name: values for name, values in steps.movements.items() if name not in gone}
        choices = {name: numbers for name, numbers in steps.choices.items() if name not in gone}
        labels = {name: self._labels(name, words) for name, words in steps.labels.items() if name in choices}
        return replace(steps, buttons=buttons, axes=axes, movements=movements, choices=choices, labels=labels)

    def _labels(self, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """The names given to a choice's values; UserError if one has none."""
        given = self.choices.get(name)
        if not given:
            return words
        for word in words:
            if word not in given and not (word.isdigit() and int(word) < len(given)):
                raise UserError(f"the key map names {len(given)} values of {name}, and {word} occurs")
        return tuple(word if word in given else given[int(word)] for word in words)


@dataclass
class Usage:
    """What players did, over any number of steps: enough to choose bins by, of a size that does not grow with them.

    movements, axes: a sample of the values (n,) of each, and how many steps each value of it stands for (n,).
    """

    steps: int = 0
    buttons: Counter[str] = field(default_factory=Counter)
    movements: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    axes: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    choices: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: Steps) -> Usage:
        """Of the steps of one recording."""
        choices = {}
        for name, numbers in steps.choices.items():
            counts = np.bincount(numbers, minlength=len(steps.labels[name]))
            choices[name] = Counter(dict(zip(steps.labels[name], counts.tolist(), strict=True)))
        return cls(
            len(steps),
            Counter({name: int(down.sum()) for name, down in steps.buttons.items()}),
            {name: _thinned(values, np.ones(len(values))) for name, values in steps.movements.items()},
            {name: _thinned(values, np.ones(len(values))) for name, values in steps.axes.items()},
            choices,
        )

    def add(self, other: Usage) -> None:
        """Take what another one has."""
        self.steps += other.steps
        self.buttons.update(other.buttons)
        for own, new in ((self.movements, other.movements), (self.axes, other.axes)):
            for name, sample in new.items():
                pairs = zip(own[name], sample, strict=True) if name in own else zip(sample, strict=True)
                own[name] = _thinned(*(np.concatenate(pair) for pair in pairs))
        for name, counts in other.choices.items():
            self.choices.setdefault(name, Counter()).update(counts)


@dataclass(frozen=True)
class Bins:
    """An axis in bins: `edges` (n - 1,) between them, and a name for each."""

    edges: tuple[float, ...]
    names: tuple[str, ...]

    def place(self, values: Floats) -> NDArray[np.int64]:
        """(T,) number of the bin of each value; what lies beyond is in an outermost bin."""
        return np.searchsorted(np.asarray(self.edges), values, "right").astype(np.int64)

    def wild(self, values: Floats) -> int:
        """How many values lie far beyond all edges."""
        return int((np.abs(values) > WILD * (max(abs(edge) for edge in self.edges) or math.inf)).sum())


@dataclass(frozen=True)
class Coder:
    """The actions of a data set: keys, then axes in bins, then choices; each may be missing."""

    keys: tuple[str, ...]
    axes: Mapping[str, Bins]
    choices: Mapping[str, tuple[str, ...]]
    exclusive: tuple[tuple[str, str], ...] = ()
    play: Mapping[str, str] = field(default_factory=dict)

    @property
    def space(self) -> ActionSpace:
        """The action space."""
        parts: list[Choice | Keys] = [Keys(self.keys, self.exclusive)] if self.keys else []
        parts += [Choice(name, bins.names) for name, bins in self.axes.items()]
        return ActionSpace((*parts, *(Choice(name, names) for name, names in self.choices.items())))

    def encode(self, steps: Steps) -> NDArray[Any]:
        """(T,) numbers or (T, size) zeros and ones; what a recording does not have is idle."""
        space, count = self.space, len(steps)
        pieces = []
        if self.keys:
            none = np.zeros(count, np.bool_)
            down = np.stack([steps.buttons.get(name, none) for name in self.keys], axis=1)
            for first, second in Keys(self.keys, self.exclusive).conflicts:
                down[:, second] &= ~down[:, first]
            pieces.append(down)
        numbers = [bins.place(_axis(steps, name)) for name, bins in self.axes.items()]
        numbers += [_relabelled(steps, name, names) for name, names in self.choices.items()]
        if space.is_discrete:
            return numbers[0]
        sizes = [len(bins.names) for bins in self.axes.values()] + [len(names) for names in self.choices.values()]
        pieces += [np.arange(size) == column[:, None] for column, size in zip(numbers, sizes, strict=True)]
        return np.concatenate(pieces, axis=1).astype(np.uint8)

    def wild(self, steps: Steps) -> dict[str, int]:
        """How many values of each axis lie far beyond its bins."""
        return {name: bins.wild(_axis(steps, name)) for name, bins in self.axes.items()}

    @classmethod
    def from_json(cls, data: Any) -> Coder:
        """What `dataclasses.asdict` gave; UserError for anything else."""
        return read_as(cls, data, "actions")

    def keymap(self) -> dict[str, Any]:
        """As a key map that would give the same actions."""
        return {
            "keys": {name: name for name in self.keys},
            "axes": {name: list(bins.edges) for name, bins in self.axes.items()},
            "choices": {name: list(names) for name, names in self.choices.items()},
            "exclusive": [list(pair) for pair in self.exclusive],
            "play": dict(self.play),
        }


def find_actions(usage: Usage, keymap: KeyMap) -> tuple[Coder, list[str]]:
    """The actions that occur, or that the map names; and in words what is left out. UserError if there are none."""
    named = {name for keys in (keymap.keys, *keymap.recordings.values()) for name in keys.values() if name}
    pressed = {name for name, count in usage.buttons.items() if count}
    order = list(dict.fromkeys(name for name in keymap.keys.values() if name))
    keys = (*order, *sorted((named | pressed) - set(order), key=lambda name: (-usage.buttons[name], name)))
    left_out = [f"{name} (never pressed)" for name in sorted(usage.buttons.keys() - pressed - named)]
    axes, choices = {}, {}
    for name, sample in (*usage.movements.items(), *usage.axes.items()):
        bins = _bins(*sample, keymap.axes.get(name), name in usage.movements)
        if bins is None:
            left_out.append(f"{name} (always the same)")
        else:
            axes[name] = bins
    for name, counts in usage.choices.items():
        labels = _labels(counts, keymap.choices.get(name))
        if len(labels) > 1:
            choices[name] = labels
        else:
            left_out.append(f"{name} (always the same)")
    if not keys and not axes and not choices:
        raise UserError(
            "nothing was ever pressed or moved in these recordings: is it the right log, the right key map?"
        )
    coder = Coder(keys, axes, choices, keymap.exclusive)
    _ = coder.space  # UserError for a name that is given twice
    return replace(coder, play={**_played(coder), **keymap.play}), left_out


def _axis(steps: Steps, name: str) -> Floats:
    values = steps.movements.get(name)
    values = steps.axes.get(name) if values is None else values
    return np.zeros(len(steps)) if values is None else values


def _relabelled(steps: Steps, name: str, names: tuple[str, ...]) -> NDArray[np.int64]:
    """(T,) a choice by the numbers that the whole import uses."""
    if name not in steps.choices:
        return np.zeros(len(steps), np.int64)
    places = {label: place for place, label in enumerate(names)}
    numbers = np.array([places.get(label, 0) for label in steps.labels[name]], np.int64)
    return numbers[steps.choices[name]]


def _thinned(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """At most `_SAMPLE` of the values, evenly from the smallest to the largest, and what each stands for."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    if len(values) <= 2 * _SAMPLE:
        return values, weights
    total = np.cumsum(weights)
    middles = (np.arange(_SAMPLE) + 0.5) * total[-1] / _SAMPLE
    places = np.searchsorted(total, middles)
    places[0], places[-1] = 0, len(values) - 1
    return values[places], np.full(_SAMPLE, total[-1] / _SAMPLE)


def _bins(values: Floats, weights: Floats, given: list[float] | int | None, moves: bool) -> Bins | None:
    """Bins for an axis: at the edges given, else of about equally many values; None if it never changes.

    A movement, and a position that mostly rests at 0, has a bin of its own for 0, and as many on either side of it.
    """
    kinds = np.unique(values)
    if isinstance(given, list):
        return Bins(tuple(given), _names(tuple(given), values))
    if len(kinds) < 2:
        return None
    if len(kinds) <= (given or FEW_VALUES) and not moves:
        edges = (kinds[1:] + kinds[:-1]) / 2
    elif moves or weights[values == 0].sum() > weights.sum() / 5:
        sides = max(1, (given or BINS) // 2)
        sizes, weight = np.abs(values[values != 0]), weights[values != 0]
        outer = np.unique([_edge(sizes, weight, side / sides) for side in range(sides)])
        edges = np.concatenate([-outer[::-1] if values.min() < 0 else [], outer if values.max() > 0 else []])
    else:
        count = given or BINS
        edges = np.unique([_edge(values, weights, place / count) for place in range(1, count)])
        edges = edges[(edges > kinds[0]) & (edges < kinds[-1])]
    found = tuple(float(edge) for edge in edges)
    return Bins(found, _names(found, values)) if found else None


def _edge(values: Floats, weights: Floats, share: float) -> float:
    """An edge below the value that has that share of all before it: between two values that occur, or half of the
    smallest one."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    place = min(int(np.searchsorted(total, share * total[-1], "right")), len(values) - 1)
    value = values[order][place]
    smaller = values[values < value]
    edge = (value + smaller.max()) / 2 if len(smaller) else value / 2
    return float(f"{edge:.4g}")


def _names(edges: tuple[float, ...], values: Floats) -> tuple[str, ...]:
    """Each bin by the median of what lies in it, or by its middle; the one around 0 is "0"."""
    names: list[str] = []
    bounds = (-math.inf, *edges, math.inf)
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        inside = values[(values >= low) & (values < high)]
        if low < 0 < high:
            name = "0"
        elif len(inside):
            name = _said(float(np.median(inside)))
        else:
            name = _said((low + high) / 2 if math.isfinite(low + high) else low if math.isfinite(low) else high)
        names.append(name if name not in names else f"{low:.6g} to {high:.6g}")
    return tuple(names)


def _labels(counts: Mapping[str, int], given: list[str] | None) -> tuple[str, ...]:
    """The values of a choice: those given, else from 0 up where they are numbers."""
    if given:
        return tuple(given)
    if all(label.isdigit() and int(label) < MAX_ACTIONS for label in counts):
        return numbered(1 + max(int(label) for label in counts))
    return tuple(sorted(counts, key=lambda label: (float(label), "") if _is_number(label) else (math.inf, label)))


def _is_number(label: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", label) is not None


def _said(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _played(coder: Coder) -> dict[str, str]:
    """Keys of the page for what it has no key for by itself: arrows for movements where the game leaves them free."""
    found = codes(list(coder.keys))
    free = {"left", "right", "up", "down"}.isdisjoint(coder.keys)
    arrows = [("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown")]
    for (name, bins), (less, more) in zip(coder.axes.items(), arrows if free else [], strict=False):
        if "0" in bins.names and 0 < bins.names.index("0") < len(bins.names) - 1:
            middle = bins.names.index("0")
            found[f"{name} {bins.names[middle // 2]}"] = less
            found[f"{name} {bins.names[(middle + len(bins.names)) // 2]}"] = more
    return found
