"""Ctrl-C and SIGTERM as a question the loop asks, so that it stops only where a run can be saved."""

import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Protocol, Self, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The user asked to stop; everything is saved."""


class Pauses(Protocol):
    """How ranks keep together while they do something else than updates."""

    def pause_point(self, at_work: bool = True) -> bool:
        """Where the run may be saved and stopped, in all ranks together; whether any of them is still at work."""
        ...

    def work_alone(self, work: Callable[[], T]) -> T:
        """What rank 0 finds, for which the others wait; it may pause meanwhile."""
        ...


class StopRequest(ExitStack):
    """While open, SIGINT and SIGTERM set `asked`; a second one kills as usual, unless this is `patient`.

    Among several ranks it must be: torchrun hands on each signal, and has a limit of its own.
    """

    asked = False

    def __init__(self, patient: bool = False) -> None:
        super().__init__()
        self.patient = patient

    def __enter__(self) -> Self:
        with suppress(ValueError):  # not in the main thread: whoever runs us handles signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self.callback(signal.signal, number, signal.signal(number, self._handle))
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self.patient:
            self.close()
