"""Recording what is played, as a data set like any other: to train on, to browse, and to export as a film."""

import secrets
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffworld.data import Dataset, EpisodeWriter, GameStep
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film
from diffworld.runtime.video import write_gif, write_video
from diffworld.spec import GameSpec

FilmKind = Literal["mp4", "gif"]
GIF_FRAMES = 1_000
"""A GIF is made in memory, and longer ones are too large to be of use."""


class EpisodeRecorder:
    """Records one player's episodes to a new data set, without what was rewound.

    A step is held back while it can still be rewound, at most `held_back` of them, and written to disk after that;
    so the data set only grows. `game` of the steps tells episodes apart. An episode that was left is truncated.
    """

    def __init__(self, parent: Path, name: str, held_back: int, spec: GameSpec, info: dict[str, Any]) -> None:
        self._parent, self._name = parent, name
        self._held_back, self._spec, self._info = held_back, spec, info
        self._held: deque[GameStep] = deque()
        self._writer: EpisodeWriter | None = None

    @property
    def path(self) -> Path | None:
        """The data set; None before a step was written."""
        return self._writer.dataset.path if self._writer else None

    def add(self, step: GameStep) -> None:
        """Take one step."""
        self._held.append(step)
        while len(self._held) > self._held_back:
            self._write_oldest()

    def take_back(self, steps: int) -> None:
        """Forget the last steps, as many as there are of them."""
        for _ in range(min(steps, len(self._held))):
            self._held.pop()

    def close(self) -> None:
        """Write what is held back; what finds no room is held on, to be tried again."""
        while self._held:
            self._write_oldest()
        if self._writer:
            self._writer.dataset.close()

    def _write_oldest(self) -> None:
        step = self._held[0]
        left = len(self._held) == 1 or self._held[1].game != step.game
        if left and not step.terminated:
            step = replace(step, truncated=True)
        if self._writer is None:
            # Several players may begin in the same second.
            folder = self._parent / time.strftime(f"%Y%m%d-%H%M%S-{self._name}-{secrets.token_hex(4)}")
            self._writer = EpisodeWriter(Dataset.create(folder, self._spec, self._info))
        self._writer(step)
        self._held.popleft()


def export_film(path: Path, frames: Film, kind: FilmKind, fps: float) -> None:
    """Write frames, uint8 (T, H, W, 3), as a film. UserError for a GIF that would be too long, or a full disk."""
    if kind == "gif" and len(frames) > GIF_FRAMES:
        raise UserError(f"a GIF of {len(frames)} frames is too large: export it as MP4, or at most {GIF_FRAMES} frames")
    (write_gif if kind == "gif" else write_video)(path, frames, fps)
