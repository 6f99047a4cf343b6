"""Action spaces as Gymnasium has them, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium.spaces as spaces
import numpy as np

from diffworld.game.actions import ActionSpace, Choice, Encoded, Keys, numbered
from diffworld.runtime.errors import UserError

AXIS_VALUES, MOST_AXES = 5, 32
"""Values that a continuous action's number is reduced to, and most of its numbers: more is no action but a picture."""


def to_gymnasium(actions: ActionSpace) -> spaces.Space[Any]:
    """`Discrete` or `MultiBinary` for one part, `MultiDiscrete` for choices, a `Dict` for keys and choices."""
    inner = [spaces.Discrete(p.size) if isinstance(p, Choice) else spaces.MultiBinary(p.size) for p in actions.parts]
    if len(inner) == 1:
        return inner[0]
    if all(isinstance(part, Choice) for part in actions.parts):
        return spaces.MultiDiscrete([part.size for part in actions.parts])
    return spaces.Dict(list(zip(actions.labels, inner, strict=True)))


def from_gymnasium(space: spaces.Space[Any], names: Sequence[str] = ()) -> ActionSpace:
    """What can be done where an environment's actions are of `space`; `names` are those of a `Discrete`'s values.

    Continuous actions become choices of a few values each. UserError for spaces that are none of these.
    """
    match space:
        case spaces.Discrete():
            return ActionSpace.discrete(names or numbered(int(space.n), int(space.start)))
        case spaces.MultiBinary() if isinstance(space.n, int | np.integer):
            return ActionSpace((Keys(numbered(int(space.n))),))
        case spaces.MultiDiscrete() if space.nvec.ndim == 1:
            return ActionSpace(tuple(Choice(str(i), numbered(n)) for i, n in enumerate(space.nvec.tolist())))
        case spaces.Dict():
            return ActionSpace(tuple(_flat(space)))
        case spaces.Box() if parts := _binned(space):
            return ActionSpace(parts)
    said = " ".join(str(space).split())
    raise UserError(
        f"actions of {said} are neither choices nor keys: use Discrete, MultiDiscrete, MultiBinary or a bounded Box"
    )


def from_gym_action(actions: ActionSpace, action: Any) -> Encoded:
    """An action of the space that `to_gymnasium` gives, encoded; UserError if it is none."""
    if len(actions.parts) == 1:
        return actions.encode([action])
    if isinstance(action, Mapping):
        return actions.encode([action[label] for label in actions.labels])
    return actions.encode(list(action))


def to_gym_action(actions: ActionSpace, action: Any, space: spaces.Space[Any] | None = None) -> Any:
    """An encoded action as the space has it that `to_gymnasium` gives, or the `space` that `actions` were made from."""
    space = to_gymnasium(actions) if space is None else space
    pieces: list[Any] = []
    for part, value, box in zip(actions.parts, actions.decode(action), _boxes(space), strict=True):
        if isinstance(part, Keys):
            pieces.append(value)
        elif box is None:
            pieces.append(np.arange(part.size) == value)
        else:  # the value's name is the number itself
            pieces.append(np.clip([float(part.values[value])], *box))
    return spaces.unflatten(space, np.concatenate(pieces))


def _flat(space: spaces.Dict) -> Iterator[Choice | Keys]:
    """The parts of a dictionary of simple spaces, named after its keys."""
    for key, inner in space.items():
        parts = from_gymnasium(inner).parts
        for part in parts:
            if isinstance(part, Keys):
                yield Keys(tuple(f"{key} {name}" for name in part.names))
            else:
                yield Choice(str(key) if len(parts) == 1 else f"{key} {part.name}", part.values)


def _binned(space: spaces.Box) -> tuple[Choice, ...]:
    """Each number of a small vector with bounds as one of a few values, called as they are; else nothing.

    They lie evenly between the bounds, but 0 is among them where it can be, to do nothing by.
    """
    low, high = (side.astype(np.float64).ravel() for side in (space.low, space.high))
    if not 1 <= low.size <= MOST_AXES or not np.isfinite([low, high]).all() or (low >= high).any():
        return ()
    found = []
    for place in range(low.size):
        values = np.linspace(low[place], high[place], AXIS_VALUES).astype(space.dtype).astype(np.float64)
        if low[place] < 0 < high[place]:
            values[np.abs(values).argmin()] = 0
        names = dict.fromkeys(f"{value + 0:.6g}" for value in values)
        found.append(Choice("axis" if low.size == 1 else f"axis {place}", tuple(names)))
    return tuple(found)


def _boxes(space: spaces.Space[Any]) -> Iterator[tuple[float, float] | None]:
    """For each part of an action of that space, the bounds of its number; None of what is none of a `Box`."""
    match space:
        case spaces.Dict():
            for inner in space.values():
                yield from _boxes(inner)
        case spaces.Box():
            yield from zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
        case spaces.MultiDiscrete():
            yield from [None] * len(space.nvec)
        case _:
            yield None
