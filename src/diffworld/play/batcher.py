"""Work that several threads ask for at the same time, done as one batch in a thread of its own."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class DynamicBatcher(Generic[Request, Result]):
    """Does requests that are alike and wait at the same moment in one go; the oldest one's kind comes first.

    Nothing is waited for: while one batch is done, the next one gathers, so batches grow with the load alone.
    """

    def __init__(
        self,
        work: Callable[[list[Request]], list[Result]],
        alike: Callable[[Request], Hashable],
        prepare: Callable[[], None],
    ) -> None:
        """`work` answers requests of one kind, in order; `alike` tells the kind; `prepare` begins the thread."""
        self._work, self._alike = work, alike
        self._waiting: dict[Hashable, list[tuple[Request, Future[Result]]]] = {}  # by kind
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "batch", initializer=prepare)

    def __call__(self, request: Request) -> Result:
        """The result of a request; raises what its batch raised."""
        future: Future[Result] = Future()
        with self._lock:
            self._waiting.setdefault(self._alike(request), []).append((request, future))
        self._thread.submit(self._serve)  # as often as there are requests, so none is left waiting
        return future.result()

    def close(self) -> None:
        """End the thread, once what waits is done."""
        self._thread.shutdown()

    def _serve(self) -> None:
        with self._lock:
            if not self._waiting:  # an earlier call did it all
                return
            batch = self._waiting.pop(next(iter(self._waiting)))
        try:
            results = self._work([request for request, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
