"""The actions of an import: found in what the players did, or given by a map of keys; and steps encoded in them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffworld.game import MAX_ACTIONS, ActionSpace, Choice, GameSpec, Keys, numbered
from diffworld.importing.controls import Bools, Floats, Ints, Steps
from diffworld.importing.keys import codes, plain
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json

BINS = 7
"""Of an axis that nobody gave edges for."""
FEW_VALUES = 16
"""An axis with no more different values than this has a bin for each."""
WILD = 20.0
"""A value so many times beyond the outermost edge of its bins is no movement of a player."""
_SAMPLE = 65_536  # values kept of one axis

T = TypeVar("T")


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
        given = read_json(path, "give the key map as a JSON file")
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
        buttons: dict[str, Bools] = {}
        for key, down in steps.buttons.items():
            name = names.get(key, None if self.keys or own else key)
            if name is not None:
                buttons[name] = buttons[name] | down if name in buttons else down
        axes = _kept(steps.axes, self.axes)
        choices = _kept(steps.choices, self.choices)
        labels = {name: self._labels(name, steps.labels[name]) for name in choices}
        return replace(steps, buttons=buttons, axes=axes, choices=choices, labels=labels)

    def _labels(self, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """The names given to a choice's values; UserError if one has none."""
        given = self.choices.get(name)
        if not given:
            return words
        for word in words:
            if word not in given and not (word.isdecimal() and int(word) < len(given)):
                raise UserError(f"the key map names {len(given)} values of {name}, and {word} occurs")
        return tuple(word if word in given else given[int(word)] for word in words)


def _kept(there: Mapping[str, T], given: Mapping[str, Any]) -> dict[str, T]:
    """What is not left out."""
    return {name: values for name, values in there.items() if given.get(name, ()) is not None}


@dataclass
class Usage:
    """What players did, over any number of steps: enough to choose bins by, of a size that does not grow with them.

    axes: the values (n,) of each in every so many steps. moves: which of them are movements. choices: how often each
    label was chosen.
    """

    steps: int = 0
    buttons: Counter[str] = field(default_factory=Counter)
    axes: dict[str, Floats] = field(default_factory=dict)
    moves: set[str] = field(default_factory=set)
    choices: dict[str, Counter[str]] = field(default_factory=dict)
    _every: dict[str, int] = field(default_factory=dict)

    def add(self, steps: Steps) -> None:
        """Take the steps of another recording."""
        self.steps += len(steps)
        self.moves |= steps.moves & steps.axes.keys()
        for name, down in steps.buttons.items():
            self.buttons[name] += int(down.sum())
        for name, numbers in steps.choices.items():
            counts = np.bincount(numbers, minlength=len(steps.labels[name])).tolist()
            self.choices.setdefault(name, Counter()).update(dict(zip(steps.labels[name], counts, strict=True)))
        for name, values in steps.axes.items():
            every = self._every.setdefault(name, 1)
            kept = np.concatenate([self.axes.get(name, np.zeros(0)), values[::every]])
            while len(kept) > _SAMPLE:
                kept, self._every[name] = kept[::2], 2 * self._every[name]
            self.axes[name] = kept


@dataclass(frozen=True)
class Bins:
    """An axis in bins: `edges` (n - 1,) between them, and a name for each."""

    edges: tuple[float, ...]
    names: tuple[str, ...]

    def place(self, values: Floats) -> Ints:
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

    @classmethod
    def of(cls, game: GameSpec) -> Coder:
        """The actions of a game that is known."""
        keys = next((part for part in game.actions.parts if isinstance(part, Keys)), Keys(()))
        choices = {part.name: part.values for part in game.actions.parts if isinstance(part, Choice)}
        return cls(keys.names, {}, choices, keys.exclusive, game.keys)

    @property
    def space(self) -> ActionSpace:
        """The action space; UserError for names that no game can have."""
        parts: list[Choice | Keys] = [Keys(self.keys, self.exclusive)] if self.keys else []
        parts += [Choice(name, bins.names) for name, bins in self.axes.items()]
        return ActionSpace((*parts, *(Choice(name, names) for name, names in self.choices.items())))

    def encode(self, steps: Steps) -> NDArray[Any]:
        """(T,) numbers or (T, size) zeros and ones; what a recording does not have is idle."""
        pieces, count = [], len(steps)
        if self.keys:
            none = np.zeros(count, np.bool_)
            down = np.stack([steps.buttons.get(name, none) for name in self.keys], axis=1)
            for first, second in Keys(self.keys, self.exclusive).conflicts:
                down[:, second] &= ~down[:, first]
            pieces.append(down)
        numbers = {name: (bins.place(_axis(steps, name)), len(bins.names)) for name, bins in self.axes.items()}
        for name, labels in self.choices.items():
            numbers[name] = (_relabelled(steps, name, labels), len(labels))
        if self.space.is_discrete:
            ((only, _),) = numbers.values()
            return only
        pieces += [np.arange(size) == column[:, None] for column, size in numbers.values()]
        return np.concatenate(pieces, axis=1).astype(np.uint8)

    def wild(self, steps: Steps) -> dict[str, int]:
        """How many values of each axis lie far beyond its bins."""
        return {name: bins.wild(_axis(steps, name)) for name, bins in self.axes.items()}

    def keymap(self) -> dict[str, Any]:
        """As a key map that would give the same actions."""
        return {
            **asdict(self),
            "keys": {name: name for name in self.keys},
            "axes": {name: list(bins.edges) for name, bins in self.axes.items()},
        }


