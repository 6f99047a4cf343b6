"""The size and the speed that an import gives its frames, where the user did not say."""

from __future__ import annotations

import math

import numpy as np

from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame

LARGEST, MULTIPLE = 64, 8
"""Pixels: the longest side by default, and what the networks divide sides by on their way down."""
CLOSE = 1.05
"""An aspect ratio off by less is kept, as far as anybody sees."""
FASTEST = 20.0
"""Steps a second that an import does not exceed by itself: DIAMOND's games are played at 15."""
USUAL_SPEED = 15.0


def parse_size(text: str) -> tuple[int, int] | None:
    """(height, width) from "64x48", None from nothing; UserError for anything else."""
    if not text:
        return None
    height, by, width = text.lower().partition("x")
    if not (by and height.isdecimal() and width.isdecimal()):
        raise UserError(f"--size is '{text}': give HxW in pixels, such as 48x64")
    found = int(height), int(width)
    if not all(8 <= side <= 1024 for side in found):
        raise UserError(f"--size is '{text}': give 8 to 1024 pixels a side")
    return found


def choose_size(height: int, width: int) -> tuple[tuple[int, int], str]:
    """The (height, width) that frames are stored with, and why.

    Frames of at most 64 pixels a side stay as they are. Others get sides in multiples of 8, at most 64: the largest
    ones that keep the aspect ratio within 5 %, or else the closest.
    """
    if max(height, width) <= LARGEST:
        return (height, width), "as recorded"
    sides = range(MULTIPLE, LARGEST + 1, MULTIPLE)

    def off(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] / size[1] * width / height))

    sizes = [(h, w) for h in sides for w in sides]
    close = [size for size in sizes if off(size) <= math.log(CLOSE)]
    best = max(close, key=lambda size: (size[0] * size[1], -off(size))) if close else min(sizes, key=off)
    why = f"from {height}x{width}: the largest in multiples of {MULTIPLE} up to {LARGEST} that keeps the aspect"
    return best, why if close else f"from {height}x{width}: the closest in multiples of {MULTIPLE} up to {LARGEST}"


def choose_speed(rate: float, tick: float | None) -> tuple[float, str]:
    """Steps a second for frames at `rate` a second, with a log of `tick` lines a second; and why.

    The slower of the two divided by a whole number, so that steps are evenly spaced, until it is at most 20.
    """
    slower = min(rate, tick) if tick else rate
    source = "the log's" if tick and tick < 0.95 * rate else "the video's"
    parts = max(1, math.ceil(slower / FASTEST - 0.01))
    speed = slower / parts
    speed = round(speed) if abs(speed / max(round(speed), 1) - 1) < 1e-3 else round(speed, 3)
    every = "" if parts == 1 else f" divided by {parts}"
    return float(speed), f"{source} {slower:.4g} a second{every}"


def fitted(size: tuple[int, int], into: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) that frames of `size` take within frames of size `into`: all of it, unless that would bend
    them by more than a tenth."""
    bend = (size[0] / size[1]) / (into[0] / into[1])
    if 1 / 1.1 <= bend <= 1.1:
        return into
    return (into[0], max(1, round(into[1] / bend))) if bend > 1 else (max(1, round(into[0] * bend)), into[1])


def padded(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame in the middle of a black one of that size."""
    (height, width), (high, wide) = frame.shape[:2], size
    top, left = (high - height) // 2, (wide - width) // 2
    return np.pad(frame, ((top, high - height - top), (left, wide - width - left), (0, 0)))
