"""Ctrl-C and SIGTERM as a question the loop asks, so that it stops only where a run can be saved."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(Exception):
    """The user asked to stop; everything is saved."""


class StopRequest:
    """While open, SIGINT and SIGTERM set `asked`; a second one kills as usual."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not in the main thread: whoever runs us handles signals
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
