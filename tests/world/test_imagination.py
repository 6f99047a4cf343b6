"""Dreams: how they begin, go on, end and begin again, row by row."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffworld.models.denoiser import Denoiser, DenoiserConfig
from diffworld.models.diffusion import Randn
from diffworld.models.reward_end import RewardEndConfig, RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.world.imagination import Imagination, ImaginationState

N, ACTIONS, SIZE = 3, 4, (4, 6)
NO, YES = 0, 1


class Watched(Denoiser):
    """A denoiser that keeps the frames and actions each of its samples was drawn from."""

    def __init__(self, context_frames: int = N) -> None:
        config = DenoiserConfig(context_frames, 12, (4,), (1,), (False,))
        super().__init__(config, ACTIONS)
        self.asked: list[tuple[Tensor, Tensor | None]] = []

    def sample(
        self,
        frames: Tensor,
        actions: Tensor | None,
        config: SamplerConfig,
        randn: Randn,
        *,
        low_res: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        self.asked.append((frames, actions))
        return super().sample(frames, actions, config, randn, low_res=low_res)


class Starts:
    """Windows of the right shape, all different, kept in the order drawn."""

    def __init__(self, context_frames: int = N) -> None:
        self.length, self.drawn = context_frames, list[tuple[Tensor, Tensor]]()

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        frames = torch.rand(count, self.length, 3, *SIZE) * 2 - 1
        self.drawn.append((frames, torch.randint(ACTIONS, (count, self.length))))
        return self.drawn[-1]


def reward_end_model(reward: int | None = None, end: int | None = None) -> RewardEndModel:
    """A model with random weights, but certain of the class `reward` (0, 1, 2 for signs -1, 0, 1) or `end`."""
    model = RewardEndModel(RewardEndConfig(8, 6, (4, 8), (1, 1), (False, False)), ACTIONS, SIZE)
    with torch.no_grad():
        if reward is not None or end is not None:
            model.head[0].weight.zero_()
            model.head[0].bias.fill_(1)  # type: ignore[union-attr]
        if reward is not None:
            model.head[2].weight[:3] = torch.where(torch.arange(3) == reward, 20.0, -20.0)[:, None]
        if end is not None:
            model.head[2].weight[3:] = torch.where(torch.arange(2) == end, 20.0, -20.0)[:, None]
    return model


def dreams(
    horizon: int = 5, *, reward: int | None = None, end: int | None = NO, context_frames: int = N, steps: int = 2
) -> tuple[Imagination, Watched, Starts]:
    denoiser, starts = Watched(context_frames), Starts(context_frames)
    sampler = SamplerConfig(denoising_steps=steps)
    imagination = Imagination(denoiser, reward_end_model(reward, end), sampler, horizon, starts, torch.randn)
    return imagination, denoiser, starts


def same_noise(call: Callable[[], object]) -> object:
    torch.manual_seed(7)
    return call()


def assert_same_rows(state: ImaginationState, rows: list[int], other: ImaginationState, others: list[int]) -> None:
    for name in ("frames", "actions", "steps"):
        assert torch.equal(getattr(state, name)[rows], getattr(other, name)[others]), name
    for own, theirs in zip(state.reward_end, other.reward_end, strict=True):
        torch.testing.assert_close(own[rows], theirs[others])


def test_start() -> None:
    imagination, _, starts = dreams()
    state = imagination.start(5)
    frames, actions = starts.drawn[0]
    assert torch.equal(state.frames, frames) and torch.equal(state.actions, actions)
    assert state.steps.tolist() == [0] * 5
    assert torch.equal(imagination.frames(state), frames[:, -1])


def test_burn_in_is_the_windows_transitions_one_by_one() -> None:
    imagination, _, starts = dreams()
    state = imagination.start(2)
    frames, actions = starts.drawn[0]
    model, lstm = imagination.reward_end, imagination.reward_end.zero_state(2)
    for t in range(N - 1):
        one = slice(t, t + 1)
        _, _, lstm = model(frames[:, one], actions[:, one], frames[:, t + 1 : t + 2], lstm)
    for own, by_hand in zip(state.reward_end, lstm, strict=True):
        torch.testing.assert_close(own, by_hand)
        assert not own.requires_grad


def test_redrawn_windows_are_drawn_on_from_what_was_drawn() -> None:
    imagination, denoiser, starts = dreams()
    imagination.randn = torch.zeros
    frames, actions = starts(2)[0].repeat(1, 2, 1, 1, 1), torch.randint(ACTIONS, (2, 2 * N))
    frames = frames + 0.1 * torch.rand_like(frames)
    mask = torch.ones(2, 2 * N, dtype=torch.bool)
    mask[0, : N + 1] = False  # nothing but padding up to there: the first real frame has nothing to be drawn from
    mask[1, -2:] = False  # the frame right after the last step is still what that step led to
    redrawn = imagination.redraw(frames, actions, mask)
    expected = frames.clone()
    for t in range(N, 2 * N):
        drawn, _ = denoiser.sample(expected[:, t - N : t], actions[:, t - N : t], imagination.sampler, torch.zeros)
        for row in range(2):
            if mask[row, t - 1]:
                expected[row, t] = drawn[row]
    torch.testing.assert_close(redrawn, expected)
    assert torch.equal(redrawn[0, N + 1], frames[0, N + 1]) and not torch.equal(redrawn[0, N + 2], frames[0, N + 2])


def test_the_action_goes_into_the_newest_slot_and_everything_shifts() -> None:
    imagination, denoiser, _ = dreams()
    before = imagination.start(2)
    action = torch.tensor([3, 1])
    after, outcome = imagination.step(before, action)
    frames, acted = denoiser.asked[0]
    assert torch.equal(frames, before.frames)
    assert acted is not None
    assert torch.equal(acted, torch.stack([*before.actions[:, :-1].T, action], dim=1))
    assert torch.equal(after.frames[:, :-1], before.frames[:, 1:])
    assert torch.equal(after.frames[:, -1], outcome.next_frames)
    assert torch.equal(after.actions[:, : N - 1], acted[:, 1:])
    imagination.step(after, torch.tensor([0, 2]))
    assert denoiser.asked[1][1].tolist() == torch.cat([acted[:, 1:], torch.tensor([[0], [2]])], 1).tolist()  # type: ignore[union-attr]


def test_shapes_and_kinds_of_an_outcome() -> None:
    imagination, _, _ = dreams(horizon=3, end=None)
    state = imagination.start(4)
    for _ in range(7):
        state, outcome = imagination.step(state, torch.randint(ACTIONS, (4,)))
        assert outcome.next_frames.shape == (4, 3, *SIZE) and not outcome.next_frames.requires_grad
        assert outcome.rewards.shape == (4,) and set(outcome.rewards.tolist()) <= {-1.0, 0.0, 1.0}
        assert outcome.ends.dtype == outcome.truncated.dtype == torch.bool
        expected = torch.nonzero(outcome.ends | outcome.truncated).squeeze(1)
        assert torch.equal(outcome.restarted, expected)
        assert outcome.burn_in.shape == (len(expected), N - 1, 3, *SIZE)
        assert state.frames.shape == (4, N, 3, *SIZE) and state.actions.shape == (4, N)
        assert (state.steps < 3).all() and (state.steps[expected] == 0).all()


@pytest.mark.parametrize("horizon", [1, 3])
def test_horizon_truncates_and_restarts(horizon: int) -> None:
    imagination, _, starts = dreams(horizon)
    state = imagination.start(2)
    for step in range(1, 2 * horizon + 1):
        state, outcome = imagination.step(state, torch.tensor([0, 1]))
        at_horizon = step % horizon == 0
        assert outcome.truncated.tolist() == [at_horizon] * 2
        assert outcome.ends.tolist() == [False] * 2
        assert len(starts.drawn) == 1 + step // horizon
        if at_horizon:
            fresh, _ = starts.drawn[-1]
            assert torch.equal(state.frames, fresh)
            assert torch.equal(outcome.burn_in, fresh[:, :-1])
            assert not torch.equal(outcome.next_frames, fresh[:, -1]), "the dream's own last frame"


def test_only_rows_that_are_over_restart() -> None:
    imagination, _, starts = dreams(horizon=4)
    state = replace(imagination.start(3), steps=torch.tensor([0, 3, 1]))
    action = torch.tensor([1, 2, 3])
    next_frames, _, _, following = same_noise(lambda: imagination.predict(state, action))  # type: ignore[misc]
    after, outcome = same_noise(lambda: imagination.step(state, action))  # type: ignore[misc]
    assert outcome.restarted.tolist() == [1]
    assert torch.equal(outcome.next_frames, next_frames)
    assert_same_rows(after, [0, 2], following, [0, 2])
    fresh, actions = starts.drawn[-1]
    assert len(fresh) == 1
    assert torch.equal(after.frames[1], fresh[0]) and torch.equal(after.actions[1], actions[0])
    assert after.steps.tolist() == [1, 0, 2]
    _, _, lstm = imagination.reward_end(
        fresh[:, :-1], actions[:, :-1], fresh[:, 1:], imagination.reward_end.zero_state(1)
    )
    torch.testing.assert_close(after.reward_end[0][1:2], lstm[0])


def test_an_end_restarts_at_once_and_is_no_truncation() -> None:
    imagination, _, starts = dreams(horizon=10, end=YES)
    state, outcome = imagination.step(imagination.start(2), torch.tensor([0, 0]))
    assert outcome.ends.all() and not outcome.truncated.any()
    assert outcome.restarted.tolist() == [0, 1]
    assert torch.equal(state.frames, starts.drawn[1][0])


@pytest.mark.parametrize(("kind", "sign"), [(0, -1), (1, 0), (2, 1)])
def test_rewards_are_signs(kind: int, sign: int) -> None:
    imagination, _, _ = dreams(reward=kind)
    _, outcome = imagination.step(imagination.start(3), torch.tensor([0, 0, 0]))
    assert outcome.rewards.tolist() == [sign] * 3


def test_reward_and_end_are_drawn_not_guessed() -> None:
    imagination, _, _ = dreams(horizon=100, end=None)
    torch.nn.init.zeros_(imagination.reward_end.head[2].weight)  # all classes alike
    _, outcome = imagination.step(imagination.start(300), torch.zeros(300, dtype=torch.int64))
    assert outcome.ends.float().mean().item() == pytest.approx(1 / 2, abs=0.12)
    for sign in (-1, 0, 1):
        assert (outcome.rewards == sign).float().mean().item() == pytest.approx(1 / 3, abs=0.12)


def test_prediction_judges_the_frame_it_drew() -> None:
    imagination, _, _ = dreams(end=None)
    state, action = imagination.start(2), torch.tensor([2, 0])
    next_frames, rewards, ends, following = imagination.predict(state, action)
    by_hand = imagination.reward_end(state.frames[:, -1:], action[:, None], next_frames[:, None], state.reward_end)
    torch.testing.assert_close(rewards, by_hand[0][:, 0])
    torch.testing.assert_close(ends, by_hand[1][:, 0])
    torch.testing.assert_close(following.reward_end, by_hand[2])
    assert rewards.shape == (2, 3) and ends.shape == (2, 2)


def test_one_context_frame_needs_no_burn_in() -> None:
    imagination, _, starts = dreams(horizon=1, context_frames=1)
    state = imagination.start(2)
    assert not state.reward_end[0].any()
    state, outcome = imagination.step(state, torch.tensor([0, 1]))
    assert outcome.burn_in.shape == (2, 0, 3, *SIZE)
    assert torch.equal(state.frames, starts.drawn[1][0])
