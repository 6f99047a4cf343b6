"""What all players of one server share: the model, the stored episodes, worker threads, and films to fetch."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffworld.play.dreaming import Dreamer, use_threads
from diffworld.play.library import Library
from diffworld.play.queue import PlayerQueue
from diffworld.play.session import PlaySession, Settings
from diffworld.runs import Model

T = TypeVar("T")
MAX_FILMS = 64


@dataclass(frozen=True)
class Film:
    """An exported episode, and the name a browser saves it under."""

    path: Path
    name: str


class ServerState:
    """Shared by the connections of one server.

    Each player's step has a thread to wait in, so that all dreams can be drawn in one batch (see `Dreamer`). Stored
    episodes are read in one thread of their own.
    """

    def __init__(
        self, model: Model, library: Library, recordings: Path | None, max_players: int = 8, threads: int = 1
    ) -> None:
        """`threads` is how many torch may use to draw dreams."""
        self.model, self.library, self.recordings = model, library, recordings
        self.dreamer = Dreamer(model, threads)
        self.lobby = PlayerQueue(max_players)
        self._steps = ThreadPoolExecutor(max_players, "step", initializer=lambda: use_threads(1))
        self._files = ThreadPoolExecutor(1, "files")
        self._films: OrderedDict[str, Film] = OrderedDict()

    def new_session(self) -> PlaySession:
        """A session for a player who has just come: the agent plays until a key is pressed."""
        settings = Settings(
            player="human" if self.model.policy is None else "agent",
            world="real" if self.model.world is None else "dream",
            seed=secrets.randbelow(2**31),
        )
        return PlaySession(self.model, settings, self.recordings, self.library, self.dreamer)

    async def compute(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a step of a session in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._steps, work, *arguments)

    async def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run something about stored episodes, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._files, work, *arguments)

    def offer(self, path: Path, name: str) -> str:
        """Let a film be fetched; returns the key that no one can guess. The oldest of many are forgotten."""
        key = secrets.token_urlsafe(16)
        self._films[key] = Film(path, name)
        while len(self._films) > MAX_FILMS:
            self._films.popitem(last=False)
        return key

    def film(self, key: str) -> Film | None:
        """The film offered under this key."""
        return self._films.get(key)

    def close(self) -> None:
        """Let the threads end, and remove the films."""
        self._steps.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)
        self.library.close()
