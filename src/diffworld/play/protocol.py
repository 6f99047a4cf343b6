"""What the page and the server say to each other over one websocket.

The page sends small JSON texts, each of one of the types below; everything in them is checked and bounded here, so
that nothing else needs to mistrust them. Those sent before the server's `welcome` are checked and dropped. The server
answers with JSON texts, or, where there are pictures, with binary messages: a little-endian uint32 with the header's
length, the header (JSON), and the pictures one after another. The header's `images` gives each one's name and length
in bytes.
"""

import io
import json
import struct
from collections.abc import Mapping
from typing import Annotated, Any, Self, get_args

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffworld.game import MAX_ACTIONS
from diffworld.play.recording import FilmKind
from diffworld.play.settings import MAX_FPS, Settings
from diffworld.runtime.checked import Natural
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame as Picture

MAX_MESSAGE_BYTES = 2048
"""Longest message a client may send; all but actions of very many keys are a tenth of it."""

Id = Annotated[int, Field(ge=0, le=2**53)]
Count = Annotated[int, Field(ge=1, le=100)]
Way = Annotated[float, Field(ge=-1e6, le=1e6, strict=False)]
Fps = Annotated[int, Field(ge=1, le=MAX_FPS)]
Bits = Annotated[list[Annotated[int, Field(ge=0, le=1)]], Field(max_length=1000)]
DatasetId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Title = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\p{C}]+$")]


class Message(BaseModel):
    """Types are taken as they are (no "3" for 3), infinities and unknown fields refused.

    A message's type is the name of its class, in lower case.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    type: str


class Act(Message):
    """The action whose keys are held down now, encoded (see `ActionSpace`)."""

    action: Annotated[int, Field(ge=0, lt=MAX_ACTIONS)] | Bits


class Look(Message):
    """The mouse has moved so far on to the right and down, in what the bins of its axes count in."""

    right: Way
    down: Way


class Shown(Message):
    """The page has drawn this frame; the server keeps only a few on their way."""

    number: Id


class Pause(Message):
    """Hold or go on."""

    on: bool


class Pace(Message):
    """Frames a second to aim at."""

    fps: Fps


class Step(Message):
    """One step, while paused."""


class Reset(Message):
    """A new game: from a drawn start, or from the one with this id."""

    start: Natural | None = None


class Rewind(Message):
    """Back by this many steps; the game goes on from there."""

    steps: Annotated[int, Field(ge=1, le=10_000)]


class Record(Message):
    """Begin or end recording episodes."""

    on: bool


class OfEpisode(Message):
    """About an episode of a data set."""

    dataset: DatasetId
    episode: Natural


class Watch(OfEpisode):
    """Play the actions of a recorded episode."""


class Set(Message, extra="allow"):
    """Change settings of the session: any fields of `Settings`, within its ranges. Those left out stay."""

    @model_validator(mode="after")
    def check(self) -> Self:
        """UserError for what is no setting."""
        Settings().changed(self.changes())
        return self

    def changes(self) -> dict[str, Any]:
        """The settings that were given."""
        return self.model_extra or {}


class Question(Message):
    """Asks; the reply has the same id."""

    id: Id


class Starts(Question):
    """Ask for starts to choose from, with a picture each."""

    offset: Natural
    count: Count


class Datasets(Question):
    """Ask for the data sets and recordings."""


class Episodes(Question):
    """Ask for episodes of a data set."""

    dataset: DatasetId
    offset: Natural
    count: Count


class Table(Question, OfEpisode):
    """Ask for an episode's actions, rewards and ends."""


class Frame(Question, OfEpisode):
    """Ask for one frame of an episode."""

    step: Natural


class Export(Question, OfEpisode):
    """Ask for an episode as a film."""

    kind: FilmKind
    fps: Fps
    beside: bool = False
    """Side by side with what was recorded together with it."""


class Rename(Question):
    """Give a recording a title."""

    dataset: DatasetId
    title: Title


class Delete(Question):
    """Remove a recording from the disk."""

    dataset: DatasetId


Command = Pause | Pace | Step | Reset | Rewind | Record | Watch | Set
"""Done in order, by the task that owns the session."""
Query = Starts | Datasets | Episodes | Table | Frame | Export | Rename | Delete
"""Answered beside the game."""
Inbound = Act | Look | Shown | Command | Query

MESSAGES: dict[str, type[Inbound]] = {kind.__name__.lower(): kind for kind in get_args(Inbound)}


class ProtocolError(Exception):
    """A message that the page would never send; one line, in the project's own words."""


def read_message(text: str | bytes) -> Inbound:
    """Parse and check one message of a client.

    Raises: ProtocolError, which repeats nothing of the message.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
    try:
        return MESSAGES[json.loads(text)["type"]].model_validate_json(text)
    except (ValueError, LookupError, TypeError, RecursionError, UserError):
        raise ProtocolError("this is no message of the page") from None


def encode_image(frame: Picture) -> bytes:
    """A frame as lossless WebP: a third smaller than PNG on game frames, and no slower."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def pack(header: Mapping[str, Any], frames: Mapping[str, Picture | None]) -> bytes:
    """A binary message: the header and each frame under its name; None is left out."""
    images = {name: encode_image(frame) for name, frame in frames.items() if frame is not None}
    lengths = [[name, len(data)] for name, data in images.items()]
    text = json.dumps({**header, "images": lengths}, allow_nan=False, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + b"".join(images.values())


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header and the encoded pictures of a message made by `pack`."""
    stream = io.BytesIO(message)
    (length,) = struct.unpack("<I", stream.read(4))
    header = json.loads(stream.read(length))
    return header, {name: stream.read(size) for name, size in header["images"]}
