"""What every format gives: recordings, each of which can be opened for its frames and for what was done on them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, TypeVar

import numpy as np
from PIL import Image

from diffworld.game import GameSpec
from diffworld.importing.controls import Floats, Ints, Ticks, pace
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.frames import Frame

LARGEST_SIDE, MOST_PIXELS = 16_384, 2**26
"""Frames beyond these are damage or an attack: 64 million pixels take 200 MB each."""

T = TypeVar("T")


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
    places: (n,) where each frame begins in the recording's `file`, if frames lie there as bytes (H, W, 3).
    """

    times: Floats
    clock: bool
    size: tuple[int, int]
    controls: Ticks
    read: Callable[[Ints, tuple[int, int]], Iterator[Frame]]
    notes: list[str] = field(default_factory=list)
    whole: bool = False
    places: Ints | None = None

    @property
    def rate(self) -> float | None:
        """Frames a second: of most frames where they follow at one pace, else on average; None without a clock."""
        if not self.clock or len(self.times) < 2 or self.times[-1] <= 0:
            return None
        return pace(self.times)[0]


@dataclass(frozen=True)
class Recording:
    """Where a recording lies; it costs nothing until it is opened. Its name tells it from all others of an import."""

    name: str
    alone: ClassVar[bool] = False
    """Whether it cannot be read while another one is."""
    channels: ClassVar[Literal["rgb", "bgr"]] = "rgb"
    """Order of a pixel's numbers in its `file`."""

    @property
    def game(self) -> GameSpec | None:
        """The game, where the format knows it: then frames keep their size, and actions are not looked for."""
        return None

    @property
    def file(self) -> Path | None:
        """The file that holds its frames, where others can find them in it."""
        return None

    def with_outcomes(self) -> Recording:
        """The same with rewards and ends, where it leaves them out by itself."""
        return self

    def open(self) -> Footage:
        """Read all but the frames. BadRecording if it cannot be used."""
        raise NotImplementedError


@contextmanager
def damage() -> Iterator[None]:
    """Turn whatever goes wrong inside into BadRecording: somebody else wrote the file."""
    try:
        yield
    except UserError:  # among them BadRecording
        raise
    except Exception as error:
        raise BadRecording(f"it is damaged ({one_line(f'{type(error).__name__}: {error}')})") from error


def check_size(height: int, width: int) -> None:
    """BadRecording for frames that no game shows."""
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and height * width <= MOST_PIXELS):
        raise BadRecording(f"its frames are {width}x{height} pixels: at most {LARGEST_SIDE} a side can be read")


def picked(frames: Iterable[T], picks: Ints, place: int = 0) -> Iterator[T]:
    """Of frames that begin at a place, those at `picks` (not decreasing); fewer where they end early."""
    coming, place = iter(frames), place - 1
    for pick in picks:
        while place < pick:
            try:
                frame = next(coming)
            except StopIteration:
                return
            place += 1
        yield frame


def shrunk(image: Any, size: tuple[int, int]) -> Frame:
    """An array (H, W, 3) or (H, W) uint8, or a picture, as a frame of that size; each pixel is the mean of its area."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture = picture.convert("RGB")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, np.uint8)


@contextmanager
def picture(source: Path | IO[bytes], formats: Sequence[str], name: str = "") -> Iterator[Image.Image]:
    """A picture of one of those formats (PIL's names), opened; BadRecording if it is damaged or too large."""
    called = f"its picture {name}".strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(source, formats=list(formats))
        with opened:
            check_size(opened.height, opened.width)
            yield opened
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadRecording(f"{called} has too many pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadRecording(f"{called} cannot be read ({one_line(error, 80)})") from error


def inside(root: Path, relative: str) -> Path:
    """A path that a file names, within the folder it may name; BadRecording for any other."""
    path = (root / relative).resolve()
    if "\0" in relative or not path.is_relative_to(root.resolve()):
        raise BadRecording(f"it names the file {relative[:100]!r}, which lies outside of its folder")
    return path


def files_in(source: Path, suffixes: Collection[str]) -> list[tuple[str, Path]]:
    """(name, path) of each file with such an end: the source itself, or those in a folder and the folders in it."""
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    return [(name_in(source, path), path) for path in paths if path.suffix.lower() in suffixes]


def name_in(source: Path, path: Path) -> str:
    """What a path in a source is called."""
    return source.name if path == source else path.relative_to(source).as_posix()


def needs(module: str, extra: str) -> Any:
    """An optional library; UserError that names the extra if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this format needs {module.partition('.')[0]}, which is not installed: pip install 'diffworld[{extra}]'"
        ) from error
