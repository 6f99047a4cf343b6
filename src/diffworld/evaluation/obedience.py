"""Does a dream obey? How much its next frame depends on the action, for each action, against chance.

From places in real episodes the next frame is drawn twice, with the same noise: for the action that was taken, and for
one that differs in a single key, or in the value of a single choice. The model obeys where the first is nearer to the
frame that really came. Equal distances count half.

A model that ignores actions draws the same frame twice and has exactly 1/2. So has, on the whole, a model whose frames
are good or bad by action alone: a key counts as often pressed as not, and each two values of a choice stand against
each other both ways. A world of two stages is judged by its small frames: the upsampler sees no action.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.data import Dataset
from diffworld.data.episodes import widen
from diffworld.evaluation.plots import finish, padded_figure, write_png
from diffworld.game import ActionSpace, Keys
from diffworld.models.diffusion import Randn
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import frames_from_bytes
from diffworld.world import WorldModel
from diffworld.world.noise import generator_noise

CASES = 40
"""Places at which an action is judged, of a key as many where it is down as where it is not."""
FEWEST = 8
"""An action that occurs less often, or is missing less often, is not judged."""
MOST_ACTIONS = 40
"""The commonest so many actions are judged."""
CHANCE, LEVELS = 0.5, 127.5
_Z, _BATCH = 1.96, 32  # of a 95 % interval; cases that are drawn at once


@dataclass(frozen=True)
class Obeyed:
    """How often the true action's frame was the nearer one, with a 95 % interval; 0.5 is chance.

    moved: by how many levels of 255 a pixel of the two frames differed, on average.
    """

    share: float
    low: float
    high: float
    moved: float
    cases: int

    def __str__(self) -> str:
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Obedience:
    """What was found: on the whole, each action counting alike, and by action; and how much frames change anyway."""

    whole: Obeyed
    actions: Mapping[str, Obeyed]
    left_out: tuple[str, ...]
    change: float

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "chance": CHANCE}

    def lines(self) -> list[str]:
        """In words, for a terminal."""
        found = [
            f"does it obey? the true action's frame is nearer to what came than another action's in {self.whole} of "
            f"cases; chance is {CHANCE:.0%}"
        ]
        sure = {name: obeyed for name, obeyed in self.actions.items() if obeyed.low > CHANCE}
        if sure:
            found.append(f"  obeyed: {', '.join(f'{name} {obeyed.share:.0%}' for name, obeyed in sure.items())}")
        if unsure := [name for name in self.actions if name not in sure]:
            found.append(f"  not told from chance: {', '.join(unsure)}: it does nothing there, or was not learnt")
        if self.left_out:
            found.append(f"  too seldom or too often to judge: {', '.join(self.left_out)}")
        if self.whole.low <= CHANCE:
            found.append(
                "warning: the dream does not follow the actions: do they belong to their frames "
                "(diffworld data DATA --check-alignment)? Was it trained for long enough?"
            )
        return found


@dataclass(frozen=True, eq=False)
class _Cases:
    """N comparisons of one kind: `rows` (N, n + 1) of the frames, the last one the next; encoded actions that were
    taken on the first n, and the `other` that is put in place of the last of these."""

    name: str
    rows: NDArray[np.int64]
    other: NDArray[Any]


@torch.no_grad()
def obedience(
    world: WorldModel[Any],
    dataset: Dataset,
    among: NDArray[np.bool_] | None,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
) -> Obedience:
    """Measure it on the episodes in `among` (E,), or on all; the same at every call on the same data.

    `advance` is called with comparisons made. UserError where no action can be judged.
    """
    space, records = dataset.spec.actions, dataset.episodes.records
    rows = _places(dataset, among, world.context_frames)
    cases, left_out = _choose(space, widen(records["action"][rows[:, -2]]), rows)
    if not cases:
        raise UserError("no action occurs often enough, and is missing often enough, to tell whether it is obeyed")
    noise = generator_noise(torch.Generator(device).manual_seed(0))
    sides: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    changes = []
    for case in cases:
        nearer, moved = [], []
        for start in range(0, len(case.rows), _BATCH):
            part = slice(start, start + _BATCH)
            frames = world.seen(frames_from_bytes(torch.from_numpy(dataset.gather_frames(case.rows[part])).to(device)))
            taken = torch.from_numpy(widen(records["action"][case.rows[part, :-1]])).to(device)
            other = torch.from_numpy(case.other[part]).to(device)
            won, by = _compare(world.first_stage, frames, taken, other, noise)
            nearer.append(won)
            moved.append(by)
            changes.append(_difference(frames[:, -1], frames[:, -2]))
            advance(len(won))
        sides.setdefault(case.name, []).append((np.concatenate(nearer), np.concatenate(moved)))
    found = {name: _obeyed([sides[name]]) for name in sides}
    return Obedience(_obeyed(list(sides.values())), found, tuple(left_out), float(np.concatenate(changes).mean()))


def comparisons(space: ActionSpace) -> int:
    """The most comparisons that are made of actions of a space."""
    return 2 * CASES * min(space.size, MOST_ACTIONS)


def _compare(
    world: WorldModel[Any], frames: Tensor, taken: Tensor, other: Tensor, noise: Randn
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) 1 where the action taken drew the nearer frame, 0 where the other one did; (N,) levels between the two."""
    count = len(frames)

    def twice(shape: tuple[int, ...]) -> Tensor:
        return torch.cat([drawn := noise((count, *shape[1:])), drawn])

    past, actions = frames[:, :-1], torch.cat([taken[:, -1], other])
    _, drawn = world.step(world.start(torch.cat([past, past]), torch.cat([taken, taken])), actions, twice)
    mine, others = drawn.frames.float().split(count)
    near, far = (_difference(drawn, frames[:, -1], squared=True) for drawn in (mine, others))
    return np.where(near == far, 0.5, near < far).astype(np.float64), _difference(mine, others)


