"""Does a dream obey? How much its next frame depends on the action, for each action, against chance.

From places in real episodes the next frame is drawn twice, with the same noise: for the action that was taken, and for
one that differs in a single key, or in the value of a single choice. The model obeys where the first is nearer to the
frame that really came. Equal distances count half.

A model that ignores actions draws the same frame twice and has exactly 1/2. So has, on the whole, a model whose frames
are good or bad by action alone: a key counts as often pressed as not, and each two values of a choice stand against
each other both ways. A world of two stages is judged by its small frames: the upsampler sees no action.

Of a choice of numbers, such as a mouse's way, the opposite number is put in place of the one chosen, too: left for
right. After several steps: both dreams go on in their own frames, the one with the actions taken, the other with all of
them changed alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
AFTER = (1, 2, 4, 8)
"""Steps after which the two dreams are compared, where they go on."""
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
    """What was found: on the whole, each action counting alike, and by action; of choices of numbers against the
    opposite one; and how much frames change anyway."""

    whole: Obeyed
    actions: Mapping[str, Obeyed]
    opposites: Mapping[str, Obeyed]
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
        found += [f"  {name}, against the opposite way: {obeyed}" for name, obeyed in self.opposites.items()]
        sure = {name: obeyed for name, obeyed in self.actions.items() if obeyed.low > CHANCE}
        if sure:
            found.append(f"  obeyed: {', '.join(f'{name} {obeyed.share:.0%}' for name, obeyed in sure.items())}")
        if unsure := [name for name in self.actions if name not in sure]:
            found.append(f"  not told from chance: {', '.join(unsure)}: it does nothing there, or was not learnt")
        if self.left_out:
            found.append(f"  too seldom or too often to judge: {', '.join(self.left_out)}")
        if self.whole.low <= CHANCE:
            found.append(
                "warning: on the whole the dream does not follow the actions: do they belong to their frames "
                "(diffworld data DATA --check-alignment)? Was it trained for long enough?"
            )
        return found


@dataclass(frozen=True, eq=False)
class _Cases:
    """N comparisons of one kind: `rows` (N, n + k) of n frames and those of the k steps after them; and the `other`
    encoded actions (N, k) or (N, k, A), in place of those that were taken at these steps."""

    name: str
    opposite: bool
    rows: NDArray[np.int64]
    other: NDArray[Any]


_Sides = list[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Of one action, of each of its sides: 1 where the action taken was nearer (N,), and levels between the two (N,)."""


def obedience(
    world: WorldModel[Any],
    dataset: Dataset,
    among: NDArray[np.bool_] | None,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
) -> Obedience:
    """Measure it on the next frame; see `obedience_by_step`."""
    return obedience_by_step(world, dataset, among, device, advance, (1,))[1]


@torch.no_grad()
def obedience_by_step(
    world: WorldModel[Any],
    dataset: Dataset,
    among: NDArray[np.bool_] | None,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
    steps: Sequence[int] = AFTER,
) -> dict[int, Obedience]:
    """Measure it after so many steps each, on the episodes in `among` (E,), or on all; the same at every call on the
    same data.

    `advance` is called with comparisons made. UserError where no action can be judged.
    """
    space, records, first = dataset.spec.actions, dataset.episodes.records, world.first_stage
    n = first.context_frames
    rows = _places(dataset, among, n + max(steps))
    cases, left_out = _choose(space, widen(records["action"][rows[:, n - 1 : -1]]), rows)
    if not cases:
        raise UserError("no action occurs often enough, and is missing often enough, to tell whether it is obeyed")
    noise = generator_noise(torch.Generator(device).manual_seed(0))
    found: dict[int, dict[tuple[bool, str], _Sides]] = {step: {} for step in steps}
    changes: dict[int, list[NDArray[np.float64]]] = {step: [] for step in steps}
    for case in cases:
        parts: dict[int, _Sides] = {step: [] for step in steps}
        for start in range(0, len(case.rows), _BATCH):
            part = slice(start, start + _BATCH)
            frames = world.seen(frames_from_bytes(torch.from_numpy(dataset.gather_frames(case.rows[part])).to(device)))
            taken = torch.from_numpy(widen(records["action"][case.rows[part, :-1]])).to(device)
            other = torch.from_numpy(case.other[part]).to(device)
            for step, compared in _compare(first, frames, taken, other, noise):
                if step in parts:
                    parts[step].append(compared)
                    changes[step].append(_difference(frames[:, n + step - 1], frames[:, n - 1]))
            advance(len(frames))
        for step, of_parts in parts.items():
            won, by = (np.concatenate(each) for each in zip(*of_parts, strict=True))
            found[step].setdefault((case.opposite, case.name), []).append((won, by))
    return {step: _judged(found[step], tuple(left_out), np.concatenate(changes[step])) for step in steps}


