"""Steps drawn in one batch are those that each player would have been drawn alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import wait_for
from tiny_run import SMALL, make_run

from diffworld.play.dreaming import use_threads
from diffworld.play.worlds import DreamWorld, StepKey, WorldStep
from diffworld.runs.loading import Model, load_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_run(make_run(tmp_path_factory.mktemp("dreaming") / "run"), "cpu")


class Held:
    """A model's drawing that notes the rows of each batch, and begins only when told."""

    def __init__(self, model: Model) -> None:
        self.rows: list[int] = []
        self.go = threading.Event()
        self._own = model.dreamer.sample_frame

    def __call__(self, frames: torch.Tensor, *arguments: Any) -> Any:
        self.rows.append(len(frames))
        assert self.go.wait(30)
        return self._own(frames, *arguments)


def test_a_batch_shows_each_player_what_they_would_see_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    churned = replace(SMALL.sampler, churn=5.0)
    samplers = [SMALL.sampler, churned, churned, SMALL.sampler, churned]

    def step(player: int) -> WorldStep:
        world, memory = DreamWorld(model), model.networks.actor_critic.zero_state(1)
        state = world.start(model.starts[3 * player])
        return world.step(state, player % 4, samplers[player], 9, StepKey(player, 0, 0), memory)[1]

    alone = [step(player) for player in range(5)]
    held = Held(model)
    monkeypatch.setattr(model.dreamer, "sample_frame", held)
    with ThreadPoolExecutor(5) as pool:
        together = [pool.submit(step, 0)]
        wait_for(lambda: held.rows)
        together += [pool.submit(step, player) for player in range(1, 5)]
        wait_for(lambda: len(model.dreamer.step._waiting) == 4)
        held.go.set()
        results = [future.result(30) for future in together]
    assert held.rows[0] == 1 and sorted(held.rows[1:]) == [1, 3], "only equal sampler settings share a batch"
    for one, other in zip(alone, results, strict=True):
        # Rounding may move a value over the edge of its level of 8 bits, at each of the two denoising steps.
        assert np.abs(one.frame.astype(int) - other.frame).max() <= 4
        assert (one.reward, one.ended) == (other.reward, other.ended)
        assert one.prediction is not None and other.prediction is not None
        torch.testing.assert_close(one.prediction.trajectory[0], other.prediction.trajectory[0], rtol=0, atol=0)
        assert [state.shape for state in other.prediction.trajectory] == [(1, 3, 16, 16)] * 3
        np.testing.assert_allclose(one.prediction.reward_probs, other.prediction.reward_probs, atol=0.02)
        assert one.thinks is not None and other.thinks is not None
        np.testing.assert_allclose(one.thinks.probs, other.thinks.probs, atol=0.02)
        assert other.thinks.logits.shape == (1, 4)
        assert set(other.milliseconds) == {"denoiser", "reward_end", "policy"}
    noise = {tuple(one.prediction.trajectory[0].flatten().tolist()) for one in alone if one.prediction}
    assert len(noise) == 5, "every player has noise of their own"


def test_threads_are_those_asked_for_whatever_another_thread_asks_later() -> None:
    asked, other_asked = threading.Event(), threading.Event()
    seen: list[int] = []

    def first() -> None:
        use_threads(1)
        asked.set()
        assert other_asked.wait(30)
        seen.append(torch.get_num_threads())

    def second() -> None:
        assert asked.wait(30)
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
    small = load_run(tmp_path / "small", "cpu", threads=2)
    wide = replace(SMALL, denoiser=replace(SMALL.denoiser, channels=(8, 64)))
    large = load_run(make_run(tmp_path / "large", wide, replay_steps=0), "cpu", threads=2)
    assert (small.small, small.precision) == (True, "float32")
    assert (large.small, large.precision) == (False, "auto")
    before = torch.get_num_threads()
    assert [m.dreamer.step._thread.submit(torch.get_num_threads).result() for m in (small, large)] == [1, 2]
    use_threads(before)
