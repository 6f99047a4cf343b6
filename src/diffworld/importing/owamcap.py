"""Recordings of desktops by Open World Agents: an MCAP file of profile "owa" beside the video it points into.

Read as MCAP with JSON messages; nothing of the messages' own library is needed.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import numpy as np

from diffworld.importing.controls import Ints
from diffworld.importing.keys import VIRTUAL_KEYS
from diffworld.importing.log import pressed_and_moved
from diffworld.importing.recording import BadRecording, Footage, inside, needs
from diffworld.importing.video import Video
from diffworld.runtime.frames import Frame

LARGEST_CHUNK = 2**28  # bytes of one chunk once it is unpacked
_TOPICS = ("screen", "keyboard", "keyboard/state", "mouse", "mouse/raw", "mouse/state")
_RAW_BUTTONS = ("mouse left", "mouse right", "mouse middle", "mouse x1", "mouse x2")  # two flags each: down, up
_WHEEL = 0x0400
_CHUNK_HEAD = struct.Struct("<1x 8x 8x 8x Q 4x I")  # the unpacked size, and how long the compression's name is


@dataclass
class _Desk:
    """What the messages say, gathered in the order of their times."""

    frames: list[tuple[int, int, str]] = field(default_factory=list)  # (stamp, stamp in the video, file)
    states: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    moved: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    down: set[str] = field(default_factory=set)
    raw: bool = False  # whether the mouse itself was recorded, and not only its pointer
    pointer: tuple[float, float] | None = None

    def take(self, topic: str, stamp: int, message: Mapping[str, Any]) -> None:
        """One message."""
        if topic == "screen":
            self.frames.append((stamp, *_reference(message)))
        elif topic == "keyboard":
            self._set(stamp, _key(message["vk"]), message["event_type"] == "press")
        elif topic == "mouse":
            self._mouse(stamp, message)
        elif topic == "mouse/raw":
            self._raw(stamp, message)
        else:
            self._state(topic, stamp, message)

    def _set(self, stamp: int, name: str, down: bool) -> None:
        if down != (name in self.down):
            (self.down.add if down else self.down.discard)(name)
            self.states[name].append((stamp, float(down)))

    def _mouse(self, stamp: int, message: Mapping[str, Any]) -> None:
        kind = message["event_type"]
        if kind == "click" and message.get("button"):
            self._set(stamp, f"mouse {message['button']}", bool(message["pressed"]))
        elif kind == "scroll":
            self.moved["wheel"].append((stamp, float(message.get("dy") or 0)))
        x, y = float(message["x"]), float(message["y"])
        if self.pointer is not None and not self.raw and kind == "move":
            self.moved["mouse x"].append((stamp, x - self.pointer[0]))
            self.moved["mouse y"].append((stamp, y - self.pointer[1]))
        self.pointer = (x, y)

    def _raw(self, stamp: int, message: Mapping[str, Any]) -> None:
        if int(message.get("us_flags", 0)) & 1 == 0:  # a way, not a place
            self.moved["mouse x"].append((stamp, float(message["last_x"])))
            self.moved["mouse y"].append((stamp, float(message["last_y"])))
        flags = int(message.get("button_flags", 0))
        for place, name in enumerate(_RAW_BUTTONS):
            for down, flag in ((True, 1 << 2 * place), (False, 2 << 2 * place)):
                if flags & flag:
                    self._set(stamp, name, down)
        if flags & _WHEEL:
            turned = int(message.get("button_data", 0))
            self.moved["wheel"].append((stamp, float(turned - 65536 if turned >= 32768 else turned)))

    def _state(self, topic: str, stamp: int, message: Mapping[str, Any]) -> None:
        """A list of all that is down: what the events missed, above all before the first one."""
        mouse = topic == "mouse/state"
        now = {f"mouse {button}" for button in message["buttons"]} if mouse else {_key(vk) for vk in message["buttons"]}
        before = {name for name in self.down if name.startswith("mouse ") == mouse}
        for name in now ^ before:
            self._set(stamp, name, name in now)


@dataclass(frozen=True)
class Desktop:
    """One MCAP file."""

    name: str
    path: Path

    def open(self) -> Footage:
        """See `Recording`."""
        desk = _gathered(self.path)
        files = {file for _, _, file in desk.frames}
        if len(desk.frames) < 2 or len(files) != 1:
            raise BadRecording(
                f"it has {len(desk.frames)} screen messages that point into {len(files)} videos, not one"
            )
        video = Video(inside(self.path.parent, files.pop()))
        if not video.path.is_file():
            raise BadRecording(f"the video {video.path.name} that it points into is missing")
        desk.frames.sort()
        stamps = np.array([stamp for stamp, _, _ in desk.frames], np.int64)
        shown = np.array([place for _, place, _ in desk.frames], np.int64) / 1e9
        zero = int(stamps[0])

        def since(changes: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
            return {name: [((stamp - zero) / 1e9, value) for stamp, value in each] for name, each in changes.items()}

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            yield from video.read(shown[picks], size)

        controls = pressed_and_moved(since(desk.states), since(desk.moved))
        notes = [f"{len(stamps):,} screen messages" + (", the mouse's own movement" if desk.raw else "")]
        return Footage((stamps - zero) / 1e9, True, video.facts.size, controls, read, notes)


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
        raise BadRecording(f"it cannot be read ({' '.join(str(error).split())[:100]})") from error
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


def find(folder: Path) -> list[Desktop]:
    """All MCAP files in a folder and the folders in it."""
    return [Desktop(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*.mcap"))]
