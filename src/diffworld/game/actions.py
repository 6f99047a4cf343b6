"""What one can do in a game: a choice of some values, keys that are down or not, or several of both."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError

MAX_ACTIONS = 4096
"""Most values of a choice and most keys: more is a damaged description."""

MOUSE_X, MOUSE_Y = "mouse x", "mouse y"
"""What choices are called whose values are mouse movements, to the right and down."""

Encoded = int | NDArray[np.uint8]
"""An action as data sets store it: an index, or zeros and ones (size,)."""


@dataclass(frozen=True)
class Choice:
    """Exactly one of some values: the joystick of an Atari game, a mouse axis in bins."""

    name: str
    values: tuple[str, ...]

    @property
    def size(self) -> int:
        """Numbers it takes in an encoded action."""
        return len(self.values)

    @functools.cached_property
    def numbers(self) -> tuple[float, ...]:
        """Its values where all are numbers, as the bins of a mouse axis are; else none."""
        try:
            return tuple(map(float, self.values))
        except ValueError:
            return ()


@dataclass(frozen=True)
class Keys:
    """Any set of keys or buttons. Of a pair in `exclusive` (names) the later one is dropped if both are down."""

    names: tuple[str, ...]
    exclusive: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Numbers it takes in an encoded action."""
        return len(self.names)

    @property
    def conflicts(self) -> list[tuple[int, int]]:
        """`exclusive` by number, the key that gives way second; in order, so that it gives way to one that stays."""
        places = {name: place for place, name in enumerate(self.names)}
        pairs = [(min(places[a], places[b]), max(places[a], places[b])) for a, b in self.exclusive]
        return sorted(pairs, key=lambda pair: pair[1])