def _difference(first: Tensor, second: Tensor, squared: bool = False) -> NDArray[np.float64]:
    """(N,) mean difference of frames (N, 3, H, W), in levels of 255 or their squares."""
    apart = (first.double() - second.double()) * LEVELS
    return (apart.square() if squared else apart.abs()).mean(dim=(1, 2, 3)).cpu().numpy()


def _obeyed(actions: list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]]) -> Obeyed:
    """The mean over actions of the mean over an action's sides, each with the numbers of its cases.

    Of each side two cases more of either outcome (Agresti and Coull 1998), so that few cases are never sure.
    """
    share = variance = moved = 0.0
    for sides in actions:
        for won, by in sides:
            weight = 1 / (len(actions) * len(sides))
            likely = (won.sum() + 2) / (len(won) + 4)
            share += weight * float(won.mean())
            moved += weight * float(by.mean())
            variance += weight**2 * likely * (1 - likely) / (len(won) + 4)
    error = _Z * math.sqrt(variance)
    count = sum(len(won) for sides in actions for won, _ in sides)
    return Obeyed(share, max(0.0, share - error), min(1.0, share + error), moved, count)


def _places(dataset: Dataset, among: NDArray[np.bool_] | None, n: int) -> NDArray[np.int64]:
    """(P, n + 1) rows of n frames and the one they led to, of all places that have as many."""
    episodes = dataset.episodes
    found = [np.zeros((0, n + 1), np.int64)]
    for place in np.arange(len(episodes)) if among is None else np.flatnonzero(among):
        rows = episodes.rows(int(place))
        if episodes.ended[place]:
            rows = np.append(rows, episodes.final_rows[place])
        if len(rows) > n:
            found.append(np.lib.stride_tricks.sliding_window_view(rows, n + 1))
    return np.concatenate(found)


