"""Steps keep their rate, and too many messages run out of allowance."""

import pytest

from diffworld.play.pace import Allowance, Meter, Pace


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_steady_rate_in_spite_of_slow_steps() -> None:
    time = Time()
    pace, starts = Pace(10, time), []
    for cost in [0.0, 0.06, 0.09, 0.0, 0.05]:
        time.now += pace.wait()
        starts.append(time.now)
        time.now += cost
        pace.stepped()
    assert [b - a for a, b in zip(starts, starts[1:], strict=False)] == pytest.approx([0.1] * 4)


def test_what_came_late_is_not_caught_up() -> None:
    time = Time()
    pace = Pace(10, time)
    time.now += 5.0
    pace.stepped()
    assert pace.wait() == 0.0
    pace.stepped()
    assert pace.wait() == pytest.approx(0.1)


def test_an_end_is_held_and_a_restart_is_not() -> None:
    time = Time()
    pace = Pace(10, time)
    pace.stepped(hold=1.0)
    assert pace.wait() == pytest.approx(1.1)
    pace.restart()
    assert pace.wait() == 0.0


def test_the_meter_forgets() -> None:
    time = Time()
    meter = Meter(2.0, time)
    for _ in range(41):
        meter.tick()
        time.now += 0.05
    assert meter.rate() == pytest.approx(20, rel=0.05)
    time.now += 3
    assert meter.rate() == 0.0


def test_the_allowance_fills_up_again() -> None:
    time = Time()
    allowance = Allowance(10, 5, time)
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]
    time.now += 0.2
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    time.now += 60
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]
