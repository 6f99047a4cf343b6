"""A dream sees its own frames and the real actions, and the same noise whatever draws it."""

import numpy as np
import torch
from tiny_fidelity import some_starts, tiny_networks
from torch import Tensor

from diffworld.evaluation.fidelity.rollouts import denoiser_frames, frames_per_second, roll_out, step_noise
from diffworld.models.diffusion import Randn, frames_from_bytes, frames_to_bytes
from diffworld.models.sampler import SamplerConfig
from diffworld.world.imagination import Imagination

CPU = torch.device("cpu")


def test_a_rollout_is_what_the_imagination_dreams() -> None:
    starts, networks, sampler = some_starts(40, count=3, horizon=6), tiny_networks(), SamplerConfig(denoising_steps=2)
    film = roll_out(denoiser_frames(networks.denoiser, sampler), starts, CPU, seed=3)
    n, step = starts.context_frames, 0
    context, actions = frames_from_bytes(torch.from_numpy(starts.context)), torch.from_numpy(starts.actions)
    imagination = Imagination(
        networks.denoiser,
        networks.reward_end,
        sampler,
        horizon=99,
        draw_starts=lambda rows: (context, torch.cat([actions[:, : n - 1], actions[:, :1] * 0], dim=1)),
        randn=lambda shape: step_noise(3, step, CPU)(shape),
    )
    state = imagination.start(3)
    assert (starts.lengths == 6).all()
    for step in range(6):
        frames, _, _, state = imagination.predict(state, actions[:, n - 1 + step])
        difference = film[:, step].astype(int) - frames_to_bytes(frames).numpy()
        assert np.abs(difference).max() <= 1  # rounding to the grid after sums in another order


def test_each_step_gets_its_own_frames_and_the_real_actions() -> None:
    starts = some_starts(30, 9, 6, count=9, context=3, horizon=7)
    calls = []

    def next_frame(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
        calls.append((frames.clone(), actions.clone()))
        return torch.full_like(frames[:, 0], len(calls) / 10)

    drawn = []
    film = roll_out(next_frame, starts, CPU, advance=drawn.append)
    assert drawn == starts.rows.tolist() and len(set(drawn)) > 1
    for step, (frames, actions) in enumerate(calls):
        rows = drawn[step]
        assert (actions.numpy() == starts.actions[:rows, step : step + 3]).all()
        own = [film[:rows, t] if t >= 0 else starts.context[:rows, t] for t in range(step - 3, step)]
        assert (frames_to_bytes(frames).numpy() == np.stack(own, axis=1)).all()
    assert not film[~starts.valid].any() and (film[starts.valid] > 0).all()


def test_a_dream_does_not_look_at_the_truth() -> None:
    starts, next_frame = some_starts(), denoiser_frames(tiny_networks().denoiser, SamplerConfig(denoising_steps=1))
    film = roll_out(next_frame, starts, CPU)
    starts.truth[:] = 255 - starts.truth
    assert (roll_out(next_frame, starts, CPU) == film).all()


def test_noise_depends_on_seed_and_step_and_on_nothing_drawn_before() -> None:
    starts = some_starts(30, count=2, horizon=5)
    seen: dict[int, list[Tensor]] = {1: [], 4: []}

    def sampler(draws: int):  # type: ignore[no-untyped-def]
        def next_frame(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
            noise = [randn(tuple(frames[:, 0].shape)) for _ in range(draws)]
            seen[draws].append(noise[0])
            return noise[-1]

        return next_frame

    films = [roll_out(sampler(draws), starts, CPU, seed=7) for draws in (1, 4, 4)]
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[4], strict=False))
    assert (films[1] == films[2]).all() and not (films[0] == films[1]).all()
    assert not torch.equal(seen[1][0], seen[1][1])
    assert not (roll_out(sampler(4), starts, CPU, seed=8) == films[1]).all()


def test_speed_counts_rows_times_calls() -> None:
    calls = []

    def next_frame(frames: Tensor, actions: Tensor, randn: Randn) -> Tensor:
        calls.append(len(frames))
        return frames[:, 0]

    starts = some_starts(count=5)
    assert frames_per_second(next_frame, starts, CPU, rows=5, seconds=0.01) > 0
    assert set(calls) == {5} and 5 <= len(calls) <= 1002