def _choose(space: ActionSpace, taken: NDArray[Any], rows: NDArray[np.int64]) -> tuple[list[_Cases], list[str]]:
    """What is compared where, given the actions taken (P,) or (P, A); and names that cannot be judged."""
    rng = np.random.default_rng(0)
    bits = taken[:, None] == np.arange(space.size) if space.is_discrete else taken.astype(np.bool_)
    counts = bits.sum(axis=0)
    common = np.sort(np.argsort(-counts, kind="stable")[:MOST_ACTIONS])
    cases = list[_Cases]()
    for name, holds, others in _contrasts(space, bits, [int(place) for place in common]):
        at = np.flatnonzero(holds)
        if len(at) < FEWEST or not others:
            continue
        at = np.sort(rng.choice(at, CASES, replace=False)) if len(at) > CASES else at
        drawn = rng.integers(len(others), size=len(at))
        changed = np.stack([others[which](bits[place]) for which, place in zip(drawn, at, strict=True)])
        differs = (changed != bits[at]).any(axis=1)
        if differs.sum() >= FEWEST:
            other = changed.argmax(axis=1) if space.is_discrete else changed.astype(np.uint8)
            cases.append(_Cases(name, rows[at[differs]], other[differs]))
    sides = Counter(case.name for case in cases)
    keys = {name for part in space.parts if isinstance(part, Keys) for name in part.names}
    judged = {name for name, count in sides.items() if count == 1 + (name in keys)}
    return [case for case in cases if case.name in judged], [name for name in space.names if name not in judged]


Change = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
"""An action (A,) as zeros and ones, changed."""


def _contrasts(
    space: ActionSpace, bits: NDArray[np.bool_], common: list[int]
) -> Iterator[tuple[str, NDArray[np.bool_], list[Change]]]:
    """Name of an action, where (P,) it is judged, and what may be put in its place: of a key two, down and up."""
    for start, part in _parts(space):
        stop = start + part.size
        mine = [place for place in common if start <= place < stop]
        occur = [place for place in mine if bits[:, place].sum() >= FEWEST]
        for place in mine:
            if isinstance(part, Keys):
                for down in (True, False):
                    yield space.names[place], bits[:, place] == down, [_with_key(part, start, place, not down)]
            else:
                others = [_with_value(start, stop, other) for other in occur if other != place]
                yield space.names[place], bits[:, place], others


def _with_key(part: Keys, start: int, place: int, down: bool) -> Change:
    def change(action: NDArray[np.bool_]) -> NDArray[np.bool_]:
        changed = action.copy()
        changed[place] = down
        for first, second in part.conflicts:
            changed[start + second] &= not changed[start + first]
        return changed

    return change


def _with_value(start: int, stop: int, value: int) -> Change:
    def change(action: NDArray[np.bool_]) -> NDArray[np.bool_]:
        changed = action.copy()
        changed[start:stop] = np.arange(start, stop) == value
        return changed

    return change


def _parts(space: ActionSpace) -> Iterator[tuple[int, Any]]:
    """Each part and the place of its first number."""
    start = 0
    for part in space.parts:
        yield start, part
        start += part.size


def draw_obedience(found: Obedience, path: Path | str, title: str) -> None:
    """Draw it as bars, an action each, with their intervals and the line of chance; PNG."""
    bars = {"all actions alike": found.whole, **found.actions}
    figure = padded_figure(8, 1.1 + 0.28 * len(bars), 0.1, 0.1)
    axes = figure.subplots()
    shares = np.array([[obeyed.share, obeyed.low, obeyed.high] for obeyed in bars.values()]).T
    places = np.arange(len(bars))
    axes.barh(places, shares[0], color=["#222222", *["#0072B2"] * len(found.actions)], height=0.7)
    axes.hlines(places, shares[1], shares[2], color="#E69F00", linewidth=2)
    axes.axvline(CHANCE, color="#D55E00", linestyle="--", linewidth=1.2)
    axes.text(CHANCE, -0.75, "chance", color="#D55E00", ha="center", va="bottom", fontsize=9)
    axes.set_yticks(places, [name.replace("$", r"\$") for name in bars])
    axes.set_ylim(len(bars) - 0.4, -0.8)
    axes.set_xlim(0, 1)
    finish(axes, title, "", "")
    axes.set_xlabel("how often the true action's frame is nearer to what came than another action's")
    write_png(figure, path)
