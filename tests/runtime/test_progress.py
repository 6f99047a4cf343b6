"""What a user sees while something long goes on."""

import io
import os
import sys

import pytest
from rich.console import Console

from diffworld.runtime.progress import Display, duration, epoch_line, rate


def test_an_epoch_in_one_line() -> None:
    counters = {"env_steps": 12_345, "wall_seconds": 754.9}
    assert epoch_line(3, counters, {}) == "epoch 3 | 12,345 steps | 12:34"
    values = {
        "denoiser/loss": 0.12345,
        "reward_end/loss": 1.0,
        "actor_critic/imagined_return": 0.5,
        "actor_critic/entropy": 1.234,
        "collect/return": 1234.5,
        "eval/return_mean": 17.0,
        "time/test_seconds": 3.0,
    }
    assert epoch_line(3, counters, values) == (
        "epoch 3 | 12,345 steps | 12:34 | denoiser 0.1235 | reward/end 1.0000 | imagined return +0.500 | entropy 1.23"
        " | score 1234 | test score 17"
    )


@pytest.mark.parametrize(
    ("speed", "said"), [(0.0, ""), (0.1, "10.0 s/game"), (1.0, "1.0 game/s"), (250.0, "250.0 game/s")]
)
def test_rates(speed: float, said: str) -> None:
    assert rate(speed, "game") == said


def test_without_a_terminal_a_phase_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("diffworld.runtime.progress.time.monotonic", lambda: now)
    with Display().bar("epoch 1 denoiser", "update", 2_000, 1_000) as advance:
        for _ in range(10):
            now += 10.0
            advance(100)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1 denoiser: 1,300 of 2,000 updates, 10.0 update/s, about 70 seconds left",
        "epoch 1 denoiser: 1,600 of 2,000 updates, 10.0 update/s, about 40 seconds left",
        "epoch 1 denoiser: 1,900 of 2,000 updates, 10.0 update/s, about 10 seconds left",
    ]


def test_where_nothing_is_done_yet_no_rate_is_made_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("diffworld.runtime.progress.time.monotonic", lambda: now)
    with Display().bar("45 runs", "epoch", 1_035) as advance:
        now = 31.0
        advance(0)
    assert capsys.readouterr().out == "45 runs: 0 of 1,035 epochs so far\n"


def test_on_a_terminal_there_is_a_bar_that_goes_away() -> None:
    display, out = Display(), io.StringIO()
    display.console = Console(file=out, force_terminal=True, width=100, highlight=False)
    with display.bar("epoch 1 collect", "step", 50, 10) as advance:
        advance(40)
        display.line("[not markup]")
    said = out.getvalue()
    assert "epoch 1 collect" in said and "50/50" in said and "[not markup]" in said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(30, "30 seconds"), (150, "2.5 minutes"), (5000, "83.3 minutes"), (7200, "2.0 hours"), (86400 * 3, "3.0 days")],
)
def test_durations_are_in_the_unit_people_would_use(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_reader_that_has_gone_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        display = Display()
        display.line("nobody reads this")
        with display.bar("collect", "step", 2) as advance:
            advance(2)
        display.line("nor this")
