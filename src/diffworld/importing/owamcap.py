"""Recordings of desktops by Open World Agents: an MCAP file of profile "owa" beside the video it points into.

Read as MCAP with JSON messages; nothing of the messages' own library is needed.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import numpy as np

from diffworld.importing.controls import Changes
from diffworld.importing.keys import VIRTUAL_KEYS
from diffworld.importing.recording import BadRecording, Footage, Recording, files_in, inside, needs
from diffworld.importing.video import Video
from diffworld.runtime.errors import one_line

LARGEST_CHUNK = 2**28  # bytes of one chunk once it is unpacked
_TOPICS = ("screen", "keyboard", "keyboard/state", "mouse", "mouse/raw", "mouse/state")
_RAW_BUTTONS = ("mouse left", "mouse right", "mouse middle", "mouse x1", "mouse x2")  # two flags each: down, up
_WHEEL = 0x0400
_CHUNK_HEAD = struct.Struct("<1x 8x 8x 8x Q 4x I")  # the unpacked size, and how long the compression's name is


class _Desk:
    """What the messages say, gathered in the order of their times.

    frames: (stamp, stamp in the video, file) of each. raw: whether the mouse itself was recorded, and not only its
    pointer.
    """

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, str]] = []
        self.stamps, self.changes = array("q"), Changes()
        self.raw, self.down = False, set[str]()
        self.pointer: tuple[float, float] | None = None

    def take(self, topic: str, stamp: int, message: Mapping[str, Any]) -> None:
        """One message."""
        if topic == "screen":
            self.frames.append((stamp, *_reference(message)))
        elif topic == "keyboard":
            self._set(_key(message["vk"]), message["event_type"] == "press")
        elif topic == "mouse":
            self._mouse(message)
        elif topic == "mouse/raw":
            self._raw(message)
        else:
            self._state(message["buttons"], topic == "mouse/state")
        self.stamps.extend([stamp] * (len(self.changes) - len(self.stamps)))

    def _set(self, name: str, down: bool) -> None:
        if down != (name in self.down):
            (self.down.add if down else self.down.discard)(name)
            self.changes.key(name, down)

    def _mouse(self, message: Mapping[str, Any]) -> None:
        kind = message["event_type"]
        if kind == "click" and message.get("button"):
            self._set(f"mouse {message['button']}", bool(message["pressed"]))
        elif kind == "scroll":
            self.changes.move("wheel", float(message.get("dy") or 0))
        x, y = float(message["x"]), float(message["y"])
        if self.pointer is not None and not self.raw and kind == "move":
            self.changes.move("mouse x", x - self.pointer[0])
            self.changes.move("mouse y", y - self.pointer[1])
        self.pointer = (x, y)

    def _raw(self, message: Mapping[str, Any]) -> None:
        if int(message.get("us_flags", 0)) & 1 == 0:  # a way, not a place
            self.changes.move("mouse x", float(message["last_x"]))
            self.changes.move("mouse y", float(message["last_y"]))
        flags = int(message.get("button_flags", 0))
        for place, name in enumerate(_RAW_BUTTONS):
            for down, flag in ((True, 1 << 2 * place), (False, 2 << 2 * place)):
                if flags & flag:
                    self._set(name, down)
        if flags & _WHEEL:
            turned = int(message.get("button_data", 0))
            self.changes.move("wheel", float(turned - 65536 if turned >= 32768 else turned))

    def _state(self, pressed: list[Any], mouse: bool) -> None:
        """A list of all that is down: what the events missed, above all before the first one."""
        now = {f"mouse {button}" if mouse else _key(button) for button in pressed}
        before = {name for name in self.down if name.startswith("mouse ") == mouse}
        for name in now ^ before:
            self._set(name, name in now)


@dataclass(frozen=True)
class Desktop(Recording):
    """One MCAP file."""

    path: Path

    def open(self) -> Footage:
        """See `Recording`."""
        desk = _gathered(self.path)
        files = {file for _, _, file in desk.frames}
        if len(desk.frames) < 2 or len(files) != 1:
            shown = f"{len(desk.frames)} screen messages that point into {len(files)} videos"
            raise BadRecording(f"it has {shown}, not one")
        video = Video(inside(self.path.parent, files.pop()))
        if not video.path.is_file():
            raise BadRecording(f"the video {video.path.name} that it points into is missing")
        stamps, shown_at = np.array([(stamp, place) for stamp, place, _ in sorted(desk.frames)], np.int64).T
        controls = desk.changes.ticks((np.asarray(desk.stamps) - stamps[0]) / 1e9)
        notes = [f"{len(stamps):,} screen messages" + (", the mouse's own movement" if desk.raw else "")]
        times = (stamps - stamps[0]) / 1e9
        return Footage(
            times, True, video.facts.size, controls, lambda picks, size: video.read(shown_at[picks] / 1e9, size), notes
        )


def _gathered(path: Path) -> _Desk:
    """All messages of a file; BadRecording if it is none of this profile."""
    mcap = needs("mcap.reader", "owamcap")
    errors = needs("mcap.exceptions", "owamcap").McapError
    desk = _Desk()
    try:
        with path.open("rb") as file:
            reader = mcap.SeekingReader(file, record_size_limit=LARGEST_CHUNK)
            if reader.get_header().profile != "owa":
                raise BadRecording("it is an MCAP file, and not of profile owa")
            summary = reader.get_summary()
            if summary is None:
                raise BadRecording("it was not closed: repair it first with 'owl mcap'")
            for chunk in summary.chunk_indexes:
                _check_chunk(file, chunk.chunk_start_offset)
            desk.raw = any(channel.topic == "mouse/raw" for channel in summary.channels.values())
            for _, channel, message in reader.iter_messages(topics=_TOPICS):
                desk.take(channel.topic, message.log_time, json.loads(message.data))
    except (errors, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadRecording(f"it cannot be read ({one_line(error)})") from error
    return desk


def _check_chunk(file: IO[bytes], offset: int) -> None:
    """BadRecording if a chunk would unpack to more than one holds: neither library asks before it does."""
    file.seek(offset)
    head = file.read(_CHUNK_HEAD.size)
    stated, name_length = _CHUNK_HEAD.unpack(head)
    name = file.read(min(name_length, 16))
    (packed,) = struct.unpack("<Q", file.read(8))
    real = _zstd_size(file) if name == b"zstd" else 255 * packed if name == b"lz4" else packed
    if max(stated, real) > LARGEST_CHUNK:
        raise BadRecording(f"a chunk of it unpacks to more than {LARGEST_CHUNK // 2**20} MB")


def _zstd_size(file: IO[bytes]) -> int:
    """What a frame says of its size; one that says nothing is held to the size stated before it."""
    size = int(needs("zstandard", "owamcap").get_frame_parameters(file.read(32)).content_size)
    return 0 if size == 2**64 - 1 else size


def _reference(message: Mapping[str, Any]) -> tuple[int, str]:
    """(nanoseconds in the video, file) of a screen message, of today's form or the one before."""
    reference = message.get("media_ref") or {"uri": message.get("path"), "pts_ns": message.get("pts")}
    uri, stamp = reference.get("uri"), reference.get("pts_ns")
    if not isinstance(uri, str) or not isinstance(stamp, int) or ":" in uri:
        raise BadRecording("its screen messages do not point into a video beside it")
    return stamp, unquote(uri)


def _key(code: int) -> str:
    return VIRTUAL_KEYS.get(int(code), f"key {int(code)}")


def find(source: Path) -> list[Desktop]:
    """All MCAP files."""
    return [Desktop(name, path) for name, path in files_in(source, {".mcap"})]
