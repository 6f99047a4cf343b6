"""What waits at the same moment and is alike is done at once; failures reach those they concern."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving import LIMIT, wait_for

from diffworld.play.batcher import DynamicBatcher


class Worker:
    """Doubles numbers. The first batch is held until `go`, so that others gather meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.go = threading.Event()
        self.ask = DynamicBatcher(self._work, alike=lambda number: number % 2, prepare=lambda: None)

    def _work(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(LIMIT)
        if 13 in numbers:
            raise ValueError("unlucky")
        return [2 * number for number in numbers]


def waiting(batcher: DynamicBatcher[Any, Any]) -> int:
    return sum(map(len, batcher._waiting.values()))


def test_those_who_wait_are_served_together_by_kind_the_oldest_first() -> None:
    worker = Worker()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(worker.ask, 1)]
        wait_for(lambda: worker.batches)
        for count, number in enumerate((4, 3, 6, 5, 8), start=1):
            answers.append(pool.submit(worker.ask, number))
            wait_for(lambda: waiting(worker.ask) == count)  # noqa: B023
        worker.go.set()
        assert [answer.result(LIMIT) for answer in answers] == [2, 8, 6, 12, 10, 16]
    assert worker.batches == [[1], [4, 6, 8], [3, 5]]
    assert len(worker.threads) == 1


def test_a_failure_reaches_its_batch_and_no_one_else() -> None:
    worker = Worker()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(worker.ask, 2)]
        wait_for(lambda: worker.batches)
        answers += [pool.submit(worker.ask, number) for number in (13, 15, 16)]
        wait_for(lambda: waiting(worker.ask) == 3)
        worker.go.set()
        for answer in answers[1:3]:
            with pytest.raises(ValueError, match="unlucky"):
                answer.result(LIMIT)
        assert [answers[0].result(LIMIT), answers[3].result(LIMIT)] == [4, 32]
    assert worker.ask(5) == 10, "the thread goes on"
