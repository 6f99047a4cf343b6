"""Who may play now and who waits: places are given in the order of arrival."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

MAX_WAITING = 64


class QueueFull(Exception):
    """So many wait already that another should come back later."""


class PlayerQueue:
    """At most `max_players` play at once; the next ones wait in line."""

    def __init__(self, max_players: int) -> None:
        self.max_players = max_players
        self.playing = 0
        self._line: list[asyncio.Event] = []

    @asynccontextmanager
    async def place(self, tell: Callable[[int], Awaitable[None]]) -> AsyncIterator[None]:
        """Hold a place inside the `with`; before that, `tell(n)` says how many are ahead, plus one, as it changes.

        Raises: QueueFull.
        """
        if len(self._line) >= MAX_WAITING:
            raise QueueFull
        moved = asyncio.Event()
        self._line.append(moved)
        try:
            while self._line[0] is not moved or self.playing >= self.max_players:
                moved.clear()
                await tell(self._line.index(moved) + 1)
                await moved.wait()
            self.playing += 1
        finally:  # also where the one who waited has gone
            self._line.remove(moved)
            self._wake()
        try:
            yield
        finally:
            self.playing -= 1
            self._wake()

    def _wake(self) -> None:
        for moved in self._line:
            moved.set()
