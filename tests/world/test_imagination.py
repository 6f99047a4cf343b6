"""Dreams: how they begin, go on, end and begin again, row by row."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from diffworld.game import ActionSpace
from diffworld.models.sampler import SamplerConfig
from diffworld.world import FrameStack, FrameStackState, Imagination, ImaginationState
from tests.world.watched_world import (
    CHOICE,
    NO,
    SIZE,
    VECTOR,
    YES,
    N,
    Starts,
    Watched,
    actions_of,
    reward_end_model,
)

Dreams = Imagination[FrameStackState]
State = ImaginationState[FrameStackState]


def dreams(
    horizon: int = 5,
    *,
    reward: int | None = None,
    end: int | None = NO,
    context_frames: int = N,
    space: ActionSpace = CHOICE,
    judged: bool = True,
) -> tuple[Dreams, Watched, Starts]:
    denoiser, starts = Watched(context_frames, space), Starts(context_frames, space)
    model = reward_end_model(reward, end, space) if judged else None
    world = FrameStack(denoiser, model, SamplerConfig(denoising_steps=2))
    return Imagination(world, horizon, starts, torch.randn), denoiser, starts


def lstm_of(state: State) -> tuple[torch.Tensor, torch.Tensor]:
    assert state.dream.reward_end is not None
    return state.dream.reward_end


def same_noise(call: Callable[[], object]) -> object:
    torch.manual_seed(7)
    return call()


def assert_same_rows(state: FrameStackState, rows: list[int], other: FrameStackState, others: list[int]) -> None:
    assert torch.equal(state.frames[rows], other.frames[others])
    assert torch.equal(state.actions[rows], other.actions[others])
    assert state.reward_end is not None and other.reward_end is not None
    for own, theirs in zip(state.reward_end, other.reward_end, strict=True):
        torch.testing.assert_close(own[rows], theirs[others])


def test_start() -> None:
    imagination, _, starts = dreams()
    state = imagination.start(5)
    (frames, actions), (ahead, ahead_actions) = starts.drawn
    assert torch.equal(state.dream.frames, frames) and torch.equal(state.dream.actions, actions)
    assert state.steps.tolist() == [0] * 5 and state.taken == 0
    assert torch.equal(imagination.frames(state), frames[:, -1])
    assert len(ahead) == 10 and torch.equal(imagination.burn_in(state), ahead[:, :-1])
    assert_same_rows(state.starts, [3], imagination.world.start(ahead, ahead_actions), [3])


@pytest.mark.parametrize("space", [CHOICE, VECTOR], ids=["choice", "vector"])
def test_shapes_and_kinds_of_an_outcome(space: ActionSpace) -> None:
    imagination, _, _ = dreams(horizon=3, end=None, space=space)
    state = imagination.start(4)
    for _ in range(7):
        state, outcome = imagination.step(state, actions_of(space, 4))
        assert outcome.next_frames.shape == (4, 3, *SIZE) and not outcome.next_frames.requires_grad
        assert outcome.rewards.shape == (4,) and set(outcome.rewards.tolist()) <= {-1.0, 0.0, 1.0}
        assert outcome.ends.dtype == outcome.truncated.dtype == torch.bool
        over = outcome.ends | outcome.truncated
        assert outcome.start.dtype == torch.int64 and torch.equal(outcome.start >= 0, over)
        assert state.dream.context.shape == (4, N, 3, *SIZE)
        assert state.dream.actions.shape == ((4, N) if space.is_discrete else (4, N, space.size))
        assert (state.steps < 3).all() and (state.steps[over] == 0).all()


@pytest.mark.parametrize("horizon", [1, 3])
def test_horizon_truncates_and_restarts(horizon: int) -> None:
    imagination, _, starts = dreams(horizon)
    state = imagination.start(2)
    for step in range(1, 2 * horizon + 1):
        state, outcome = imagination.step(state, torch.tensor([0, 1]))
        at_horizon = step % horizon == 0
        assert outcome.truncated.tolist() == [at_horizon] * 2
        assert outcome.ends.tolist() == [False] * 2
        if at_horizon:
            fresh, _ = starts.drawn[1]
            first = 2 * (step // horizon - 1)
            assert outcome.start.tolist() == [first, first + 1]
            assert torch.equal(state.dream.context, fresh[first : first + 2])
            assert not torch.equal(outcome.next_frames, fresh[:2, -1]), "the dream's own last frame"
    assert len(starts.drawn) == 2, "no window is drawn while dreams go on"


def test_only_rows_that_are_over_restart() -> None:
    imagination, _, starts = dreams(horizon=4)
    state = replace(imagination.start(3), steps=torch.tensor([0, 3, 1]))
    action = torch.tensor([1, 2, 3])
    following, prediction = same_noise(lambda: imagination.world.step(state.dream, action, torch.randn))  # type: ignore[misc]
    after, outcome = same_noise(lambda: imagination.step(state, action))  # type: ignore[misc]
    assert outcome.start.tolist() == [-1, 0, -1]
    assert torch.equal(outcome.next_frames, prediction.frames)
    assert_same_rows(after.dream, [0, 2], following, [0, 2])
    fresh, actions = starts.drawn[-1]
    assert torch.equal(after.dream.context[1], fresh[0]) and torch.equal(after.dream.actions[1], actions[0])
    assert after.steps.tolist() == [1, 0, 2] and after.taken == 1
    assert_same_rows(after.dream, [1], imagination.world.start(fresh, actions), [0])


def test_an_end_restarts_at_once_and_is_no_truncation() -> None:
    imagination, _, starts = dreams(horizon=10, end=YES)
    state, outcome = imagination.step(imagination.start(2), torch.tensor([0, 0]))
    assert outcome.ends.all() and not outcome.truncated.any()
    assert outcome.start.tolist() == [0, 1]
    assert torch.equal(state.dream.context, starts.drawn[1][0][:2])


def test_starts_that_are_taken_are_replaced_in_their_order() -> None:
    imagination, _, starts = dreams(horizon=10)
    state = replace(imagination.start(2), steps=torch.tensor([9, 3]))
    assert imagination.refill(state) is state, "nothing is taken, nothing is drawn"
    state, _ = imagination.step(state, torch.tensor([0, 0]))
    again = imagination.refill(state)
    assert again.taken == 0 and len(starts.drawn[2][0]) == 1
    assert torch.equal(again.starts.frames, torch.cat([starts.drawn[1][0][1:], starts.drawn[2][0]]))
    assert_same_rows(again.starts, [3], imagination.world.start(*starts.drawn[2]), [0])
    assert again.dream is state.dream and again.steps is state.steps


def test_starts_serve_again_where_a_rollout_needs_more_than_there_are() -> None:
    imagination, _, starts = dreams(horizon=1)
    state, taken = imagination.start(2), []
    for _ in range(5):
        state, outcome = imagination.step(state, torch.tensor([0, 0]))
        taken.append(outcome.start.tolist())
    assert taken == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]] and state.taken == 10
    assert torch.equal(state.dream.context, starts.drawn[1][0][:2])
    refilled = imagination.refill(state)
    assert torch.equal(refilled.starts.frames, starts.drawn[2][0]) and len(starts.drawn[2][0]) == 4


@pytest.mark.parametrize(("kind", "sign"), [(0, -1), (1, 0), (2, 1)])
def test_rewards_are_signs(kind: int, sign: int) -> None:
    imagination, _, _ = dreams(reward=kind)
    _, outcome = imagination.step(imagination.start(3), torch.tensor([0, 0, 0]))
    assert outcome.rewards.tolist() == [sign] * 3


def test_reward_and_end_are_drawn_not_guessed() -> None:
    imagination, _, _ = dreams(horizon=100, end=None)
    torch.nn.init.zeros_(imagination.world.reward_end.head[2].weight)  # all classes alike
    _, outcome = imagination.step(imagination.start(300), torch.zeros(300, dtype=torch.int64))
    assert outcome.ends.float().mean().item() == pytest.approx(1 / 2, abs=0.12)
    for sign in (-1, 0, 1):
        assert (outcome.rewards == sign).float().mean().item() == pytest.approx(1 / 3, abs=0.12)


def test_one_context_frame_needs_no_burn_in() -> None:
    imagination, _, starts = dreams(horizon=1, context_frames=1)
    state = imagination.start(2)
    assert not lstm_of(state)[0].any()
    state, _ = imagination.step(state, torch.tensor([0, 1]))
    assert imagination.burn_in(state).shape == (4, 0, 3, *SIZE)
    assert torch.equal(state.dream.context, starts.drawn[1][0][:2])


def test_a_world_that_knows_neither_rewards_nor_ends_pays_nothing_and_goes_on() -> None:
    imagination, _, _ = dreams(horizon=3, judged=False)
    state = imagination.start(2)
    for step in range(1, 7):
        state, outcome = imagination.step(state, torch.tensor([0, 1]))
        assert outcome.rewards.dtype == torch.float32 and not outcome.rewards.any()
        assert outcome.ends.dtype == torch.bool and not outcome.ends.any()
        assert outcome.truncated.tolist() == [step % 3 == 0] * 2
    assert state.taken == 4


@pytest.mark.parametrize("judged", [True, False])
def test_a_state_comes_back_from_plain_tensors(judged: bool) -> None:
    imagination, _, _ = dreams(horizon=3, judged=judged)
    state, _ = imagination.step(imagination.start(2), torch.tensor([0, 1]))
    plain = {name: dict(vars(x)) if name in ("dream", "starts") else x for name, x in vars(state).items()}
    again = imagination.state_from(plain)
    assert again == state and isinstance(again.dream, FrameStackState)
    one, _ = same_noise(lambda: imagination.step(state, torch.tensor([2, 3])))  # type: ignore[misc]
    other, _ = same_noise(lambda: imagination.step(again, torch.tensor([2, 3])))  # type: ignore[misc]
    assert torch.equal(one.dream.context, other.dream.context)
