"""The runs' films, as the page shows them: inside it while they are small, beside it else."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
from PIL import Image

from diffworld.report.runs import Run
from diffworld.runtime.errors import UserError, one_line

EMBEDDED_BYTES = 4_000_000  # a film up to this size lies in the page itself ...
EMBEDDED_TOTAL = 60_000_000  # ... as long as all of them together stay below this


@dataclass(frozen=True)
class Film:
    """One film: the bytes of its MP4, a still as PNG, and the file beside the page where it is not embedded."""

    caption: str
    data: bytes
    still: bytes
    beside: str | None


def films(runs: Sequence[Run]) -> list[Film]:
    """The films of those runs that have one; UserError if one is damaged."""
    found: list[Film] = []
    room = EMBEDDED_TOTAL
    for i, run in enumerate(runs):
        if run.film is None:
            continue
        try:
            data = run.film.read_bytes()
            still = _still(data)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            reason = one_line(error)
            raise UserError(f"cannot read {run.film} ({reason}): delete it, the report does without") from error
        small = len(data) <= min(EMBEDDED_BYTES, room)
        room -= len(data) if small else 0
        caption = f"{run.game}, {run.method}, seed {run.seed}"
        found.append(Film(caption, data, still, None if small else f"film-{i + 1}.mp4"))
    return found


def _still(data: bytes, seconds: float = 2.0) -> bytes:
    """The frame shown at that time, or the last one of a shorter film, as PNG."""
    picture = None
    with av.open(io.BytesIO(data), mode="r") as container:
        for frame in container.decode(video=0):
            picture = frame
            if frame.time is not None and frame.time >= seconds:
                break
    if picture is None:
        raise ValueError("it has no frames")
    buffer = io.BytesIO()
    Image.fromarray(picture.to_ndarray(format="rgb24")).save(buffer, format="PNG")
    return buffer.getvalue()
