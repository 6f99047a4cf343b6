"""Frames of a video file, whatever its codec, by the time at which they are shown."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from diffworld.importing.controls import ROUNDING, Floats
from diffworld.importing.recording import MOST_PIXELS, BadRecording, check_size, shrunk
from diffworld.runtime.frames import Frame

SUFFIXES = frozenset(".mp4 .mkv .webm .mov .avi .m4v .mpg .mpeg .ts .flv .wmv .ogv".split())

# Containers alone: a playlist may name other files and addresses.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,nut,mxf"
_INDEXED = ("mov", "matroska")  # formats in which a jump arrives where it should
_BY_COUNT = ("avi",)  # formats whose times are in the order of decoding: frames follow at one pace
_REORDERED = 16  # most frames that wait for each other in a file
_SEEK_SECONDS = 5.0  # nearer than this, decoding what lies between is no slower than a jump


@dataclass(frozen=True)
class VideoFacts:
    """How a video is to be shown: (height, width) upright and with square pixels, and how often to turn it for that."""

    size: tuple[int, int]
    quarter_turns: int  # counter-clockwise
    codec: str


class Video:
    """The first video stream of a file that is no cover picture; sound and all else is left alone.

    damaged: how many packets could not be decoded so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, 0

    @functools.cached_property
    def facts(self) -> VideoFacts:
        """From the first frame; BadRecording if there is none."""
        with self._opened() as (container, stream):
            for packet in self._packets(container, stream):
                for frame in self._decoded(packet):
                    return _facts(frame, stream)
        raise BadRecording("its video has no frame that can be decoded")

    @functools.cached_property
    def times(self) -> Floats:
        """(n,) seconds at which each frame is shown, read from the packets: nothing is decoded."""
        with self._opened() as (container, stream):
            stamps = [p.pts for p in self._packets(container, stream) if p.size and not p.is_discard]
            base, rate = float(stream.time_base or 1), float(stream.average_rate or 25)
            ordered = container.format.name not in _BY_COUNT
        known = [stamp for stamp in stamps if stamp is not None]
        # The second fields of interlaced frames have no time of their own; without any, frames follow at one pace.
        self._stamped = ordered and 2 * len(known) >= len(stamps)
        if not self._stamped:
            return np.arange(len(stamps)) / rate
        return _connected(np.unique(np.asarray(known, np.float64)) * base)

    _stamped = True

    def read(self, times: Floats, size: tuple[int, int]) -> Iterator[Frame]:
        """For each of the times (not decreasing) the frame shown then; ends early where the file does."""
        place = 0
        for frame, until in self._shown(float(times[0])):
            drawn: Frame | None = None
            while place < len(times) and times[place] + ROUNDING < until:
                drawn = _drawn(frame, self.facts, size) if drawn is None else drawn
                yield drawn
                place += 1
            if place == len(times):
                return

    def _shown(self, start: float) -> Iterator[tuple[Any, float]]:
        """Each frame, and until when it is shown; the last one for a moment."""
        held, since = None, 0.0
        for seconds, frame in self._frames(start):
            if held is not None:
                yield held, seconds
            held, since = frame, seconds
        if held is not None:
            yield held, since + 3 * ROUNDING

    def _frames(self, start: float) -> Iterator[tuple[float, Any]]:
        """Seconds and frame in order, from `start` on or earlier."""
        jump = self._stamped and start > _SEEK_SECONDS
        while True:
            with self._opened() as (container, stream):
                if jump := jump and container.format.name.startswith(_INDEXED):
                    container.seek(int((start - 1) / stream.time_base), stream=stream)
                count, base, pace = 0, float(stream.time_base or 1), float(stream.average_rate or 25)
                ordered = self._stamped and container.format.name not in _BY_COUNT
                for packet in self._packets(container, stream):
                    for frame in self._decoded(packet):
                        seconds = frame.pts * base if ordered and frame.pts is not None else count / pace
                        if jump and not count and seconds > start:  # it went too far
                            break
                        count += 1
                        yield seconds, frame
                    else:
                        continue
                    break
                else:
                    return
            jump = False

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Until the file ends or is cut off."""
        try:
            yield from container.demux(stream)
        except av.error.FFmpegError:
            self.damaged += 1

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.damaged += 1
            return []
        for frame in frames:
            check_size(frame.height, frame.width)
        return list(frames)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """(container, stream); BadRecording if that is no video."""
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        try:
            with av.open(str(self.path), container_options=options, metadata_errors="replace") as container:
                streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
                if not streams:
                    raise BadRecording("it has no video")
                stream = streams[0]
                check_size(stream.codec_context.height, stream.codec_context.width)
                stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
                yield container, stream
        except (av.error.FFmpegError, OSError) as error:
            raise BadRecording(f"its video cannot be read ({error.strerror})") from error


def _connected(times: Floats) -> Floats:
    """Without the very last frames, if others are missing before them: so ends a file that was cut off."""
    lasting = np.diff(times)
    holes = np.flatnonzero(lasting > 1.5 * np.median(lasting)) if len(lasting) else lasting
    tail = [hole for hole in holes if hole >= len(lasting) - _REORDERED]
    steady = len(tail) == len(holes)
    return times[: tail[0] + 1] if tail and steady else times


def _facts(frame: Any, stream: Any) -> VideoFacts:
    ratio = float(stream.sample_aspect_ratio or 1)
    height, width = frame.height, frame.width
    if ratio > 1:  # pixels wider than high
        width = round(width * ratio)
    elif 0 < ratio < 1:
        height = round(height / ratio)
    turns = round(frame.rotation / 90) % 4
    size = (width, height) if turns % 2 else (height, width)
    check_size(*size)
    return VideoFacts(size, turns, stream.codec_context.name)


def _drawn(frame: Any, facts: VideoFacts, size: tuple[int, int]) -> Frame:
    """A decoded frame upright and of that size."""
    height, width = reversed(size) if facts.quarter_turns % 2 else size
    if frame.interlaced_frame:  # every other line is of another moment
        image = shrunk(frame.to_ndarray(format="rgb24")[::2], (height, width))
    else:
        image = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(image, facts.quarter_turns))
