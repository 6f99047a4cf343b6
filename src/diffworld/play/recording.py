"""Recording what is played, as a data set like any other: to train on, to browse, and to export as a film."""

import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffworld.data import Dataset, DatasetSchema, EpisodeWriter, GameStep
from diffworld.game import GameSpec
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film
from diffworld.runtime.video import side_by_side, write_gif, write_video

FilmKind = Literal["mp4", "gif"]
GIF_FRAMES = 1_000
"""A GIF is made in memory, and longer ones are too large to be of use."""


Source = Literal["dream", "real", "recording"]
"""Where recorded frames come from: a dream, the real game, or a recording that was played."""


class Take:
    """What was recorded of one player from the press of the button to the next: a data set for each source of frames.

    Their `info` has what joins them: `take`, the same for all, and `games`, which of the player's games each episode is
    of. So an episode's other side is found again (`Library`).
    """

    def __init__(self, parent: Path, held_back: int, specs: Mapping[Source, GameSpec], info: dict[str, Any]) -> None:
        """`parent` is the folder to record to; `specs` say what is known of each source."""
        take = secrets.token_hex(4)
        self._recorders = {
            source: EpisodeRecorder(
                parent, f"{source}-{take}", held_back, spec, {**info, "world": source, "take": take, "games": []}
            )
            for source, spec in specs.items()
        }

    def add(self, source: Source, step: GameStep) -> None:
        """Take one step of one source."""
        self._recorders[source].add(step)

    def take_back(self, sources: Iterable[Source]) -> None:
        """Forget the last step of each of these, as far as it is there."""
        for source in sources:
            self._recorders[source].take_back(1)

    def close(self) -> list[Path]:
        """Write what is held back; returns the data sets that have a step."""
        with ExitStack() as every:
            for recorder in self._recorders.values():
                every.callback(recorder.close)
        return [recorder.path for recorder in self._recorders.values() if recorder.path]


class EpisodeRecorder:
    """Records one player's episodes to a new data set, without what was rewound.

    A step is held back while it can still be rewound, at most `held_back` of them, and written to disk after that;
    so the data set only grows. `game` of the steps tells episodes apart. An episode that was left is truncated.
    """

    def __init__(self, parent: Path, name: str, held_back: int, spec: GameSpec, info: dict[str, Any]) -> None:
        self._parent, self._name = parent, name
        self._held_back, self._spec, self._info = held_back, spec, info
        self._held: deque[GameStep] = deque()
        self._games: list[int] = []
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
        """Write what is held back, and whose games it is; what finds no room is held on, to be tried again."""
        while self._held:
            self._write_oldest()
        if self._writer:
            note(self._writer.dataset.path, games=self._games)
            self._writer.dataset.close()

    def _write_oldest(self) -> None:
        step = self._held[0]
        left = len(self._held) == 1 or self._held[1].game != step.game
        if left and not step.terminated:
            step = replace(step, truncated=True)
        if self._writer is None:
            folder = self._parent / time.strftime(f"%Y%m%d-%H%M%S-{self._name}")
            self._writer = EpisodeWriter(Dataset.create(folder, self._spec, self._info))
        begins = step.game not in self._writer.growing
        self._writer(step)
        self._held.popleft()
        if begins:
            self._games.append(step.game)


def note(folder: Path, **facts: Any) -> None:
    """Add to the `info` of the data set in that folder. UserError if it is not there, or cannot be written."""
    schema = DatasetSchema.read(folder)
    replace(schema, info={**schema.info, **facts}).write(folder)


FILMED_AS: dict[Source, str] = {"dream": "dream", "real": "real game", "recording": "recording"}
_CHUNK = 64  # frames that are joined at a time: enlarged, they are large


def export_film(path: Path, frames: Film, kind: FilmKind, fps: float) -> None:
    """Write frames, uint8 (T, H, W, 3), as a film. UserError for a GIF that would be too long, or a full disk."""
    _check_length(len(frames), kind)
    (write_gif if kind == "gif" else write_video)(path, frames, fps)


def export_side_by_side(path: Path, films: Mapping[Source, Film], kind: FilmKind, fps: float) -> None:
    """Write films of the same game as one, from left to right under their names; for the rest as `export_film`."""
    length = max(map(len, films.values()))
    _check_length(length, kind)
    labels = [FILMED_AS[source] for source in films]

    def joined() -> Iterator[Film]:
        for start in range(0, length, _CHUNK):
            parts = [film[min(start, len(film) - 1) : start + _CHUNK] for film in films.values()]
            yield side_by_side(parts, labels)

    (write_gif if kind == "gif" else write_video)(path, joined(), fps, scale=1)


def _check_length(frames: int, kind: FilmKind) -> None:
    if kind == "gif" and frames > GIF_FRAMES:
        raise UserError(f"a GIF of {frames} frames is too large: export it as MP4, or at most {GIF_FRAMES} frames")
