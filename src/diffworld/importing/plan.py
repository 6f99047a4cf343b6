"""Which frames of a recording become rows of the data set, and what was done on each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffworld.importing.controls import ROUNDING, Bools, Floats, Ints, Steps
from diffworld.importing.recording import BadRecording, Footage
from diffworld.runtime.errors import UserError

LONGEST = 1000
"""Steps of an episode where the recording does not say when one ends: so there are some to set aside for tests."""


@dataclass(frozen=True)
class Cut:
    """A stretch to leave out, in seconds (or frames, where there is no clock), of the recordings whose name it has."""

    text: str
    begin: float
    end: float
    recording: str = ""

    @classmethod
    def parse(cls, text: str) -> Cut:
        """From "12.5-30", "300-" or "NAME@0-5"; UserError for anything else."""
        name, _, stretch = text.rpartition("@")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)?", stretch)
        if match is None or (match[2] and float(match[2]) <= float(match[1])):
            raise UserError(f"--cut is '{text}': give FROM-TO in seconds, such as 0-12.5, 300- or clip.mp4@0-5")
        return cls(text, float(match[1]), float(match[2] or "inf"), name)

    def covers(self, name: str, begin: Floats, end: Floats) -> Bools:
        """Which stretches of time of a recording it touches."""
        mine = not self.recording or name == self.recording or name.endswith("/" + self.recording)
        return mine & (begin < self.end) & (end > self.begin)


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows of a data set from one recording, episode after episode; the last row of each has a frame and no action.

    picks: place of each row's frame in the recording, not decreasing. steps: what was done, row by row. rewards,
    terminated: of each row's step. last: whether the row is its episode's last, a final observation.
    lost: what had to go or to be changed, and how often.
    """

    picks: Ints
    steps: Steps
    rewards: Floats
    terminated: Bools
    last: Bools
    knows_rewards: bool
    knows_ends: bool
    lost: dict[str, int]

    def __len__(self) -> int:
        return len(self.picks)


def plan_rows(name: str, footage: Footage, fps: float, shift: int, cuts: Sequence[Cut]) -> Rows:
    """The rows of a recording at `fps` steps a second (without a clock: a step a frame).

    `shift`: the action of step t is the one logged for step t + shift; rewards and ends stay where they are.
    BadRecording if no step is left.
    """
    if len(footage.times) < 2:
        raise BadRecording(f"it has {'one frame' if len(footage.times) else 'no frames'}, and a step needs two")
    if not len(footage.controls.times):
        raise BadRecording("its log covers none of its frames")
    picks, edges = _grid(footage, fps)
    count = len(picks)
    steps = footage.controls.between(_shifted(edges, shift, 1 / fps if footage.clock else 1.0))
    told = footage.controls.outcomes(edges)
    none = np.zeros(count, np.bool_)
    kept = ~np.any([none, *(cut.covers(name, edges[:-1], edges[1:]) for cut in cuts)], axis=0)
    terminated = none if told.terminated is None else told.terminated
    stops = terminated if told.truncated is None else terminated | told.truncated
    # The frame after an end shows the next episode, unless it is the very last one and no action belongs to it.
    known_final = none.copy()
    known_final[-2:-1] = not footage.controls.between(edges[-2:]).known[0]
    leads_on = kept & np.append(kept[1:], False) & (~stops | known_final)
    leads_on[-1] = False
    whole = footage.whole or told.terminated is not None
    episodes = _episodes(leads_on & steps.known & _same_episode(stops, shift), None if whole else LONGEST)
    if not episodes:
        raise BadRecording(_why_empty(count, kept, steps.known))
    places = np.concatenate([np.arange(first, last + 1) for first, last in episodes])
    ends = np.cumsum([last - first + 1 for first, last in episodes]) - 1
    last_rows = np.zeros(len(places), np.bool_)
    last_rows[ends] = True
    rewards = none.astype(np.float64) if told.rewards is None else told.rewards
    row_rewards, row_terminated = np.where(last_rows, 0.0, rewards[places]), ~last_rows & terminated[places]
    folded = ends[stops[places[ends]] & ~known_final[places[ends]]]
    row_rewards[folded - 1] += rewards[places[folded]]
    row_terminated[folded - 1] |= terminated[places[folded]]
    lost = {
        "frames cut out": int((~kept).sum()),
        "frames without a logged action": int((leads_on & ~steps.known).sum()),
        "entries of a log after the last frame": footage.controls.beyond(float(edges[-1])),
        "numbers that are none, taken as the one before or as no movement": steps.repaired,
        "ends without their last frame, told a step earlier": int(terminated[places[folded]].sum()),
    }
    return Rows(
        picks[places],
        steps.take(places),
        row_rewards,
        row_terminated,
        last_rows,
        told.rewards is not None,
        told.terminated is not None,
        {reason: number for reason, number in lost.items() if number},
    )


def _grid(footage: Footage, fps: float) -> tuple[Ints, Floats]:
    """The frame of each of K steps, and (K + 1,) since when each of them is seen.

    The frame is the last one before a beat of the speed, or up to half a frame after it, which evens out a clock that
    is not quite regular. A step lasts from its frame to the next step's, so that what was done falls between the frames
    that show it.
    """
    times = footage.times
    if not footage.clock:
        return np.arange(len(times)), np.arange(len(times) + 1, dtype=np.float64)
    half = max(ROUNDING, 0.5 / (footage.rate or np.inf))
    beats = np.arange(int((times[-1] + half) * fps) + 1) / fps
    picks = np.searchsorted(times, beats + half, "right") - 1
    return picks, np.append(times[picks], times[picks[-1]] + 1 / fps)


def _shifted(edges: Floats, shift: int, width: float) -> Floats:
    """The edges of the steps so many later; beyond the ends of the recording they are `width` apart."""
    around = width * np.arange(1, abs(shift) + 1)
    longer = np.concatenate([edges[0] - around[::-1], edges, edges[-1] + around])
    return longer[abs(shift) + shift :][: len(edges)]


def _same_episode(stops: Bools, shift: int) -> Bools:
    """Whether the step that a shifted action was logged for is of the same episode."""
    number = np.concatenate([[0], np.cumsum(stops)[:-1]])
    other = np.clip(np.arange(len(stops)) + shift, 0, len(stops) - 1)
    return number == number[other]


def _episodes(taken: Bools, longest: int | None) -> list[tuple[int, int]]:
    """(first, last) frame of each stretch of steps that follow each other, longer ones in parts of about the same
    length, each of which begins on the last frame of the one before."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], taken, [False]]).astype(np.int8)))
    found = []
    for first, last in change.reshape(-1, 2).tolist():
        parts = -(-(last - first) // (longest or last))
        bounds = np.linspace(first, last, parts + 1).round().astype(int).tolist()
        found += list(zip(bounds[:-1], bounds[1:], strict=True))
    return found


def _why_empty(count: int, kept: Bools, known: Bools) -> str:
    """In words, why no step is left."""
    if count < 2:
        return "it is shorter than a step"
    if not kept.any():
        return "all of it is cut out"
    return "its log covers none of its frames" if not known.any() else "no two frames that follow each other are left"