def _axis(steps: Steps, name: str) -> Floats:
    return steps.axes.get(name, np.zeros(len(steps)))


def _relabelled(steps: Steps, name: str, names: tuple[str, ...]) -> Ints:
    """(T,) a choice by the numbers that the whole import uses."""
    if name not in steps.choices:
        return np.zeros(len(steps), np.int64)
    places = {label: place for place, label in enumerate(names)}
    numbers = np.array([places.get(label, 0) for label in steps.labels[name]], np.int64)
    return numbers[steps.choices[name]]


def find_actions(usage: Usage, keymap: KeyMap) -> tuple[Coder, list[str]]:
    """The actions that occur, or that the map names; and in words what is left out. UserError if there are none."""
    named = {name for keys in (keymap.keys, *keymap.recordings.values()) for name in keys.values() if name}
    pressed = {name for name, count in usage.buttons.items() if count}
    order = list(dict.fromkeys(name for name in keymap.keys.values() if name))
    keys = (*order, *sorted((named | pressed) - set(order), key=lambda name: (-usage.buttons[name], name)))
    left_out = [f"{name} (never pressed)" for name in sorted(usage.buttons.keys() - pressed - named)]
    axes = {
        name: _bins(usage.axes[name], keymap.axes.get(name), name in usage.moves)
        for name in sorted(usage.axes, key=lambda name: name not in usage.moves)
    }
    choices = {name: _labels(counts, keymap.choices.get(name)) for name, counts in usage.choices.items()}
    left_out += [f"{name} (always the same)" for name, bins in axes.items() if bins is None]
    left_out += [f"{name} (always the same)" for name, labels in choices.items() if len(labels) < 2]
    coder = Coder(
        keys,
        {name: bins for name, bins in axes.items() if bins is not None},
        {name: labels for name, labels in choices.items() if len(labels) > 1},
        keymap.exclusive,
    )
    if not keys and not coder.axes and not coder.choices:
        raise UserError(
            "nothing was ever pressed or moved in these recordings: is it the right log, the right key map?"
        )
    _ = coder.space  # UserError for a name that is given twice
    return replace(coder, play={**_played(coder), **keymap.play}), left_out


def _bins(values: Floats, given: list[float] | int | None, moves: bool) -> Bins | None:
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
    elif moves or (values == 0).mean() > 1 / 5:
        outer = _edges(np.abs(values[values != 0]), max(1, (given or BINS) // 2), 0)
        edges = np.concatenate([-outer[::-1] if values.min() < 0 else [], outer if values.max() > 0 else []])
    else:
        edges = _edges(values, given or BINS, 1)
        edges = edges[(edges > kinds[0]) & (edges < kinds[-1])]
    found = tuple(float(edge) for edge in edges)
    return Bins(found, _names(found, values)) if found else None


def _edges(values: Floats, bins: int, first: int) -> Floats:
    """Edges of so many bins from the first on, each between two values that occur, or half of the smallest."""
    ordered = np.sort(values)
    found = []
    for place in range(first, bins):
        value = ordered[place * len(ordered) // bins]
        smaller = ordered[: np.searchsorted(ordered, value)]
        found.append(float(f"{(value + smaller[-1]) / 2 if len(smaller) else value / 2:.4g}"))
    return np.unique(found)


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


def _said(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _labels(counts: Mapping[str, int], given: list[str] | None) -> tuple[str, ...]:
    """The values of a choice: those given, else in order, from 0 up where they are whole numbers."""
    if given:
        return tuple(given)
    if all(label.isdecimal() and int(label) < MAX_ACTIONS for label in counts):
        return numbered(1 + max(int(label) for label in counts))
    return tuple(sorted(counts, key=_in_order))


def _in_order(label: str) -> tuple[float, str]:
    """Numbers first, by their size."""
    try:
        return (math.inf if math.isnan(float(label)) else float(label)), label
    except ValueError:
        return math.inf, label


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