def comparisons(space: ActionSpace) -> int:
    """The most comparisons that are made of actions of a space."""
    return 2 * CASES * (min(space.size, MOST_ACTIONS) + len(space.parts))


def _compare(
    world: WorldModel[Any], frames: Tensor, taken: Tensor, other: Tensor, noise: Randn
) -> Iterator[tuple[int, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """After each step: (N,) 1 where the actions taken drew the nearer frame, 0 where the others did; (N,) levels
    between the two."""
    count, n = len(frames), world.context_frames

    def twice(shape: tuple[int, ...]) -> Tensor:
        return torch.cat([drawn := noise((count, *shape[1:])), drawn])

    state = world.start(frames[:, :n].repeat(2, 1, 1, 1, 1), torch.cat([taken[:, :n], taken[:, :n]]))
    for step in range(1, other.shape[1] + 1):
        state, drawn = world.step(state, torch.cat([taken[:, n + step - 2], other[:, step - 1]]), twice)
        mine, others = drawn.frames.float().split(count)
        near, far = (_difference(drawn, frames[:, n + step - 1], squared=True) for drawn in (mine, others))
        yield step, (np.where(near == far, 0.5, near < far).astype(np.float64), _difference(mine, others))


def _judged(
    sides: Mapping[tuple[bool, str], _Sides], left_out: tuple[str, ...], change: NDArray[np.float64]
) -> Obedience:
    actions, opposites = (
        {name: of_one for (opposite, name), of_one in sides.items() if opposite is wanted} for wanted in (False, True)
    )
    return Obedience(
        _obeyed(list(actions.values())),
        {name: _obeyed([of_one]) for name, of_one in actions.items()},
        {name: _obeyed([of_one]) for name, of_one in opposites.items()},
        left_out,
        float(change.mean()),
    )


def _difference(first: Tensor, second: Tensor, squared: bool = False) -> NDArray[np.float64]:
    """(N,) mean difference of frames (N, 3, H, W), in levels of 255 or their squares."""
    apart = (first.double() - second.double()) * LEVELS
    return (apart.square() if squared else apart.abs()).mean(dim=(1, 2, 3)).cpu().numpy()


def _obeyed(actions: list[_Sides]) -> Obeyed:
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


def _places(dataset: Dataset, among: NDArray[np.bool_] | None, length: int) -> NDArray[np.int64]:
    """(P, length) rows of frames that follow on each other, of all places that have as many."""
    episodes = dataset.episodes
    found = [np.zeros((0, length), np.int64)]
    for place in np.arange(len(episodes)) if among is None else np.flatnonzero(among):
        rows = episodes.rows(int(place))
        if episodes.ended[place]:
            rows = np.append(rows, episodes.final_rows[place])
        if len(rows) >= length:
            found.append(np.lib.stride_tricks.sliding_window_view(rows, length))
    return np.concatenate(found)


def _choose(space: ActionSpace, taken: NDArray[Any], rows: NDArray[np.int64]) -> tuple[list[_Cases], list[str]]:
    """What is compared where, given the actions taken (P, k) or (P, k, A); and names that cannot be judged."""
    rng = np.random.default_rng(0)
    bits = taken[..., None] == np.arange(space.size) if space.is_discrete else taken.astype(np.bool_)
    first = bits[:, 0]  # what is judged is the first step's; the later ones go along
    counts = first.sum(axis=0)
    common = np.sort(np.argsort(-counts, kind="stable")[:MOST_ACTIONS])
    cases = list[_Cases]()
    contrasts = [(False, *each) for each in _contrasts(space, first, [int(place) for place in common])]
    for opposite, name, holds, others in [*contrasts, *((True, *each) for each in _opposites(space, first))]:
        at = np.flatnonzero(holds)
        if len(at) < FEWEST or not others:
            continue
        at = np.sort(rng.choice(at, CASES, replace=False)) if len(at) > CASES else at
        drawn = rng.integers(len(others), size=len(at))
        changed = np.stack([[others[which](each) for each in bits[p]] for which, p in zip(drawn, at, strict=True)])
        differs = (changed[:, 0] != first[at]).any(axis=1)
        if differs.sum() >= FEWEST:
            other = changed.argmax(axis=-1) if space.is_discrete else changed.astype(np.uint8)
            cases.append(_Cases(name, opposite, rows[at[differs]], other[differs]))
    sides = Counter((case.opposite, case.name) for case in cases)
    keys = {name for part in space.parts if isinstance(part, Keys) for name in part.names}
    judged = {each for each, count in sides.items() if count == 1 + (each[0] or each[1] in keys)}
    left_out = [name for name in space.names if (False, name) not in judged]
    return [case for case in cases if (case.opposite, case.name) in judged], left_out


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


def _opposites(space: ActionSpace, bits: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_], list[Change]]]:
    """Of each choice of numbers where (P,) one below zero was chosen, and where one above, and its opposite instead."""
    for start, part in _parts(space):
        numbers = () if isinstance(part, Keys) else part.numbers
        places = {number: place for place, number in enumerate(numbers)}
        opposite = [places.get(-number, place) for place, number in enumerate(numbers)]
        for sign in (-1, 1):
            ours = [start + place for place, number in enumerate(numbers) if number * sign > 0 and -number in places]
            if ours:
                yield part.name, np.asarray(bits[:, ours].any(axis=1)), [_with_opposite(start, opposite)]


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


