"""Time in a connection: when the next step is due, how many there were, and how many messages are too many."""

import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]


class Pace:
    """Steps at a steady rate. What came late is not caught up: the game slows down instead of jumping."""

    def __init__(self, fps: float, clock: Clock = time.monotonic) -> None:
        self.fps, self._clock, self._due = fps, clock, clock()

    def wait(self) -> float:
        """Seconds until the next step is due, at least 0."""
        return max(0.0, self._due - self._clock())

    def stepped(self, hold: float = 0.0) -> None:
        """A step was taken; the next is due one period after this one was due, and `hold` seconds later."""
        self._due = max(self._due + 1 / self.fps, self._clock()) + hold

    def restart(self) -> None:
        """The next step is due at once."""
        self._due = self._clock()


class Meter:
    """How many events a second there were, over the last `window` seconds."""

    def __init__(self, window: float = 2.0, clock: Clock = time.monotonic) -> None:
        self._window, self._clock = window, clock
        self._times: deque[float] = deque()

    def tick(self) -> None:
        """An event happens now."""
        self._times.append(self._clock())

    def rate(self) -> float:
        """Events a second; 0 before the second event."""
        now = self._clock()
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(1e-6, self._times[-1] - self._times[0])


class Allowance:
    """A token bucket: `rate` events a second in the long run, up to `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> bool:
        """Use one; False if none is left."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        allowed = self._left >= 1
        self._left -= allowed
        return allowed
