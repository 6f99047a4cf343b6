"""The episodes of a log: which rows belong to which, derived from the records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from diffworld.data.schema import HELD_OUT, STEP, TERMINATED, TRUNCATED, Records
from diffworld.runtime.errors import UserError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps. `return_` is the undiscounted sum of the raw rewards.

    `actions` is int64 (T,), or uint8 (T, K) where actions are multi-hot; `rewards` is float32 (T,).
    """

    id: int
    length: int
    terminated: bool
    truncated: bool
    return_: float
    actions: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    rewards: npt.NDArray[np.float32]

    @property
    def ended(self) -> bool:
        """Whether the episode is over; else it may still grow."""
        return self.terminated or self.truncated


class Episodes(Sequence[Episode]):
    """The E episodes that have a step, in order of collection (of their first step), as arrays and singly.

    Arrays (E,): `ids`, `lengths` (steps), `terminated`, `truncated`, `ended`, `returns` (float64),
    `final_rows` (row of the final observation, -1 where unfinished), `held_out` (set aside when it was written).
    The rows of episode i's steps, in order, are `step_rows[offsets[i] : offsets[i] + lengths[i]]`. It is a snapshot:
    rows added later are not in it.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        rows = np.flatnonzero(records["flags"] & STEP)
        ids, first, episode = np.unique(records["episode"][rows], return_index=True, return_inverse=True)
        order = np.argsort(first)
        self.ids: Ints = ids[order].astype(np.int64)
        position = np.argsort(order)[episode]  # of each step's episode, in order of collection
        self.step_rows: Ints = rows[np.argsort(position, kind="stable")]
        self.lengths: Ints = np.bincount(position, minlength=len(ids)).astype(np.int64)
        self.offsets: Ints = np.cumsum(self.lengths) - self.lengths
        last_rows = self.step_rows[self.offsets + self.lengths - 1]
        self.terminated: Bools = (records["flags"][last_rows] & TERMINATED) != 0
        self.truncated: Bools = (records["flags"][last_rows] & TRUNCATED) != 0
        self.held_out: Bools = (records["flags"][last_rows] & HELD_OUT) != 0
        self.ended: Bools = self.terminated | self.truncated
        self.final_rows: Ints = np.where(self.ended, last_rows + 1, -1)
        returns = np.bincount(position, weights=records["reward"][rows], minlength=len(ids))
        self.returns: npt.NDArray[np.float64] = returns.astype(np.float64)

    def position(self, episode: int) -> int:
        """Place in this sequence of the episode with that id; UserError if it has no step."""
        (found,) = np.nonzero(self.ids == episode)
        if not found.size:
            raise UserError(f"the data set has no step of episode {episode}: choose one of `episodes.ids`")
        return int(found[0])

    def rows(self, position: int) -> Ints:
        """(T,) rows of the steps of the episode at that place."""
        start = self.offsets[position]
        return self.step_rows[start : start + self.lengths[position]]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Episode: ...

    @overload
    def __getitem__(self, index: slice) -> list[Episode]: ...

    def __getitem__(self, index: int | slice) -> Episode | list[Episode]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        position = range(len(self))[index]
        records = self.records[self.rows(position)]
        return Episode(
            id=int(self.ids[position]),
            length=int(self.lengths[position]),
            terminated=bool(self.terminated[position]),
            truncated=bool(self.truncated[position]),
            return_=float(self.returns[position]),
            actions=widen(records["action"]),
            rewards=records["reward"].astype(np.float32),
        )


def widen(actions: npt.NDArray[Any]) -> npt.NDArray[np.int64] | npt.NDArray[np.uint8]:
    """Stored actions (copied) in the types handed out: int64 numbers, or uint8 multi-hot vectors."""
    return actions.astype(np.uint8) if actions.dtype == np.uint8 else actions.astype(np.int64)
