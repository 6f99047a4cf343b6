"""Whether the actions of a data set are early or late.

What is asked: how much does the next frame say about an action that the frames before it do not? That is the mutual
information of the action and the next frame, given the past. It is largest for the action that led to the next frame:
what an earlier one did can be seen already, and a later one can only be guessed.

Two small networks guess the actions stored from `shifts` steps before a frame up to as many after it: one from the
frame and the two before it, one from these and the next frame. What the second gains on the first, in nats on steps
that neither learnt from, is the answer for each shift.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from diffworld.agents.actions import log_prob
from diffworld.data import Dataset
from diffworld.data.episodes import widen
from diffworld.data.schema import STEP
from diffworld.runtime.errors import UserError

PAST = 3
"""Frames up to now that both networks see."""
SIDE, STRETCH = 32, 250
"""Pixels to which longer sides are reduced, and steps that are read in one piece."""
MOST_STEPS, FEWEST_STEPS, FEW_TESTED = 8_000, 200, 500
UPDATES, BATCH, EVERY = 500, 48, 50
_BLOCKS, _CHUNK, _RESAMPLES = 20, 20, 1000
SURE = 0.95
"""From here on the check is sure of a shift."""
SHARE, NATS, ERRORS = 0.02, 0.005, 3.0
"""Less than any of these is nothing: of what the past leaves open, in nats, in standard errors."""


@dataclass(frozen=True)
class Alignment:
    """What the check found.

    gains: shift -> nats a step that the next frame says about the action stored so many steps later. best: the shift
    with most. sure: the share of resampled tests in which it has most. error: the standard error of its nats.
    unknown: nats that the frames before leave open.
    """

    gains: Mapping[int, float]
    best: int
    sure: float
    error: float
    unknown: float
    steps: int

    @property
    def share(self) -> float:
        """How much of what the past leaves open about an action the next frame says, 0 to 1."""
        return max(0.0, self.gains[self.best] / self.unknown) if self.unknown > 0 else 0.0

    def verdict(self, imported_shift: int = 0) -> str:
        """In words; `imported_shift` is the one that the data were imported with."""
        if self.gains[self.best] < max(SHARE * self.unknown, NATS, ERRORS * self.error):
            said = "the next frame says nothing of the actions"
            if self.steps < FEW_TESTED:
                return f"{said}, but the {self.steps:,} steps that were tested are few to tell by: record thousands"
            return f"{said}: other actions than the game's, always the same ones, or too little to be seen of them"
        said = f"the next frame says {self.share:.0%} of what the frames before leave open about the action"
        if self.sure < SURE:
            return f"which shift is right, the check cannot tell (likeliest {self.best:+d}, to {self.sure:.0%}); {said}"
        if self.best == 0:
            return f"actions belong to their frames (sure to {self.sure:.0%}); {said}"
        late = "late" if self.best > 0 else "early"
        steps = f"{abs(self.best)} step{'s' * (abs(self.best) != 1)}"
        again = f"import again with --shift {imported_shift + self.best}"
        return f"actions are {steps} {late} (sure to {self.sure:.0%}): {again}; {said}"


def check_alignment(dataset: Dataset, shifts: int = 4, advance: Callable[[int], None] = lambda _: None) -> Alignment:
    """Look for the likeliest shift from -`shifts` to `shifts`; UserError for a data set that is too small to tell.

    `advance` is called with updates made, of 2 x `UPDATES`. Same data, same answer; the caller's random state is kept.
    """
    sample = _Sample(dataset, shifts)
    with torch.random.fork_rng(devices=[]):
        past, full = (_losses(sample, sees_next, advance) for sees_next in (False, True))
    weights = sample.weights(sample.test)
    gains = (past - full) * weights
    chunks = np.arange(len(gains)) // _CHUNK
    sums, counts = (_by_chunk(values, chunks) for values in (gains, weights))
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(sums), size=len(sums)) for _ in range(_RESAMPLES))
    resampled = np.array([sums[drawn].sum(0) / np.maximum(counts[drawn].sum(0), 1) for drawn in draws])
    means = sums.sum(0) / np.maximum(counts.sum(0), 1)
    place = int(np.argmax(means))
    return Alignment(
        gains={shift: float(means[shift + shifts]) for shift in range(-shifts, shifts + 1)},
        best=place - shifts,
        sure=float(np.mean(resampled.argmax(1) == place)),
        error=float(resampled[:, place].std()),
        unknown=float((past * weights)[:, place].sum() / max(weights[:, place].sum(), 1)),
        steps=len(gains),
    )


class _Sample:
    """Stretches of steps from all over the data set, small frames and actions, divided into learning and tests."""

    def __init__(self, dataset: Dataset, shifts: int) -> None:
        self.actions = dataset.spec.actions
        self.shifts = np.arange(-shifts, shifts + 1)
        frames, actions, parts, acted = [], [], [], []
        for number, rows in enumerate(_stretches(dataset)):
            frames.append(_small(dataset.gather_frames(rows)))
            actions.append(widen(dataset.episodes.records["action"][rows]))
            parts.append(np.full(len(rows), number))
            acted.append(dataset.episodes.records["flags"][rows] & STEP != 0)
        if sum(map(len, parts)) < FEWEST_STEPS:
            raise UserError(f"{dataset.path} has too few steps to check: {sum(map(len, parts))}, not {FEWEST_STEPS}")
        self.part, self.acted = np.concatenate(parts), np.concatenate(acted)
        self.frames = torch.cat(frames)
        self.frames = (self.frames - self.frames.mean(0)) / (self.frames.std() + 1e-6)
        self.targets = torch.from_numpy(np.concatenate(actions))
        self.first = np.searchsorted(self.part, self.part, "left")
        with_next = np.flatnonzero(np.append(self.part[1:] == self.part[:-1], False))
        block = np.arange(len(with_next)) * _BLOCKS // len(with_next) % 5
        self.learn, self.choose, self.test = with_next[block < 3], with_next[block == 3], with_next[block == 4]

    def inputs(self, places: NDArray[np.int64], sees_next: bool) -> Tensor:
        """(B, C, H, W): the frame at each place, how it differs from those before, and perhaps from the next."""
        now = self.frames[places]
        earlier = [now - self.frames[np.maximum(places - i, self.first[places])] for i in range(1, PAST)]
        return torch.cat([now, *earlier, *([self.frames[places + 1] - now] if sees_next else [])], dim=1)

    def shifted(self, places: NDArray[np.int64]) -> Tensor:
        """(B, S) or (B, S, A) the actions stored around each place."""
        return self.targets[np.clip(places[:, None] + self.shifts, 0, len(self.part) - 1)]

    def weights(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, S) 1 where there is such an action in the same stretch."""
        around = places[:, None] + self.shifts
        inside = np.clip(around, 0, len(self.part) - 1)
        same = (around == inside) & (self.part[inside] == self.part[places][:, None])
        return (same & self.acted[inside]).astype(np.float32)


