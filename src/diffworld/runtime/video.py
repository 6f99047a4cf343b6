"""Frames into films: MP4, GIF, and several side by side under labels."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_file

Frames = NDArray[np.uint8]
"""uint8 (T, H, W, 3), RGB."""

_WATCHABLE = 256  # pixels: lower frames are enlarged until they are at least this high
_BACKGROUND, _INK = (24, 24, 28), (236, 236, 236)
_LABEL_HEIGHT, _SEPARATOR, _FONT_SIZE = 24, 8, 14


def write_video(path: Path | str, frames: Frames | Iterable[Frames], fps: float = 15, scale: int | None = None) -> None:
    """Write frames as an MP4 (H.264, yuv420p), which every browser plays.

    Args:
        path: where to; the file is whole or absent.
        frames: uint8 (T, H, W, 3), at least one; or several such, written one after another as they come, for films
            that are too large for memory. The format wants even sides: an odd one gains a pixel that repeats its edge.
        fps: frames per second. An Atari game at 60 frames a second, 4 to an action, runs at 15.
        scale: how many times each pixel is repeated both ways; by default, so that 256 pixels are reached.

    Raises: ValueError on frames of another shape or type; UserError if the file cannot be written.
    """
    height, width, each = _one_by_one(frames)
    try:
        _encode(path, each, fps, scale or _scale_for(height), (height, width))
    except av.error.ExternalError as error:  # it says no more, not even of memory that ran out
        raise UserError(f"cannot make the film {path} ({error}): is there memory left?") from error


def _encode(path: Path | str, each: Iterable[Frames], fps: float, scale: int, size: tuple[int, int]) -> None:
    with atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = (scale * side + scale * side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}  # hardly distinguishable from the original
        for frame in each:
            image = enlarge(frame, scale)
            padding = [(0, stream.height - image.shape[0]), (0, stream.width - image.shape[1]), (0, 0)]
            image = np.pad(image, padding, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_gif(path: Path | str, frames: Frames | Iterable[Frames], fps: float = 15, scale: int | None = None) -> None:
    """Write frames as an endless GIF of 256 colours a frame; arguments and errors as for `write_video`.

    A GIF counts time in hundredths of a second, and players slow down below two of them: at most 50 fps.
    """
    height, _, each = _one_by_one(frames)
    scale = scale or _scale_for(height)
    images = [Image.fromarray(enlarge(frame, scale)) for frame in each]
    # Rounded ends, not rounded durations, so that the film as a whole keeps its length.
    ends = np.rint(np.arange(len(images) + 1) * 100 / fps).astype(int)
    durations = [10 * max(2, int(hundredths)) for hundredths in np.diff(ends)]
    with atomic_file(path) as temporary:
        images[0].save(temporary, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


def side_by_side(films: Sequence[Frames], labels: Sequence[str], scale: int | None = None) -> Frames:
    """Join films from left to right, each under its label, with separators between them.

    Args:
        films: one or more, each uint8 (T, H, W, 3) with its own T, H and W. A film that ends before the
            longest stands still on its last frame. All are enlarged to the same factor.
        labels: one short line for each; what is wider than its film is cut.
        scale: pixel repetition, as in `write_video`, applied before the text is drawn.

    Returns: uint8 (T, H', W', 3), T of the longest, ready for `write_video` as it is.
    """
    if not films or len(films) != len(labels):
        raise ValueError(f"as many labels as films are needed, at least one: {len(films)}, {len(labels)}")
    films = [_checked(film) for film in films]
    height = max(film.shape[1] for film in films)
    scale = scale or _scale_for(height)
    widths = [scale * film.shape[2] for film in films]
    lefts = [sum(widths[:i]) + i * _SEPARATOR for i in range(len(films))]
    length = max(len(film) for film in films)

    canvas = Image.new("RGB", (lefts[-1] + widths[-1], scale * height + _LABEL_HEIGHT), _BACKGROUND)
    for left, width, label in zip(lefts, widths, labels, strict=True):
        canvas.paste(_label(label, width), (left, 0))
    joined = np.repeat(np.asarray(canvas)[None], length, axis=0)
    for left, film in zip(lefts, films, strict=True):
        for t in range(length):
            image = enlarge(film[min(t, len(film) - 1)], scale)
            joined[t, _LABEL_HEIGHT : _LABEL_HEIGHT + image.shape[0], left : left + image.shape[1]] = image
    return joined


def enlarge(frame: Frames, scale: int) -> Frames:
    """Repeat each pixel of a frame, uint8 (H, W, 3), `scale` times both ways."""
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def _label(text: str, width: int) -> Image.Image:
    label = Image.new("RGB", (width, _LABEL_HEIGHT), _BACKGROUND)
    font = ImageFont.load_default(_FONT_SIZE)
    ImageDraw.Draw(label).text((4, _LABEL_HEIGHT // 2), text, fill=_INK, font=font, anchor="lm")
    return label


def _scale_for(height: int) -> int:
    return max(1, -(-_WATCHABLE // height))


def _one_by_one(frames: Frames | Iterable[Frames]) -> tuple[int, int, Iterator[Frames]]:
    """Height, width, and each frame (H, W, 3) of a film, or of several one after another."""
    films = map(_checked, [frames] if isinstance(frames, np.ndarray) else frames)
    first = next(films)
    return *first.shape[1:3], (frame for film in chain([first], films) for frame in film)


def _checked(frames: Frames) -> Frames:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), none of them 0, got {frames.dtype} {frames.shape}")
    return frames
