"""Ctrl-C and SIGTERM as a question the loop asks, so that it stops only where a run can be saved."""

import signal
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Self


class Interrupted(Exception):
    """The user asked to stop; everything is saved."""


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

    def check(self) -> None:
        """Interrupted, if asked."""
        if self.asked:
            raise Interrupted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self.patient:
            self.close()