def _losses(sample: _Sample, sees_next: bool, advance: Callable[[int], None]) -> NDArray[np.float32]:
    """(T, S) nats on the test steps, each shift when it did best on the steps that are set aside for choosing."""
    torch.manual_seed(0)
    shifts, actions = len(sample.shifts), sample.actions
    channels = 3 * (PAST + sees_next)
    height, width = sample.frames.shape[-2:]
    network = _Guess(channels, (height, width), shifts, actions.size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    rng = np.random.default_rng(0)
    best, kept = np.full(shifts, np.inf), np.zeros((len(sample.test), shifts), np.float32)
    chosen_weights = sample.weights(sample.choose)

    def loss(places: NDArray[np.int64]) -> Tensor:
        return -log_prob(actions, network(sample.inputs(places, sees_next)), sample.shifted(places))

    def measure(places: NDArray[np.int64]) -> NDArray[np.float32]:
        network.eval()
        with torch.no_grad():
            found = torch.cat([loss(part) for part in np.array_split(places, 1 + len(places) // 256)])
        network.train()
        return found.numpy()

    for update in range(1, UPDATES + 1):
        places = rng.choice(sample.learn, BATCH)
        weights = torch.from_numpy(sample.weights(places))
        optimiser.zero_grad()
        ((loss(places) * weights).sum() / weights.sum().clamp(min=1)).backward()
        optimiser.step()
        advance(1)
        if update % EVERY == 0:
            chosen = (measure(sample.choose) * chosen_weights).sum(0) / np.maximum(chosen_weights.sum(0), 1)
            better = chosen < best
            kept[:, better] = measure(sample.test)[:, better]
            best = np.minimum(best, chosen)
    return kept


class _Guess(nn.Module):
    """Logits (B, S, A) of the actions around a frame."""

    def __init__(self, channels: int, size: tuple[int, int], shifts: int, actions: int) -> None:
        super().__init__()
        self.shape = (shifts, actions)
        self.see = nn.Sequential(
            nn.Conv2d(channels, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
        )
        features = self.see(torch.zeros(1, channels, *size)).shape[1]
        self.say = nn.Sequential(nn.Dropout(0.2), nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, shifts * actions))

    def forward(self, x: Tensor) -> Tensor:
        return self.say(self.see(x)).unflatten(1, self.shape)


def _stretches(dataset: Dataset) -> list[NDArray[np.int64]]:
    """Rows of steps that follow each other, from all over the data set, at most `MOST_STEPS` in all.

    A final observation is among them: there is nothing to guess on it, but the step before it leads there.
    """
    episodes, found = dataset.episodes, []
    for place in range(len(episodes)):
        rows = episodes.rows(place)
        if episodes.ended[place]:
            rows = np.append(rows, episodes.final_rows[place])
        found += [rows[start : start + STRETCH] for start in range(0, len(rows), STRETCH)]
    found = [rows for rows in found if len(rows) > 1]
    lengths = np.cumsum([len(rows) for rows in found])
    if len(found) and lengths[-1] > MOST_STEPS:
        wanted = np.unique(np.linspace(0, len(found) - 1, max(2, int(MOST_STEPS * len(found) / lengths[-1]))).round())
        found = [found[int(place)] for place in wanted]
    return found


def _small(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (T, H, W, 3) as (T, 3, h, w) in [0, 1], no side longer than `SIDE`."""
    x = torch.from_numpy(frames).movedim(-1, -3).float() / 255
    height, width = x.shape[-2:]
    return F.adaptive_avg_pool2d(x, (min(height, SIDE), min(width, SIDE)))


def _by_chunk(values: NDArray[np.float32], chunks: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.zeros((int(chunks[-1]) + 1, values.shape[1]))
    np.add.at(found, chunks, values)
    return found