@dataclass(frozen=True)
class ActionSpace:
    """A list of parts, each a `Choice` or `Keys`.

    Encoded, an action of one choice alone is its number; any other is a vector of zeros and ones, part after part, a
    choice as one-hot.
    """

    parts: tuple[Choice | Keys, ...]

    def __post_init__(self) -> None:
        """UserError for a description that no game can have."""
        if not self.parts:
            raise UserError("a game needs an action: give an action space at least one part")
        for part in self.parts:
            names = part.values if isinstance(part, Choice) else part.names
            if not 1 <= len(names) <= MAX_ACTIONS or len(set(names)) != len(names):
                raise UserError(f"an action part needs 1 to {MAX_ACTIONS} different names, not {len(names)}")
            if isinstance(part, Keys) and any(len({*pair} & {*names}) != 2 for pair in part.exclusive):
                raise UserError("keys that exclude each other must be two of the keys")
        if len({*self.labels}) < len(self.parts) or len({*self.names}) < self.size:
            raise UserError("every part of an action, and everything in it, needs a name of its own")

    @classmethod
    def discrete(cls, values: int | Sequence[str]) -> ActionSpace:
        """One choice, of so many values or of these names."""
        names = numbered(values) if isinstance(values, int) else values
        return cls((Choice("action", tuple(names)),))

    @property
    def is_discrete(self) -> bool:
        """Whether an encoded action is one number."""
        return len(self.parts) == 1 and isinstance(self.parts[0], Choice)

    @property
    def size(self) -> int:
        """How many actions there are to choose from, or the length of an encoded vector."""
        return sum(part.size for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each number of an encoded action."""
        if self.is_discrete:
            return self.parts[0].values  # type: ignore[union-attr]
        return tuple(
            name
            for part in self.parts
            for name in (part.names if isinstance(part, Keys) else [f"{part.name} {value}" for value in part.values])
        )

    @property
    def mouse(self) -> dict[str, Choice]:
        """The mouse axes among its parts, by their names."""
        choices = (part for part in self.parts if isinstance(part, Choice))
        return {part.name: part for part in choices if part.name in (MOUSE_X, MOUSE_Y) and part.numbers}

    @property
    def idle(self) -> Encoded:
        """Doing nothing: NOOP where there is one, no key down, and of each choice its "0", "NOOP" or first value."""
        values: list[Any] = []
        for part in self.parts:
            if isinstance(part, Keys):
                values.append(np.zeros(part.size, np.uint8))
            else:
                values.append(next((i for i, v in enumerate(part.values) if v.upper() in ("NOOP", "0")), 0))
        return self.encode(values)

    def encode(self, values: Sequence[Any]) -> Encoded:
        """The action of one value a part: a choice's number, or zeros and ones for keys.

        UserError for what is not of the space. Keys that exclude each other lose the later one.
        """
        if len(values) != len(self.parts):
            raise UserError(f"an action has {len(self.parts)} parts here, not {len(values)}")
        if self.is_discrete:
            return _index(values[0], self.size)
        pieces: list[NDArray[Any]] = []
        for part, value in zip(self.parts, values, strict=True):
            if isinstance(part, Choice):
                pieces.append(np.arange(part.size) == _index(value, part.size))
            else:
                pieces.append(down := _bits(value, part.size))
                for first, second in part.conflicts:
                    down[second] &= 1 - down[first]
        return np.concatenate(pieces).astype(np.uint8)

    def decode(self, action: Any) -> list[Any]:
        """One value a part (see `encode`) of an encoded action; UserError if it is not of the space."""
        if self.is_discrete:
            return [_index(action, self.size)]
        pieces = np.split(_bits(action, self.size), np.cumsum([part.size for part in self.parts])[:-1])
        for part, piece in zip(self.parts, pieces, strict=True):
            if isinstance(part, Choice) and piece.sum() != 1:
                raise UserError(f"an action needs exactly one value of {part.name}, not {int(piece.sum())}")
        return [
            int(piece.argmax()) if isinstance(part, Choice) else piece
            for part, piece in zip(self.parts, pieces, strict=True)
        ]

    def check(self, action: Any) -> Encoded:
        """The action as it is stored; UserError if it is not of the space."""
        values = self.decode(action)
        return values[0] if self.is_discrete else _bits(action, self.size)

    def describe(self, action: Any) -> str:
        """An encoded action in words, such as "LEFT" or "w+space, mouse x -4"."""
        said = []
        for part, value in zip(self.parts, self.decode(action), strict=True):
            if isinstance(part, Choice):
                said.append(part.values[value] if self.is_discrete else f"{part.name} {part.values[value]}")
            elif value.any():
                said.append("+".join(name for name, down in zip(part.names, value, strict=True) if down))
        return ", ".join(said) or "nothing"

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[Any]:
        """Encoded actions drawn uniformly: int64 (count,), or uint8 (count, size)."""
        if self.is_discrete:
            return rng.integers(self.size, size=count)
        draws = [
            [
                rng.integers(part.size) if isinstance(part, Choice) else rng.integers(2, size=part.size)
                for part in self.parts
            ]
            for _ in range(count)
        ]
        return np.stack([self.encode(draw) for draw in draws])

    @property
    def labels(self) -> list[str]:
        """What the parts are called: a choice by its name, keys as 'keys'."""
        keys = ("keys" if place == 0 else f"keys {place}" for place in range(len(self.parts)))
        return [part.name if isinstance(part, Choice) else key for part, key in zip(self.parts, keys, strict=True)]

    def to_json(self) -> list[dict[str, Any]]:
        """JSON types."""
        return [
            {"choice": part.name, "values": list(part.values)}
            if isinstance(part, Choice)
            else {"keys": list(part.names), "exclusive": [list(pair) for pair in part.exclusive]}
            for part in self.parts
        ]

    @classmethod
    def from_json(cls, data: Any) -> ActionSpace:
        """What `to_json` gave; UserError for anything else."""
        try:
            parts = [
                {"name": part["choice"], "values": part["values"]}
                if "choice" in part
                else {"names": part["keys"], "exclusive": part["exclusive"]}
                for part in data
            ]
        except (TypeError, KeyError) as error:
            raise UserError("this is no action space") from error
        return read_as(cls, {"parts": parts}, "action space")


def numbered(count: int, first: int = 0) -> tuple[str, ...]:
    """Names for values that have none; of more than any game has, enough to be refused."""
    return tuple(str(first + i) for i in range(min(count, MAX_ACTIONS + 1)))


def _array(value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.zeros(0)


def _index(value: Any, size: int) -> int:
    number = _array(value)
    if number.shape not in ((), (1,)) or not np.issubdtype(number.dtype, np.integer):
        raise UserError(f"action {value!r} is not a whole number")
    if not 0 <= (index := int(number.reshape(()))) < size:
        raise UserError(f"action {index} is not one of 0..{size - 1}")
    return index


def _bits(value: Any, size: int) -> NDArray[np.uint8]:
    numbers = _array(value)
    if numbers.shape != (size,) or not np.isin(numbers, (0, 1)).all():
        raise UserError(f"action is not a vector of {size} zeros and ones")
    return numbers.astype(np.uint8)
