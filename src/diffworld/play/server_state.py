"""What all players of one server share: the model, the stored episodes, the line of players, and worker threads."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from diffworld.play.dreaming import Dreamer, use_threads
from diffworld.play.library import Library
from diffworld.play.queue import PlayerQueue
from diffworld.play.session import PlaySession
from diffworld.runs import Model

T = TypeVar("T")


class ServerState:
    """Shared by the connections of one server.

    Each player's step has a thread to wait in, so that all dreams can be drawn in one batch (see `Dreamer`). Queries
    are answered in one thread of their own.
    """

    def __init__(
        self, model: Model, library: Library, recordings: Path | None, max_players: int = 8, threads: int = 1
    ) -> None:
        """`threads` is how many torch may use to draw dreams."""
        self.model, self.library, self.recordings = model, library, recordings
        self.dreamer = Dreamer(model, threads)
        self.queue = PlayerQueue(max_players)
        self._steps = ThreadPoolExecutor(max_players, "step", initializer=lambda: use_threads(1))
        self._files = ThreadPoolExecutor(1, "files", initializer=lambda: use_threads(1))

    def new_session(self) -> PlaySession:
        """A session for a player who has just come: the agent plays until a key is pressed."""
        player, seed = "human" if self.model.policy is None else "agent", secrets.randbelow(2**31)
        return PlaySession(self.model, self.recordings, self.library, self.dreamer, player=player, seed=seed)

    def compute(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run a step of a session in a worker thread."""
        return asyncio.get_running_loop().run_in_executor(self._steps, work, *arguments)

    def read(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run a query, one at a time."""
        return asyncio.get_running_loop().run_in_executor(self._files, work, *arguments)

    def close(self) -> None:
        """Let the threads end, and remove the films."""
        self._steps.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)
        self.library.close()
