"""The world model as whoever steps it sees it: states in, states out, and every random number from `randn`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from diffworld.game import ActionSpace
from diffworld.models.sampler import SamplerConfig
from diffworld.world import FrameStack, FrameStackState, KeyedGenerators, StepKey, row_noise
from diffworld.world.noise import generator_noise
from tests.world.watched_world import (
    ACTIONS,
    CHOICE,
    SIZE,
    VECTOR,
    N,
    Starts,
    Watched,
    actions_of,
    reward_end_model,
    world_of,
)

both_spaces = pytest.mark.parametrize("space", [CHOICE, VECTOR], ids=["choice", "vector"])
judged_or_not = pytest.mark.parametrize("judged", [True, False], ids=["judged", "frames alone"])


def noise(seed: int) -> Callable[[tuple[int, ...]], Tensor]:
    return generator_noise(torch.Generator().manual_seed(seed))


def tensors(state: FrameStackState) -> list[Tensor]:
    return [state.frames, state.actions, *(state.reward_end or ())]


def assert_same(a: FrameStackState, b: FrameStackState, tolerance: float = 0.0) -> None:
    assert (a.reward_end is None) == (b.reward_end is None)
    for own, other in zip(tensors(a), tensors(b), strict=True):
        assert own.dtype == other.dtype
        torch.testing.assert_close(own, other, atol=tolerance, rtol=0)


@both_spaces
@judged_or_not
def test_shapes(space: ActionSpace, judged: bool) -> None:
    world = world_of(space, judged)
    frames, actions = Starts(space=space)(5)
    state = world.start(frames, actions)
    assert torch.equal(state.context, frames) and torch.equal(state.frame, frames[:, -1])
    assert torch.equal(state.actions, actions)
    assert world.context_frames == N and world.device == torch.device("cpu")
    for _ in range(3):
        state, prediction = world.step(state, actions_of(space, 5), torch.randn)
        assert prediction.frames.shape == (5, 3, *SIZE) and prediction.frames.dtype == torch.float32
        levels = (prediction.frames + 1) * 127.5
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
        assert prediction.trajectory is None
        if judged:
            assert prediction.reward_logits is not None and prediction.reward_logits.shape == (5, 3)
            assert prediction.end_logits is not None and prediction.end_logits.shape == (5, 2)
            assert state.reward_end is not None and state.reward_end[0].shape == (5, 8)
        else:
            assert prediction.reward_logits is None and prediction.end_logits is None and state.reward_end is None
        assert state.frames.shape == (5, N, 3, *SIZE)
        assert state.actions.shape == actions.shape and state.actions.dtype == actions.dtype
        assert not any(tensor.requires_grad for tensor in [*tensors(state), prediction.frames])


def test_burn_in_is_the_windows_transitions_one_by_one() -> None:
    world = world_of()
    frames, actions = Starts()(2)
    state, model = world.start(frames, actions), world.reward_end
    assert model is not None and state.reward_end is not None
    lstm = model.zero_state(2)
    for t in range(N - 1):
        one = slice(t, t + 1)
        _, _, lstm = model(frames[:, one], actions[:, one], frames[:, t + 1 : t + 2], lstm)
    for own, by_hand in zip(state.reward_end, lstm, strict=True):
        torch.testing.assert_close(own, by_hand)


@both_spaces
def test_the_action_goes_into_the_newest_slot_and_everything_shifts(space: ActionSpace) -> None:
    world = world_of(space)
    denoiser = world.denoiser
    assert isinstance(denoiser, Watched)
    before = world.start(*Starts(space=space)(2))
    action, later = actions_of(space, 2), actions_of(space, 2)
    after, prediction = world.step(before, action, torch.randn)
    frames, acted = denoiser.asked[0]
    assert torch.equal(frames, before.frames)
    assert acted is not None
    assert torch.equal(acted, torch.cat([before.actions[:, :-1], action[:, None]], dim=1))
    assert torch.equal(after.frames[:, :-1], before.frames[:, 1:])
    assert torch.equal(after.frame, prediction.frames)
    assert torch.equal(after.actions[:, : N - 1], acted[:, 1:])
    assert not after.actions[:, -1].any(), "not chosen yet"
    world.step(after, later, torch.randn)
    assert torch.equal(denoiser.asked[1][1], torch.cat([acted[:, 1:], later[:, None]], dim=1))  # type: ignore[arg-type]


def test_a_prediction_judges_the_frame_it_drew() -> None:
    world = world_of()
    state, action = world.start(*Starts()(2)), torch.tensor([2, 0])
    following, prediction = world.step(state, action, torch.randn)
    assert world.reward_end is not None and following.reward_end is not None
    rewards, ends, lstm = world.reward_end(
        state.frames[:, -1:], action[:, None], prediction.frames[:, None], state.reward_end
    )
    torch.testing.assert_close(prediction.reward_logits, rewards[:, 0])
    torch.testing.assert_close(prediction.end_logits, ends[:, 0])
    torch.testing.assert_close(following.reward_end, lstm)


@both_spaces
@judged_or_not
def test_same_noise_same_frames_and_the_state_before_is_left_alone(space: ActionSpace, judged: bool) -> None:
    world = world_of(space, judged, churn=1.0)
    state = world.start(*Starts(space=space)(3))
    before, actions = state, actions_of(space, 3)
    first, one = world.step(state, actions, noise(1))
    second, other = world.step(state, actions, noise(1))
    third, _ = world.step(state, actions, noise(2))
    assert_same(state, before)
    assert_same(first, second)
    assert torch.equal(one.frames, other.frames)
    assert not torch.equal(first.frame, third.frame)
    generator = torch.get_rng_state()
    world.step(state, actions, noise(3))
    assert torch.equal(torch.get_rng_state(), generator), "nothing is drawn but from randn"


def test_the_trajectory_is_there_on_request_alone() -> None:
    world = world_of()
    state, actions = world.start(*Starts()(2)), torch.tensor([1, 3])
    _, without = world.step(state, actions, noise(1))
    _, shown = world.step(state, actions, noise(1), trajectory=True)
    assert without.trajectory is None and shown.trajectory is not None
    assert torch.equal(shown.frames, without.frames)
    assert len(shown.trajectory) == 2 + 1
    assert all(frame.shape == (2, 3, *SIZE) for frame in shown.trajectory)
    assert torch.equal(shown.trajectory[0], noise(1)((2, 3, *SIZE))), "from noise"
    torch.testing.assert_close(shown.trajectory[-1], shown.frames)


def test_the_parts_of_a_step_are_timed_by_name() -> None:
    for judged in (True, False):
        world, entered = world_of(judged=judged), list[str]()

        @contextmanager
        def clock(part: str, entered: list[str] = entered) -> Iterator[None]:
            entered.append(part)
            yield

        world.step(world.start(*Starts()(1)), torch.tensor([0]), torch.randn, clock=clock)
        assert entered == (["denoiser", "reward_end"] if judged else ["denoiser"])


def test_another_sampler_draws_with_the_same_networks() -> None:
    world = world_of()
    other = world.with_samplers((SamplerConfig(denoising_steps=5),))
    assert other.denoiser is world.denoiser and other.reward_end is world.reward_end and other.dtype == world.dtype
    assert world.sampler.denoising_steps == 2, "the one it was made from is as before"
    state = world.start(*Starts()(1))
    _, prediction = other.step(state, torch.tensor([0]), noise(1), trajectory=True)
    assert prediction.trajectory is not None and len(prediction.trajectory) == 6


def test_frames_and_states_stay_float32_in_bfloat16() -> None:
    world = FrameStack(Watched(), reward_end_model(), SamplerConfig(2), torch.bfloat16)
    plain = FrameStack(world.denoiser, world.reward_end, world.sampler)
    frames, actions = Starts()(2)
    state, prediction = world.step(world.start(frames, actions), torch.tensor([0, 1]), noise(1))
    expected, _ = plain.step(plain.start(frames, actions), torch.tensor([0, 1]), noise(1))
    assert state.frames.dtype == torch.float32 and state.reward_end is not None
    assert {tensor.dtype for tensor in state.reward_end} == {torch.float32}
    assert prediction.reward_logits is not None and prediction.reward_logits.dtype == torch.float32
    assert (state.frame - expected.frame).abs().mean() < 0.05


# --- rows ------------------------------------------------------------------------------------------------------------


@both_spaces
@judged_or_not
def test_rows_are_taken_put_and_joined(space: ActionSpace, judged: bool) -> None:
    world = world_of(space, judged)
    state, other = (world.start(*Starts(space=space)(count)) for count in (4, 2))
    assert_same(state.rows(slice(1, 3)), state.rows(torch.tensor([1, 2])))
    halves = [state.rows(slice(0, 1)), state.rows(slice(1, 4))]
    assert_same(FrameStackState.join(halves), state)
    assert_same(type(state).join([state]), state)
    changed = state.put(torch.tensor([3, 0]), other)
    assert_same(changed.rows(torch.tensor([3, 0])), other)
    assert_same(changed.rows(slice(1, 3)), state.rows(slice(1, 3)))


@both_spaces
@judged_or_not
def test_a_row_does_not_depend_on_the_others(space: ActionSpace, judged: bool) -> None:
    """With noise of its own a dream in a batch is the dream alone, up to rounding."""
    world = world_of(space, judged, churn=1.0)
    starts = [Starts(space=space)(1) for _ in range(3)]
    actions = [[actions_of(space, 1) for _ in range(4)] for _ in range(3)]
    alone = []
    for row, (frames, past) in enumerate(starts):
        state = world.start(frames, past)
        for step in range(4):
            state, _ = world.step(state, actions[row][step], noise(10 * row + step))
        alone.append(state)
    together = FrameStackState.join([world.start(*start) for start in starts])
    for step in range(4):
        randn = row_noise([noise(10 * row + step) for row in range(3)])
        together, _ = world.step(together, torch.cat([each[step] for each in actions]), randn)
    for row in range(3):
        # A frame is on the 8-bit grid: rounding may move a value by one level, seldom.
        differ = together.rows(slice(row, row + 1)).frames - alone[row].frames
        assert differ.abs().max() <= 2 / 255 + 1e-5 and (differ.abs() > 1e-5).float().mean() < 0.02


# --- noise -----------------------------------------------------------------------------------------------------------


def test_keyed_generators_depend_on_nothing_but_seed_place_and_purpose() -> None:
    generators = KeyedGenerators(torch.device("cpu"))
    key = StepKey(seed=3, episode=1, step=5)
    first = generators.noise(key)((2, 3))
    torch.rand(7, generator=generators.at(key, "action"))
    assert torch.equal(generators.noise(key)((2, 3)), first)
    assert torch.equal(KeyedGenerators(torch.device("cpu")).noise(key)((2, 3)), first)
    others: list[Any] = [StepKey(4, 1, 5), StepKey(3, 2, 5), StepKey(3, 1, 6), StepKey(3, 5, 1)]
    drawn = [first, *(generators.noise(other)((2, 3)) for other in others)]
    drawn += [torch.randn(2, 3, generator=generators.at(key, purpose)) for purpose in ("reward_end", "action")]
    assert len({tuple(each.flatten().tolist()) for each in drawn}) == len(drawn)


def test_row_noise_asks_each_source_as_if_it_were_alone() -> None:
    asked: list[tuple[int, ...]] = []

    def source(value: float) -> Callable[[tuple[int, ...]], Tensor]:
        def draw(shape: tuple[int, ...]) -> Tensor:
            asked.append(shape)
            return torch.full(shape, value)

        return draw

    drawn = row_noise([source(1.0), source(2.0)])((2, 3, 4))
    assert drawn.shape == (2, 3, 4) and asked == [(1, 3, 4)] * 2
    assert (drawn[0] == 1).all() and (drawn[1] == 2).all()


def test_one_context_frame_needs_no_burn_in() -> None:
    world = FrameStack(Watched(1), reward_end_model(), SamplerConfig(1))
    state = world.start(*Starts(1)(2))
    assert state.reward_end is not None and not state.reward_end[0].any()
    state, prediction = world.step(state, torch.randint(ACTIONS, (2,)), torch.randn)
    assert torch.equal(state.frames, prediction.frames[:, None])


@judged_or_not
@pytest.mark.parametrize("sampler", [{}, {"churn": 1.0, "sigma_context": 0.1, "order": 2}], ids=["plain", "noisy"])
def test_recorded_steps_are_the_plain_ones(judged: bool, sampler: dict[str, float]) -> None:
    world = world_of(CHOICE, judged, **sampler)
    begin = world.start(*Starts()(4))
    found = []
    for record in (False, True):
        if record:
            world.record()
        state, randn, trajectories = begin, noise(5), []
        for step in range(4):
            rows = state if step < 3 else state.rows(slice(0, 2))  # another number of rows is another recording
            state, prediction = world.step(rows, torch.arange(len(rows.frames)), randn, trajectory=True)
            assert prediction.trajectory is not None
            trajectories += prediction.trajectory
        found.append((state, trajectories))
    assert_same(found[0][0], found[1][0])
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_ways_of_drawing_share_recordings_and_are_no_more_than_allowed() -> None:
    world = world_of()
    world.record()
    state, action = world.start(*Starts()(1)), torch.zeros(1, dtype=torch.int64)
    for steps in range(1, 20):
        other = world.with_samplers((SamplerConfig(denoising_steps=steps),))
        other.step(state, action, torch.randn)
    assert len(world._recordings._kept) == 8
    assert SamplerConfig(denoising_steps=19) in world._recordings._kept
