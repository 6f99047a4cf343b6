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
from diffworld.importing.recording import (
    BadRecording,
    Footage,
    Recording,
    check_size,
    files_in,
    needs,
    picked,
    shrunk,
)
from diffworld.runtime.errors import one_line
from diffworld.runtime.frames import Frame

LARGEST_PART = 2**26  # bytes of one file in a movie: the inputs of hours, or a state
_EMULATOR = threading.Lock()  # a process can have one


@dataclass(frozen=True)
class Movie(Recording):
    """One movie. It has no rewards and no ends of its own."""

    path: Path
    alone: ClassVar[bool] = True

    def open(self) -> Footage:
        """See `Recording`."""
        with self._playing() as (movie, env):
            height, width = env.get_screen(apply_rotation=True).shape[:2]
            check_size(height, width)
            rate, players = float(env.em.get_screen_rate()), int(movie.players)
            own = [plain(name) if name else "" for name in env.buttons]  # some have no name
            rows = list(_pressed(movie, env))
        names = own + [name and f"player {player} {name}" for player in range(2, players + 1) for name in own]
        held = np.array(rows, np.bool_).reshape(len(rows), len(names))
        times = np.arange(len(rows) + 1) / rate
        buttons = {name: held[:, place] for place, name in enumerate(names) if name}

        def read(picks: Ints, size: tuple[int, int]) -> Iterator[Frame]:
            with self._playing() as (movie, env):
                for screen in picked(_screens(movie, env), picks):
                    yield shrunk(np.ascontiguousarray(screen), size)

        notes = [f"{len(rows):,} frames played anew"]
        return Footage(times, True, (height, width), Ticks(times[:-1], buttons=buttons), read, notes)

    @contextmanager
    def _playing(self) -> Iterator[tuple[Any, Any]]:
        """The movie after its first line, and the emulator where the movie begins."""
        retro = needs("stable_retro", "retro")
        _check_sizes(self.path)
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
                advice = "import its ROM with python -m stable_retro.import"
                raise BadRecording(f"it cannot be played ({one_line(error)}); {advice}") from error
            try:
                env.initial_state = movie.get_state()
                env.reset()
                yield movie, env
            finally:
                env.close()


def _pressed(movie: Any, env: Any) -> Iterator[list[bool]]:
    """Whether each button is down, player after player, line by line."""
    while movie.step():
        yield [movie.get_key(button, player) for player in range(movie.players) for button in range(len(env.buttons))]


def _screens(movie: Any, env: Any) -> Iterator[Any]:
    yield env.get_screen(apply_rotation=True)
    for keys in _pressed(movie, env):
        yield env.step(keys)[0]


def _check_sizes(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise BadRecording(f"it is no movie ({error})") from error
    if any(part.file_size > LARGEST_PART for part in parts):
        raise BadRecording(f"a part of it unpacks to more than {LARGEST_PART // 2**20} MB: that is no movie")


def find(source: Path) -> list[Movie]:
    """All movies."""
    return [Movie(name, path) for name, path in files_in(source, {".bk2"})]
