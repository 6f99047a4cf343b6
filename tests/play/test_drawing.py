"""Steps drawn in one batch are those that each player would have been drawn alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from serving import LIMIT, wait_for
from tiny_run import SMALL, make_run

from diffworld.play.compiling import compiling_pays
from diffworld.play.drawing import Dreamer, DreamRequest, DreamStep
from diffworld.runs import Model, load
from diffworld.runtime.device import resolve_precision, resolve_threads, use_threads
from diffworld.world import DreamState, FrameStack, Samplers, StepKey, WorldModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_run(tmp_path_factory.mktemp("dreaming") / "run"), "cpu")


class Held:
    """A world model that notes the rows of each batch, and draws only when told."""

    def __init__(self, own: WorldModel[Any], rows: list[int], go: threading.Event) -> None:
        self.own, self.rows, self.go, self.dtype = own, rows, go, own.dtype

    def start(self, *window: torch.Tensor) -> DreamState:
        return self.own.start(*window)

    def with_samplers(self, samplers: Samplers) -> "Held":
        return Held(self.own.with_samplers(samplers), self.rows, self.go)

    def step(self, state: DreamState, *arguments: Any, **options: Any) -> Any:
        self.rows.append(len(state.frame))
        assert self.go.wait(LIMIT)
        return self.own.step(state, *arguments, **options)


def test_a_batch_shows_each_player_what_they_would_see_alone(model: Model) -> None:
    churned = replace(SMALL.sampler, churn=5.0)
    dreamer = Dreamer(model)
    assert model.policy is not None
    memory = model.policy.zero_state(1)
    samplers = [SMALL.sampler, churned, churned, SMALL.sampler, churned]

    def step(player: int) -> DreamStep:
        state, key = dreamer.start(model.starts[3 * player]), StepKey(player, 0, 0)
        return dreamer.step(DreamRequest(state, player % 4, (samplers[player],), 9, key, memory))[1]

    alone = [step(player) for player in range(5)]
    rows: list[int] = []
    go = threading.Event()
    dreamer.world = cast(FrameStack, Held(model.require_world(), rows, go))
    with ThreadPoolExecutor(5) as pool:
        together = [pool.submit(step, 0)]
        wait_for(lambda: rows)
        together += [pool.submit(step, player) for player in range(1, 5)]
        wait_for(lambda: sum(map(len, dreamer.step._waiting.values())) == 4)
        go.set()
        results = [future.result(LIMIT) for future in together]
    assert rows[0] == 1 and sorted(rows[1:]) == [1, 3], "only equal sampler settings share a batch"
    for one, other in zip(alone, results, strict=True):
        # Rounding may move a value over the edge of its level of 8 bits, at each of the two denoising steps.
        assert np.abs(one.frame.astype(int) - other.frame).max() <= 4
        assert (one.reward, one.ended) == (other.reward, other.ended)
        torch.testing.assert_close(one.trajectory[0], other.trajectory[0], rtol=0, atol=0)
        assert other.trajectory.shape == (3, 3, 16, 16)
        torch.testing.assert_close(one.context, other.context, rtol=0, atol=0)
        assert one.reward_probs is not None and other.reward_probs is not None
        np.testing.assert_allclose(one.reward_probs, other.reward_probs, rtol=0, atol=0.02)
        assert one.thinks is not None and other.thinks is not None
        np.testing.assert_allclose(one.thinks.probs, other.thinks.probs, atol=0.02)
        assert other.thinks.logits.shape == (1, 4)
        assert set(other.milliseconds) == {"denoiser", "reward_end", "policy"}
    noise = {tuple(one.trajectory[0].flatten().tolist()) for one in alone}
    assert len(noise) == 5, "every player has noise of their own"


def test_threads_are_those_asked_for_whatever_another_thread_asks_later() -> None:
    asked, other_asked = threading.Event(), threading.Event()
    seen: list[int] = []

    def first() -> None:
        use_threads(1)
        asked.set()
        assert other_asked.wait(LIMIT)
        seen.append(torch.get_num_threads())

    def second() -> None:
        assert asked.wait(LIMIT)
        use_threads(3)
        other_asked.set()

    before = torch.get_num_threads()
    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1]
    use_threads(before)  # what threads that begin later start from


def test_small_networks_stay_in_float32_on_one_core(tmp_path: Path) -> None:
    make_run(tmp_path / "small", replay_steps=0)
    small = load(tmp_path / "small", "cpu")
    wide = replace(SMALL, denoiser=replace(SMALL.denoiser, channels=(8, 64)))
    large = load(make_run(tmp_path / "large", wide, replay_steps=0), "cpu")
    native = resolve_precision("auto", torch.device("cpu"))
    assert (small.config.small, small.require_world().dtype) == (True, torch.float32)
    assert (large.config.small, large.require_world().dtype) == (False, native)
    assert (compiling_pays(small), compiling_pays(large)) == (False, native == torch.bfloat16)
    before = torch.get_num_threads()
    dreamers = [Dreamer(model) for model in (small, large)]
    threads = [resolve_threads(True), resolve_threads(False)]
    assert [dreamer.step._thread.submit(torch.get_num_threads).result() for dreamer in dreamers] == threads
    use_threads(before)
