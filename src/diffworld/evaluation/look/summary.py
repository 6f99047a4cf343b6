"""What is in a data set: hours, episodes, what is pressed how often, what the frames look like, and what is odd."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffworld.data import Dataset
from diffworld.data.episodes import widen
from diffworld.game import ActionSpace, Keys
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame
from diffworld.runtime.progress import duration

BLACK, ALIKE = 16, 16
"""A frame whose brightest value is below is black; two whose largest difference is below are the same. The largest, as
a small thing that moves changes little of a frame."""
SHORT, SELDOM, OFTEN = 5, 0.001, 0.3
"""Frames of a short episode; shares from which on keys are pressed seldom, and frames repeat often."""
TILES, COLUMNS, TILE = 24, 6, 160  # of the contact sheet: pictures, a row, pixels of each in height
MOST = 100_000
"""Frames that are looked at, about."""
_BYTES = 2**25  # of frames that are looked at in one go
_LETTERS = range(13, 7, -1)  # sizes that text under a frame may have
_INK, _PAPER = (236, 236, 236), (24, 24, 28)


@dataclass(frozen=True)
class Part:
    """One part of an action: the share of steps in which each key is down or each value is chosen."""

    title: str
    shares: dict[str, float]
    choice: bool


@dataclass(frozen=True)
class Look:
    """What was seen."""

    name: str
    size: tuple[int, int]
    steps_per_second: float
    steps: int
    lengths: NDArray[np.int64]
    ended: int
    parts: tuple[Part, ...]
    rewards: str
    black: int
    repeated: int
    looked: int
    """Frames that were looked at for these."""
    warnings: tuple[str, ...]
    sheet: bytes

    @property
    def seconds(self) -> float:
        """Of play."""
        return self.steps / self.steps_per_second

    def lines(self) -> list[str]:
        """The whole in words, for a terminal."""
        height, width = self.size
        lengths = f"{self.lengths.min():,} to {self.lengths.max():,} steps each"
        found = [
            f"{self.name}: {duration(self.seconds)} of play, {self.steps:,} steps, {self.steps_per_second:g} a second",
            f"{len(self.lengths):,} episodes, {lengths}; frames of {height}x{width}; {self.rewards}",
        ]
        for part in self.parts:
            shown = sorted(part.shares.items(), key=lambda item: -item[1]) if not part.choice else part.shares.items()
            found.append(f"{part.title}: {', '.join(f'{name} {share:.1%}' for name, share in shown)}")
        if self.looked < self.steps:
            found.append(f"{self.looked:,} frames from all over were looked at")
        return [*found, *(f"warning: {warning}" for warning in self.warnings)]


def look(dataset: Dataset) -> Look:
    """Look at a data set, a few frames at a time; UserError if it has no steps."""
    if not dataset.num_steps:
        raise UserError(f"{dataset.path} has no steps to look at")
    spec, episodes = dataset.spec, dataset.episodes
    black, repeated, looked = _frames(dataset)
    parts = _parts(spec.actions, dataset)
    warnings = [*_odd_actions(parts), *_odd_frames(dataset, black, repeated, looked)]
    known = [name for name, there in (("rewards", spec.rewards), ("ends", spec.ends)) if there]
    rewards = f"{' and '.join(known)} known" if known else "neither rewards nor ends known"
    if spec.rewards:
        rewards += f", {episodes.returns.mean():.4g} an episode"
    return Look(
        spec.name or dataset.path.name,
        spec.frame_size,
        spec.steps_per_second,
        dataset.num_steps,
        episodes.lengths,
        int(episodes.ended.sum()),
        parts,
        rewards,
        black,
        repeated,
        looked,
        tuple(warnings),
        _contact_sheet(dataset),
    )


def _frames(dataset: Dataset) -> tuple[int, int, int]:
    """How many frames are black, and how many are the same as the one before in their episode; of how many.

    Of more than `MOST` frames stretches from all over are looked at.
    """
    black = repeated = looked = 0
    at_once = max(1, _BYTES // dataset.schema.frame_bytes)
    every, stretch = -(-dataset.num_steps // MOST), 0
    for place in range(len(dataset.episodes)):
        rows, last = dataset.episodes.rows(place), None
        for start in range(0, len(rows), at_once):
            stretch += 1
            if (stretch - 1) % every:
                last = None
                continue
            frames = dataset.gather_frames(rows[start : start + at_once])
            looked += len(frames)
            black += int((frames.max(axis=(1, 2, 3)) < BLACK).sum())
            before = frames[:-1] if last is None else np.concatenate([last, frames[:-1]])
            change = np.abs(frames[len(frames) - len(before) :].astype(np.int16) - before)
            repeated += int((change.max(axis=(1, 2, 3)) < ALIKE).sum())
            last = frames[-1:]
    return black, repeated, looked


def _parts(actions: ActionSpace, dataset: Dataset) -> tuple[Part, ...]:
    """The shares of all keys and values."""
    stored = widen(dataset.episodes.records["action"][dataset.episodes.step_rows])
    if actions.is_discrete:
        means = np.bincount(stored, minlength=actions.size) / len(stored)
    else:
        means = stored.mean(axis=0)
    found, start = [], 0
    for part in actions.parts:
        mine = means[start : start + part.size].tolist()
        keys = isinstance(part, Keys)
        names = part.names if isinstance(part, Keys) else part.values
        title = "keys" if isinstance(part, Keys) else part.name
        found.append(Part(title, dict(zip(names, mine, strict=True)), not keys))
        start += part.size
    return tuple(found)


def _odd_actions(parts: tuple[Part, ...]) -> list[str]:
    found = []
    for part in parts:
        if part.choice:
            often = max(part.shares, key=lambda name: part.shares[name])
            if part.shares[often] == 1:
                found.append(f"{part.title} is always {often}: a model cannot learn what it does")
            elif missing := [name for name, share in part.shares.items() if not share]:
                found.append(f"{part.title} is never {', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}")
            continue
        for said, low, high in (
            ("never pressed", 0.0, 0.0),
            (f"pressed in less than {SELDOM:.1%} of the steps: too seldom to learn", 1e-12, SELDOM),
            ("always pressed: stuck, or no key of the game", 1.0, 1.0),
        ):
            if names := [name for name, share in part.shares.items() if low <= share <= high]:
                found.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {said}")
    return found


def _odd_frames(dataset: Dataset, black: int, repeated: int, looked: int) -> list[str]:
    episodes, found = dataset.episodes, []
    if black:
        found.append(f"{black:,} frames ({black / looked:.1%}) are black: loading screens can be cut out (--cut)")
    if repeated > OFTEN * looked:
        found.append(
            f"{repeated / looked:.0%} of the frames are the same as the one before: in a game that waits for "
            "its player as it should be; in another, would fewer a second do?"
        )
    if short := int((episodes.lengths < SHORT).sum()):
        found.append(f"{short:,} of {len(episodes):,} episodes have fewer than {SHORT} steps, less than a context")
    if len(episodes) == 1:
        found.append("there is one episode alone: nothing can be set aside to measure on")
    return found


def _contact_sheet(dataset: Dataset) -> bytes:
    """A PNG of frames from all over the data set, each over what was done on it."""
    rows = dataset.episodes.step_rows
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, TILES).round().astype(np.int64))]
    frames, actions = dataset.gather_frames(rows), widen(dataset.episodes.records["action"][rows])
    height, width = dataset.spec.frame_size
    scale = max(1, TILE // height)
    size, label = (width * scale, height * scale), 20
    across, gap = min(COLUMNS, len(rows)), 6
    down = -(-len(rows) // across)
    sheet = Image.new("RGB", (across * (size[0] + gap) + gap, down * (size[1] + label + gap) + gap), _PAPER)
    for place, (frame, action) in enumerate(zip(frames, actions, strict=True)):
        left, top = gap + place % across * (size[0] + gap), gap + place // across * (size[1] + label + gap)
        sheet.paste(_tile(frame, scale, dataset.spec.actions.describe(action), label), (left, top))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _tile(frame: Frame, scale: int, text: str, label: int) -> Image.Image:
    """A frame, enlarged, over a line of text, which is made smaller and then cut where it is longer than that."""
    picture = Image.fromarray(frame.repeat(scale, axis=0).repeat(scale, axis=1))
    tile = Image.new("RGB", (picture.width, picture.height + label), _PAPER)
    tile.paste(picture)
    fonts = [ImageFont.load_default(size) for size in _LETTERS]
    font = next((font for font in fonts if font.getlength(text) <= picture.width - 4), fonts[-1])
    ImageDraw.Draw(tile).text((2, picture.height + label // 2), text, fill=_INK, font=font, anchor="lm")
    return tile
