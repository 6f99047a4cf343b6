"""Places are given in the order of arrival, and those who leave make room, from the line too."""

import asyncio

import pytest

from diffworld.play.queue import MAX_WAITING, PlayerQueue, QueueFull


class Guest:
    def __init__(self, queue: PlayerQueue) -> None:
        self.told: list[int] = []
        self.inside = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._stay(queue))

    async def _stay(self, queue: PlayerQueue) -> None:
        async def tell(place: int) -> None:
            self.told.append(place)

        async with queue.place(tell):
            self.inside.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_first_come_first_served() -> None:
    async def scenario() -> None:
        queue = PlayerQueue(2)
        guests = []
        for _ in range(5):
            guests.append(Guest(queue))
            await settle()
        assert [g.inside.is_set() for g in guests] == [True, True, False, False, False]
        assert [g.told for g in guests] == [[], [], [1], [2], [3]]
        await guests[1].leave()
        await settle()
        assert [g.inside.is_set() for g in guests[2:]] == [True, False, False]
        guests[3].task.cancel()  # tired of waiting
        await settle()
        assert guests[4].told[-1] == 1
        await guests[0].leave()
        await settle()
        assert guests[4].inside.is_set() and (queue.playing, queue._line) == (2, [])
        await guests[2].leave()
        await guests[4].leave()
        assert queue.playing == 0

    asyncio.run(scenario())


def test_the_line_has_an_end() -> None:
    async def scenario() -> None:
        queue = PlayerQueue(1)
        guests = [Guest(queue) for _ in range(MAX_WAITING + 1)]
        await settle()
        one_more = Guest(queue)
        await settle()
        with pytest.raises(QueueFull):
            await one_more.task
        for guest in guests:
            guest.task.cancel()
        await asyncio.gather(*(g.task for g in guests), return_exceptions=True)
        assert (queue.playing, queue._line) == (0, [])

    asyncio.run(scenario())
