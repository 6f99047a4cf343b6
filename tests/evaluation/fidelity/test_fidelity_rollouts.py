"""A dream sees its own frames and the real actions, and the same noise whatever draws it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tiny_fidelity import KEYS, some_starts, tiny_world
from torch import Tensor

from diffworld.evaluation.fidelity.films import frames_per_second, roll_out, step_noise
from diffworld.evaluation.fidelity.starts import RealEpisode, draw_starts
from diffworld.models.diffusion import Randn
from diffworld.runtime.frames import frames_from_bytes, frames_to_bytes
from diffworld.world import DreamState, Prediction

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Frames(DreamState):
    """A window of frames and their actions."""

    frames: Tensor
    actions: Tensor


class Drawn:
    """A world model whose frames a function draws, from window, actions and noise."""

    def __init__(self, draw: Callable[[Tensor, Tensor, Randn], Tensor]) -> None:
        self.draw = draw

    def start(self, frames: Tensor, actions: Tensor) -> Frames:
        return Frames(frames, actions[:, :-1])

    def step(self, state: Frames, actions: Tensor, randn: Randn, **_: Any) -> tuple[Frames, Prediction]:
        acted = torch.cat([state.actions, actions[:, None]], dim=1)
        frames = self.draw(state.frames, acted, randn)
        window = torch.cat([state.frames[:, 1:], frames[:, None]], dim=1)
        return Frames(window, acted[:, 1:]), Prediction(frames, None, None)


def test_a_rollout_is_what_the_denoiser_draws_from_its_own_frames() -> None:
    starts, (world, _) = some_starts(40, count=3, horizon=6), tiny_world(2)
    film, n = roll_out(world, starts, CPU, seed=3), starts.context_frames
    assert (starts.lengths == 6).all()
    window, actions = frames_from_bytes(torch.from_numpy(starts.context)), torch.from_numpy(starts.actions)
    for step in range(6):
        noise = step_noise(3, step, CPU)
        frames, _ = world.denoiser.sample(window, actions[:, step : step + n], world.sampler, noise)
        window = torch.cat([window[:, 1:], frames[:, None]], dim=1)
        difference = film[:, step].astype(int) - frames_to_bytes(frames).numpy()
        assert np.abs(difference).max() <= 1  # rounding to the grid after sums in another order


def test_each_step_gets_its_own_frames_and_the_real_actions() -> None:
    starts = some_starts(30, 9, 6, count=9, context=3, horizon=7)
    calls = []

    def draw(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
        calls.append((frames.clone(), actions.clone()))
        return torch.full_like(frames[:, 0], len(calls) / 10)

    drawn = []
    film = roll_out(Drawn(draw), starts, CPU, advance=drawn.append)
    assert drawn == starts.rows.tolist() and len(set(drawn)) > 1
    for step, (frames, actions) in enumerate(calls):
        rows = drawn[step]
        assert (actions.numpy() == starts.actions[:rows, step : step + 3]).all()
        own = [film[:rows, t] if t >= 0 else starts.context[:rows, t] for t in range(step - 3, step)]
        assert (frames_to_bytes(frames).numpy() == np.stack(own, axis=1)).all()
    assert not film[~starts.valid].any() and (film[starts.valid] > 0).all()


def test_actions_may_be_vectors() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (31, 16, 20, 3), dtype=np.uint8)
    taken = KEYS.sample(rng, 30)
    real = RealEpisode(taken, np.zeros(30, np.float32), np.zeros(30, bool), lambda first, stop: frames[first:stop])
    starts = draw_starts([real], 4, 3, 8, rng)
    assert starts.actions.shape == (4, 10, 3) and starts.actions.dtype == np.uint8
    calls = []

    def draw(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
        calls.append(actions)
        return frames[:, 0]

    roll_out(Drawn(draw), starts, CPU)
    for step, actions in enumerate(calls):
        assert (actions.numpy() == starts.actions[: starts.rows[step], step : step + 3]).all()


def test_a_dream_does_not_look_at_the_truth() -> None:
    starts, (world, _) = some_starts(), tiny_world()
    film = roll_out(world, starts, CPU)
    starts.truth[:] = 255 - starts.truth
    assert (roll_out(world, starts, CPU) == film).all()


def test_noise_depends_on_seed_and_step_and_on_nothing_drawn_before() -> None:
    starts = some_starts(30, count=2, horizon=5)
    seen: dict[int, list[Tensor]] = {1: [], 4: []}

    def world(draws: int) -> Drawn:
        def draw(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
            noise = [randn(tuple(frames[:, 0].shape)) for _ in range(draws)]
            seen[draws].append(noise[0])
            return noise[-1]

        return Drawn(draw)

    films = [roll_out(world(draws), starts, CPU, seed=7) for draws in (1, 4, 4)]
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[4], strict=False))
    assert (films[1] == films[2]).all() and not (films[0] == films[1]).all()
    assert not torch.equal(seen[1][0], seen[1][1])
    assert not (roll_out(world(4), starts, CPU, seed=8) == films[1]).all()


def test_speed_counts_rows_times_calls() -> None:
    calls = []

    def draw(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
        calls.append(len(frames))
        return frames[:, 0]

    starts = some_starts(count=5)
    assert frames_per_second(Drawn(draw), starts, CPU, rows=5, seconds=0.01) > 0
    assert set(calls) == {5} and 5 <= len(calls) <= 1002
