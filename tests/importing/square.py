"""A game whose frames tell what was pressed: a square on a board moves by exactly what each step's keys say.

Recordings of it are made in every format; `follows` says of a data set whether each stored action is the one that led
from its frame to the next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from diffworld.data import Dataset

ROWS, COLUMNS, CELL = 6, 8, 8
HEIGHT, WIDTH = ROWS * CELL, COLUMNS * CELL
WAYS = {"a": (0, -1), "d": (0, 1), "w": (-1, 0), "s": (1, 0)}
BOARD, SQUARE = (40, 60, 80), (250, 210, 60)
Place = tuple[int, int]


def moved(place: Place, keys: Iterable[str]) -> Place:
    """Where the square goes; the board has no edge."""
    row, column = place
    for key in keys:
        down, right = WAYS.get(key, (0, 0))
        row, column = (row + down) % ROWS, (column + right) % COLUMNS
    return row, column


def play(steps: int, seed: int = 0) -> tuple[list[Place], list[list[str]]]:
    """Places (steps + 1) and the keys (steps) that led from each to the next; some steps press two keys or none."""
    rng = np.random.default_rng(seed)
    places, pressed = [(int(rng.integers(ROWS)), int(rng.integers(COLUMNS)))], []
    for _ in range(steps):
        keys = [str(key) for key in rng.choice(list(WAYS), size=rng.integers(3), replace=False)]
        pressed.append([] if {*keys} in ({"a", "d"}, {"w", "s"}) else keys)
        places.append(moved(places[-1], pressed[-1]))
    return places, pressed


def frame_of(place: Place, scale: int = 1) -> NDArray[np.uint8]:
    """uint8 (48 x scale, 64 x scale, 3)."""
    frame = np.full((HEIGHT, WIDTH, 3), BOARD, np.uint8)
    row, column = place
    frame[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = SQUARE
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def frames_of(places: Sequence[Place], scale: int = 1) -> NDArray[np.uint8]:
    return np.stack([frame_of(place, scale) for place in places])


def place_of(frame: NDArray[np.uint8]) -> Place:
    """Where the square is seen, in a frame of any size."""
    height, width = frame.shape[:2]
    warm = frame[..., 0].astype(int) - frame[..., 2]
    cells = [
        [warm[_part(row, ROWS, height), _part(column, COLUMNS, width)].mean() for column in range(COLUMNS)]
        for row in range(ROWS)
    ]
    row, column = np.unravel_index(int(np.argmax(cells)), (ROWS, COLUMNS))
    return int(row), int(column)


def _part(index: int, parts: int, length: int) -> slice:
    return slice(index * length // parts, max((index + 1) * length // parts, index * length // parts + 1))


def steps_of(data: Dataset) -> list[tuple[Place, list[str], Place]]:
    """(place, keys of the stored action, next place) of every step of a data set of this game."""
    names, found = data.spec.actions.names, []
    for episode in data.episodes:
        frames = [*data.episode_frames(episode.id), *([data.final_frame(episode.id)] if episode.ended else [])]
        places = [place_of(frame) for frame in frames]
        for place, action, after in zip(places, episode.actions, places[1:], strict=False):
            found.append((place, [name for name, down in zip(names, action, strict=True) if down], after))
    return found


def follows(data: Dataset) -> float:
    """The share of steps whose action led where the next frame shows."""
    return float(np.mean([moved(place, keys) == after for place, keys, after in steps_of(data)]))


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float = 15,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    sound: bool = False,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of frames at one pace, or shown at those `times` (seconds)."""
    quiet = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"svtav1-params": "logo=0"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt, stream.options = pixels, {**quiet.get(codec, {}), **(options or {})}
        voice = container.add_stream("aac", rate=16_000) if sound else None
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            if not number:
                stream.height, stream.width = frame.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(1000 * times[number]), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if voice is not None:
            for start in range(0, 16_000, 1024):
                noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                noise.sample_rate, noise.pts = 16_000, start
                container.mux(voice.encode(noise))
            container.mux(voice.encode())
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # Where root encodes, SVT-AV1 leaves the thread that called it at the highest real-time priority, and every
        # process that is begun there with it: three ranks that wait for one another then hang on two cores.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_clip(folder: Path, name: str, steps: int, seed: int = 0, shift: int = 0, scale: int = 1) -> Path:
    """A video of steps + 1 frames and a log of as many lines, each with the keys of its frame's step.

    With a `shift` the line of frame t has the keys of step t - shift: the log is late by so many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places, pressed = play(steps, seed)
    write_video(folder / f"{name}.mp4", frames_of(places, scale))
    lines = [{"keys": pressed[t - shift] if 0 <= t - shift < steps else []} for t in range(steps + 1)]
    write_lines(folder / f"{name}.jsonl", lines)
    return folder
