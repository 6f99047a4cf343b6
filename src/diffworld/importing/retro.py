"""Movies of stable-retro (.bk2): buttons frame by frame, shown by the emulator, which needs the game's ROM."""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diffworld.importing.controls import Ints, Ticks
from diffworld.importing.keys import plain
from diffworld.importing.recording import BadRecording, Footage, check_size, needs, shrunk
from diffworld.runtime.frames import Frame

LARGEST_PART = 2**26  # bytes of one file in a movie: the inputs of hours, or a state
_EMULATOR = threading.Lock()  # a process can have one


@dataclass(frozen=True)
class Movie:
    """One movie. It has no rewards and no ends of its own."""

    alone: ClassVar[bool] = True  # one at a time
    name: str
    path: Path

    def open(self) -> Footage:
        """See `Recording`."""
        with self._playing() as (movie, env):
            height, width = env.get_screen(apply_rotation=True).shape[:2]
            check_size(height, width)
            rate, names, players = float(env.em.get_screen_rate()), list(env.buttons), int(movie.players)
            rows = []
            while movie.step():
                rows.append([movie.get_key(i, p) for p in range(players) for i in range(len(names))])
        held = np.array(rows, np.bool_).reshape(len(rows), -1)
        times = np.arange(len(rows) + 1) / rate
        called = [
            plain(name) if player == 0 else f"player {player + 1} {plain(name)}"
            for player in range(players)
            for name in names
        ]
        buttons = {name: held[:, i] for i, name in enumerate(called) if name}

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            with self._playing() as (movie, env):
                screen, place = env.get_screen(apply_rotation=True), 0
                for pick in picks:
                    while place < pick and movie.step():
                        keys = [movie.get_key(i, p) for p in range(players) for i in range(len(names))]
                        screen, place = env.step(keys)[0], place + 1
                    if place < pick:
                        return
                    yield shrunk(np.ascontiguousarray(screen), size)

        return Footage(
            times, True, (height, width), Ticks(times[:-1], buttons), read, [f"{len(rows):,} frames played anew"]
        )

    @contextmanager
    def _playing(self) -> Iterator[tuple[Any, Any]]:
        """The movie after its first line, and the emulator where the movie begins."""
        retro = needs("stable_retro", "retro")
        self._check()
        with _EMULATOR:
            try:
                movie = retro.Movie(str(self.path))
                game = movie.get_game()
                if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", game):
                    raise BadRecording(f"its game is called {game[:60]!r}, which no game is")
                movie.step()
                kind = {"state": retro.State.NONE, "use_restricted_actions": retro.Actions.ALL}
                env = retro.make(game, players=movie.players, render_mode="rgb_array", **kind)
            except (FileNotFoundError, RuntimeError) as error:
                said = " ".join(str(error).split())[:120]
                raise BadRecording(
                    f"it cannot be played ({said}); import its ROM with python -m stable_retro.import"
                ) from error
            try:
                env.initial_state = movie.get_state()
                env.reset()
                yield movie, env
            finally:
                env.close()

    def _check(self) -> None:
        try:
            with zipfile.ZipFile(self.path) as archive:
                parts = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise BadRecording(f"it is no movie ({error})") from error
        if any(part.file_size > LARGEST_PART for part in parts):
            raise BadRecording(f"a part of it unpacks to more than {LARGEST_PART // 2**20} MB: that is no movie")


def find(folder: Path) -> list[Movie]:
    """All movies in a folder and the folders in it."""
    return [Movie(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*.bk2"))]
