"""Phases in which rank 0 works alone: the others wait, save and stop with it, and then stand where it stands."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from diffworld.runtime.progress import Display
from diffworld.runtime.ranks import Ranks, joined
from diffworld.training.interrupt import Interrupted, StopRequest
from diffworld.training.loop import Loop, Progress
from tests.several_ranks import Started


class Watched:
    """A trainer and a run folder that count who saves."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.checkpoints, self.written = ranks, 0, 0
        self.recipe = SimpleNamespace(steps_left=1)  # not finished

    def checkpoint(self, progress: dict[str, Any]) -> SimpleNamespace:
        self.checkpoints += 1
        assert self.ranks.all(self.checkpoints) == [self.checkpoints] * self.ranks.count, "ranks save together"
        return SimpleNamespace()

    def check_claim(self) -> None:
        assert self.ranks.first, "the claim is rank 0's"

    def save(self, number: int, checkpoint: Any) -> None:
        self.written += 1
        assert self.ranks.first


def loop_of(ranks: Ranks) -> tuple[Loop, Watched]:
    watched = Watched(ranks)
    any_of_it = cast(Any, watched)
    loop = Loop(
        any_of_it, any_of_it, Progress(), Display(quiet=True), None, StopRequest(), math.inf, test=lambda *_: {}
    )
    return loop, watched


def work_and_stop() -> None:
    with joined() as ranks:
        loop, watched = loop_of(ranks)
        began: list[int] = []

        def work() -> str:
            began.append(ranks.rank)
            loop.pause_point()  # nothing is due
            loop.progress.done, loop.progress.values = 7, {"collect/games": 2.0}
            loop.checkpoint_seconds = 0.0
            loop.pause_point()
            loop.pause_point()
            loop.checkpoint_seconds = math.inf
            return f"found by rank {ranks.rank}"

        assert loop.work_alone(work) == "found by rank 0"
        assert began == [0] * ranks.first and watched.checkpoints == 2 and watched.written == 2 * ranks.first
        assert (loop.progress.done, loop.progress.values, loop.progress.saves) == (7, {"collect/games": 2.0}, 2)

        loop.stop.asked = not ranks.first
        with pytest.raises(Interrupted):  # whoever was asked
            loop.pause_point()
        assert watched.checkpoints == 3
        loop.stop.asked = ranks.first
        with pytest.raises(Interrupted):
            loop.work_alone(loop.pause_point)
        assert watched.checkpoints == 4 and watched.written == 4 * ranks.first and not loop.alone


def pause_together() -> None:
    """Ranks have work of unequal length; whoever is done saves and stops with the others."""
    with joined() as ranks:
        loop, watched = loop_of(ranks)
        for _ in range(3 * ranks.rank):
            assert loop.pause_point(), "somebody is at work"
        while loop.pause_point(at_work=False):
            pass
        assert ranks.all(loop.progress.saves) == [0] * ranks.count

        loop.checkpoint_seconds = 0.0
        with pytest.raises(Interrupted):
            for _ in range(ranks.rank):
                loop.pause_point()
            loop.stop.asked = ranks.rank == 1
            while loop.pause_point(at_work=False):
                pass
        assert watched.checkpoints == 2, "once while rank 1 worked, and once as it was asked to stop"


def fail_alone() -> None:
    def work() -> None:
        raise ValueError("of rank 0")

    with joined() as ranks:
        loop_of(ranks)[0].work_alone(work)


def test_the_others_wait_save_and_stop_with_rank_0(tmp_path: Path) -> None:
    started = Started(work_and_stop, [()] * 3, tmp_path)
    assert started.wait() == [0] * 3, "\n".join(started.errors())


def test_ranks_with_less_to_do_save_and_stop_with_the_others(tmp_path: Path) -> None:
    started = Started(pause_together, [()] * 3, tmp_path)
    assert started.wait() == [0] * 3, "\n".join(started.errors())


def test_the_others_end_where_rank_0_fails(tmp_path: Path) -> None:
    started = Started(fail_alone, [()] * 2, tmp_path)
    assert started.wait() == [1, 1]
    ours, other = (path.with_suffix(".err").read_text() for path in started.outputs)
    assert "ValueError: of rank 0" in ours and "SaidElsewhere" in other
