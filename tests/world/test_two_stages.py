"""A world in two stages: small frames move on by the actions, large ones follow them and the large one before."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diffworld.models.denoiser import Conditioning, Denoiser, DenoiserConfig, UpsamplerConfig, shrink
from diffworld.models.diffusion import Randn, to_byte_grid
from diffworld.models.reward_end import RewardEndConfig, RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.world import FrameStack, KeyedGenerators, StepKey, TwoStages, TwoStageState, row_noise, tensors_of
from diffworld.world.noise import generator_noise
from tests.world.watched_world import VECTOR, actions_of

N, FACTOR, LARGE, SMALL = 3, 3, (12, 18), (4, 6)
FAST = SamplerConfig(1, sigma_context=0.005)
ENLARGING = SamplerConfig(1, sigma_min=1.0, churn=10.0, churn_min=1.0, churn_max=5.0, churn_noise=0.9)
LEVELS: dict[str, Any] = {"channels": (4,), "depths": (1,), "attention": (False,)}


class Watched(Denoiser):
    """A denoiser of random weights that keeps what it was asked to draw from."""

    def __init__(self, config: DenoiserConfig, conditioning: Conditioning) -> None:
        super().__init__(config, None if conditioning.upsampling_factor > 1 else VECTOR, conditioning)
        self.asked: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
        with torch.no_grad():  # a fresh network ignores its context
            for parameter in self.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)

    def sample(
        self,
        frames: Tensor,
        actions: Tensor | None,
        config: SamplerConfig,
        randn: Randn,
        *,
        low_res: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        self.asked.append((frames, actions, low_res))
        return super().sample(frames, actions, config, randn, low_res=low_res)


def world_of(judged: bool = False, large_context: int = 1, steps: tuple[int, int] = (1, 1)) -> TwoStages:
    denoiser = Watched(DenoiserConfig(N, 12, **LEVELS), Conditioning(noise_context=True))
    upsampler = Watched(
        UpsamplerConfig(large_context, 12, **LEVELS, factor=FACTOR), Conditioning(upsampling_factor=FACTOR)
    )
    model = RewardEndModel(RewardEndConfig(8, 6, **LEVELS), VECTOR, SMALL) if judged else None
    low, high = (dataclasses.replace(s, denoising_steps=n) for s, n in zip((FAST, ENLARGING), steps, strict=True))
    return TwoStages(FrameStack(denoiser, model, low), upsampler, high)


def windows(count: int) -> tuple[Tensor, Tensor]:
    return to_byte_grid(torch.rand(count, N, 3, *LARGE) * 2 - 1), actions_of(VECTOR, count, N)


def noise(seed: int) -> Callable[[tuple[int, ...]], Tensor]:
    return generator_noise(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("large_context", [1, 2])
@pytest.mark.parametrize("judged", [True, False])
def test_each_stage_draws_from_its_own_frames_and_what_the_other_drew(large_context: int, judged: bool) -> None:
    world = world_of(judged, large_context)
    frames, actions = windows(2)
    state = world.start(frames, actions)
    assert world.context_frames == N
    assert torch.equal(state.frame, frames[:, -1]) and torch.equal(state.context, frames[:, -large_context:])
    assert torch.equal(state.small.context, shrink(frames, FACTOR)) and state.small.context.shape[-2:] == SMALL
    shown, small = [*frames.unbind(1)], [*shrink(frames, FACTOR).unbind(1)]
    for _ in range(3):
        taken = actions_of(VECTOR, 2)
        state, prediction = world.step(state, taken, torch.randn)
        drawn = prediction.small
        assert drawn is not None and drawn.frames.shape == (2, 3, *SMALL)
        assert prediction.frames.shape == (2, 3, *LARGE)
        assert (prediction.end_logits is not None) == (prediction.reward_logits is not None) == judged
        below, acted, _ = world.low.denoiser.asked[-1]  # type: ignore[attr-defined]
        above, nothing, enlarged = world.upsampler.asked[-1]  # type: ignore[attr-defined]
        assert torch.equal(below, torch.stack(small[-N:], 1)) and torch.equal(acted[:, -1], taken)
        assert torch.equal(above, torch.stack(shown[-large_context:], 1)) and nothing is None
        assert torch.equal(enlarged, drawn.frames)
        shown.append(prediction.frames)
        small.append(drawn.frames)
        assert torch.equal(state.frame, prediction.frames) and torch.equal(state.small.frame, drawn.frames)


def test_trajectories_of_both_stages_only_on_request() -> None:
    world = world_of(steps=(3, 2))
    state = world.start(*windows(2))
    _, plain = world.step(state, actions_of(VECTOR, 2), torch.randn)
    assert plain.small is not None and plain.trajectory is None and plain.small.trajectory is None
    _, shown = world.step(state, actions_of(VECTOR, 2), torch.randn, trajectory=True)
    assert shown.small is not None and shown.trajectory is not None and shown.small.trajectory is not None
    assert [x.shape for x in shown.trajectory] == [(2, 3, *LARGE)] * 3
    assert [x.shape for x in shown.small.trajectory] == [(2, 3, *SMALL)] * 4
    assert torch.equal(shown.trajectory[-1], shown.frames)


def test_rows_dream_the_same_alone_and_together() -> None:
    world, generators = world_of(judged=True, steps=(2, 2)), [KeyedGenerators(torch.device("cpu")) for _ in range(3)]
    frames, actions = windows(3)
    taken = actions_of(VECTOR, 3)
    together, _ = world.step(
        world.start(frames, actions),
        taken,
        row_noise([each.noise(StepKey(row, 0, 0)) for row, each in enumerate(generators)]),
    )
    for row in range(3):
        one = slice(row, row + 1)
        alone, _ = world.step(
            world.start(frames[one], actions[one]), taken[one], generators[row].noise(StepKey(row, 0, 0))
        )
        for a, b in zip(tensors_of(alone), tensors_of(together.rows(one)), strict=True):
            torch.testing.assert_close(a, b, atol=2.1 / 255 if a.is_floating_point() else 0, rtol=0)


def test_states_are_kept_joined_and_put_back() -> None:
    world = world_of(judged=True)
    states = [world.start(*windows(count)) for count in (1, 2)]
    joined = TwoStageState.join(states)
    assert len(joined.frame) == 3
    other = world.start(*windows(1))
    put = joined.put(torch.tensor([1]), other)
    assert torch.equal(put.rows(slice(1, 2)).frame, other.frame) and torch.equal(
        put.small.frame[0], joined.small.frame[0]
    )
    plain = {"low": {f.name: getattr(joined.low, f.name) for f in dataclasses.fields(joined.low)}}
    again = world.state_from({**plain, "frames": joined.frames})
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(again), tensors_of(joined), strict=True))


def test_other_ways_of_drawing_and_frames_alone() -> None:
    world = world_of(judged=True)
    other = world.with_samplers((SamplerConfig(3), SamplerConfig(2)))
    assert [s.denoising_steps for s in other.samplers] == [3, 2] and other.low.samplers == other.samplers[:1]
    assert other.upsampler is world.upsampler and other.reward_end is world.reward_end
    alone = world.frames_alone(torch.bfloat16)
    assert alone.reward_end is None and alone.dtype == alone.low.dtype == torch.bfloat16
    changed: list[str] = []

    def change(name: str, denoiser: Denoiser) -> Denoiser:
        changed.append(name)
        return denoiser

    assert world.with_denoisers(change).samplers == world.samplers
    assert changed == ["denoiser", "upsampler"]


def test_recorded_steps_dream_the_same() -> None:
    plain = world_of(judged=True, steps=(2, 2))
    low = FrameStack(plain.low.denoiser, plain.reward_end, plain.low.sampler)
    recorded = TwoStages(low, plain.upsampler, plain.sampler)
    recorded.record()
    frames, actions = windows(2)
    states = [plain.start(frames, actions), recorded.start(frames, actions)]
    for step in range(4):
        taken = actions_of(VECTOR, 2)
        for place, world in enumerate((plain, recorded)):
            states[place], _ = world.step(states[place], taken, noise(step))
    for a, b in zip(*map(tensors_of, states), strict=True):
        assert torch.equal(a, b)


def test_each_stage_learns_from_large_frames() -> None:
    world = world_of()
    below, above = world.lessons["denoiser"], world.lessons["upsampler"]
    assert (below.length, above.length) == (N + 2, 3)
    frames, mask = to_byte_grid(torch.rand(2, 5, 3, *LARGE) * 2 - 1), torch.ones(2, 5, dtype=torch.bool)
    actions = actions_of(VECTOR, 2, 5)
    small = shrink(frames, FACTOR)
    assert torch.equal(
        below.loss(frames, actions, mask, noise(0)), world.low.denoiser.loss(small, actions, mask, noise(0))
    )
    assert torch.equal(
        above.loss(frames[:, :3], actions[:, :3], mask[:, :3], noise(0)),
        world.upsampler.loss(frames[:, :3], None, mask[:, :3], noise(0), low_res=small[:, :3]),
    )


def test_small_frames_are_antialiased_clamped_and_of_8_bits() -> None:
    frames = torch.zeros(1, 2, 3, *LARGE)
    frames[0, 0] = torch.rand(3, *LARGE) * 2 - 1
    small = shrink(frames, FACTOR)
    assert small.shape == (1, 2, 3, *SMALL)
    assert not small[0, 1].any(), "padding stays exactly what it is"
    levels = (small[0, 0] + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    stripes = torch.ones(1, 3, *LARGE)
    stripes[..., ::3] = -1
    assert (shrink(stripes, FACTOR)[..., 1:-1] - 1 / 3).abs().max() < 0.05, "the mean of what lies below, not one pixel"
    edge = torch.full((1, 3, *LARGE), -1.0)
    edge[..., 9:] = 1  # bicubic overshoots at an edge: where the published files wrap, here it stops at white and black
    enlarged = shrink(edge, FACTOR)
    assert enlarged.min() == -1 and enlarged.max() == 1
    assert (enlarged[..., 3:].mean() > 0.9) and (enlarged[..., :3].mean() < -0.9)
