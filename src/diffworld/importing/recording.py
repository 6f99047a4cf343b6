"""What every format gives: recordings, each of which can be opened for its frames and for what was done on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from diffworld.importing.controls import Controls, Floats, Ints, pace
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame

LARGEST_SIDE, MOST_PIXELS = 16_384, 2**26
"""Frames beyond these are damage or an attack: 64 million pixels take 200 MB each."""


class BadRecording(UserError):
    """One recording that cannot be used; it is named, skipped and counted."""


@dataclass(frozen=True, eq=False)
class Footage:
    """An opened recording: n frames, and what was done on them.

    times: (n,) seconds since the first frame, increasing; of a recording without a clock 0, 1, 2 and so on.
    clock: whether `times` are seconds; if not, each frame is a step.
    size: (height, width) as it should be seen, with square pixels.
    read: yields the frames at those places (n', not decreasing) as uint8 (h, w, 3) of the size given; it may end
        early where the recording is damaged.
    notes: what had to be repaired or is odd, in words.
    whole: whether the recording is one episode, not to be divided.
    speed: steps a second at which people play, of a recording without a clock, if it is known.
    """

    times: Floats
    clock: bool
    size: tuple[int, int]
    controls: Controls
    read: Callable[[Ints, tuple[int, int]], Iterator[Frame]]
    notes: list[str] = field(default_factory=list)
    whole: bool = False
    speed: float | None = None

    @property
    def rate(self) -> float | None:
        """Frames a second: of most frames where they follow at one pace, else on average; None without a clock."""
        if not self.clock or len(self.times) < 2 or self.times[-1] <= 0:
            return None
        return pace(self.times)[0]


class Recording(Protocol):
    """Where a recording lies; it costs nothing until it is opened."""

    @property
    def name(self) -> str:
        """What tells it from the other recordings of an import, and is shown."""

    def open(self) -> Footage:
        """Read all but the frames. BadRecording if it cannot be used."""


def check_size(height: int, width: int) -> None:
    """BadRecording for frames that no game shows."""
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and height * width <= MOST_PIXELS):
        raise BadRecording(f"its frames are {width}x{height} pixels: at most {LARGEST_SIDE} a side can be read")


def inside(root: Path, relative: str) -> Path:
    """A path that a file names, within the folder it may name; BadRecording for any other."""
    path = (root / relative).resolve()
    if "\0" in relative or not path.is_relative_to(root.resolve()):
        raise BadRecording(f"it names the file {relative[:100]!r}, which lies outside of its folder")
    return path


def filled_template(template: str, **values: str | int) -> str:
    """A path such as "data/chunk-{chunk_index:03d}/x.parquet" with its values; nothing else is looked up in it."""

    def value(match: re.Match[str]) -> str:
        name, width = match.group(1), match.group(2)
        if name not in values:
            raise BadRecording(f"its path {template[:100]!r} asks for {name}, which is not known")
        return str(values[name]).zfill(int(width or 0))

    return re.sub(r"\{(\w+)(?::0?(\d{1,2})d)?\}", value, template)


def shrunk(image: Any, size: tuple[int, int]) -> Frame:
    """An array (H, W, 3) or (H, W) uint8, or a picture, as a frame of that size; each pixel is the mean of its area."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture = picture.convert("RGB")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, np.uint8)


def needs(module: str, extra: str) -> Any:
    """An optional library; UserError that names the extra if it is not installed."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this format needs {module.partition('.')[0]}, which is not installed: pip install 'diffworld[{extra}]'"
        ) from error