def _with_opposite(start: int, opposite: list[int]) -> Change:
    def change(action: NDArray[np.bool_]) -> NDArray[np.bool_]:
        changed = action.copy()
        changed[start : start + len(opposite)] = action[start:][opposite]
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
    opposites = {f"{name}, the opposite way": obeyed for name, obeyed in found.opposites.items()}
    bars = {"all actions alike": found.whole, **opposites, **found.actions}
    figure = padded_figure(8, 1.1 + 0.28 * len(bars), 0.1, 0.1)
    axes = figure.subplots()
    shares = np.array([[obeyed.share, obeyed.low, obeyed.high] for obeyed in bars.values()]).T
    places = np.arange(len(bars))
    axes.barh(
        places,
        shares[0],
        color=["#222222", *["#009E73"] * len(opposites), *["#0072B2"] * len(found.actions)],
        height=0.7,
    )
    axes.hlines(places, shares[1], shares[2], color="#E69F00", linewidth=2)
    axes.axvline(CHANCE, color="#D55E00", linestyle="--", linewidth=1.2)
    axes.text(CHANCE, -0.75, "chance", color="#D55E00", ha="center", va="bottom", fontsize=9)
    axes.set_yticks(places, [name.replace("$", r"\$") for name in bars])
    axes.set_ylim(len(bars) - 0.4, -0.8)
    axes.set_xlim(0, 1)
    finish(axes, title, "", "")
    axes.set_xlabel("how often the true action's frame is nearer to what came than another action's")
    write_png(figure, path)


def by_step_lines(found: Mapping[int, Obedience]) -> list[str]:
    """In words, for a terminal: on the whole and against the opposite way, after each number of steps."""
    if not found:
        return []

    def said(name: str, judged: list[Obeyed]) -> str:
        after = ", ".join(f"{step}: {each}" for step, each in zip(found, judged, strict=True))
        return f"  {name}, after steps {after}"

    lines = ["does it obey? how often the actions taken drew the nearer frame; chance is 50%"]
    lines.append(said("all actions alike", [each.whole for each in found.values()]))
    for name in found[max(found)].opposites:
        lines.append(said(f"{name}, against the opposite way", [each.opposites[name] for each in found.values()]))
    return lines


def draw_by_step(found: Mapping[int, Obedience], path: Path | str, title: str) -> None:
    """Draw how often the actions taken were nearer after each number of steps, and how far the two dreams are apart
    beside how much the true frames change; PNG."""
    steps, last = list(found), found[max(found)]
    figure = padded_figure(11, 4.4, 0.1, 0.1)
    shares, apart = figure.subplots(1, 2)
    lines = {
        "all actions alike": ([each.whole for each in found.values()], "#222222"),
        **{
            f"{name}, against the opposite way": ([each.opposites[name] for each in found.values()], colour)
            for name, colour in zip(last.opposites, ("#009E73", "#CC79A7", "#D55E00", "#56B4E9"), strict=False)
        },
    }
    for name, (judged, colour) in lines.items():
        share, low, high = np.array([[each.share, each.low, each.high] for each in judged]).T
        shares.errorbar(steps, share, [share - low, high - share], color=colour, marker="o", capsize=3, label=name)
        apart.plot(steps, [each.moved for each in judged], color=colour, marker="o", label=name)
    shares.axhline(CHANCE, color="#D55E00", linestyle="--", linewidth=1.2, label="chance")
    apart.plot(steps, [each.change for each in found.values()], color="#999999", linestyle="--", label="true frames")
    shares.set_ylim(0, 1.04)
    apart.set_ylim(0)
    finish(shares, title, "how often the actions taken are nearer", "")
    finish(apart, "How far apart the two dreams are", "levels of 255", "")
    for axes in (shares, apart):
        axes.set_xlabel("steps dreamt")
        axes.set_xticks(steps)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    write_png(figure, path)
