"""Imagination: an environment made of the denoiser and the reward/end model. State is passed, not hidden."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffworld.world_model.denoiser import Denoiser
from diffworld.world_model.diffusion import Randn
from diffworld.world_model.reward_end import LstmState, RewardEndModel
from diffworld.world_model.sampler import SamplerConfig

DrawStarts = Callable[[int], tuple[Tensor, Tensor]]
"""Count -> that many replay windows: frames (count, n, 3, H, W) in [-1, 1] and actions (count, n)."""


@dataclass(frozen=True)
class ImaginationState:
    """Where each of B dreams stands."""

    frames: Tensor
    """The last n frames (B, n, 3, H, W), the current one last."""
    actions: Tensor
    """Their actions (B, n); the last is not chosen yet."""
    reward_end: LstmState
    """State of the reward/end model's LSTM."""
    steps: Tensor
    """Steps since the dream started (B,)."""


@dataclass(frozen=True)
class Outcome:
    """What one step led to, for B rows."""

    next_frames: Tensor
    """The frame each action led to (B, 3, H, W), also for rows that ended with it."""
    rewards: Tensor
    """(B,) float; in imagination its sign."""
    ends: Tensor
    """(B,) bool."""
    truncated: Tensor
    """(B,) bool."""
    restarted: Tensor
    """Indices (R,) of the rows that ended or were truncated and stand at a new start."""
    burn_in: Tensor
    """What those rows' policies should see first: their new window but its last frame (R, n - 1, 3, H, W)."""


class Imagination:
    """Dreams that start in replay windows, last `horizon` steps, and restart at once when they end."""

    def __init__(
        self,
        denoiser: Denoiser,
        reward_end: RewardEndModel,
        sampler: SamplerConfig,
        horizon: int,
        draw_starts: DrawStarts,
        randn: Randn,
    ) -> None:
        self.denoiser, self.reward_end = denoiser, reward_end
        self.sampler, self.horizon = sampler, horizon
        self.draw_starts, self.randn = draw_starts, randn
        self.networks_step: Callable[..., dict[str, Tensor]] = self._networks_step

    @torch.no_grad()
    def start(self, rows: int) -> ImaginationState:
        """Fresh dreams, the reward/end LSTM burned in on the window's n - 1 transitions."""
        frames, actions = self.draw_starts(rows)
        state = self.reward_end.zero_state(rows)
        if frames.shape[1] > 1:
            _, _, state = self.reward_end(frames[:, :-1], actions[:, :-1], frames[:, 1:], state)
        return ImaginationState(frames, actions, state, torch.zeros_like(actions[:, 0]))

    def frames(self, state: ImaginationState) -> Tensor:
        """The current frames (B, 3, H, W)."""
        return state.frames[:, -1]

    @torch.no_grad()
    def predict(self, state: ImaginationState, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, ImaginationState]:
        """Next frames, reward logits (B, 3), end logits (B, 2) and the state that follows, nothing restarted."""
        acted = torch.cat([state.actions[:, :-1], actions[:, None]], dim=1)
        step = self.networks_step(state.frames, acted, *state.reward_end)
        following = ImaginationState(
            frames=torch.cat([state.frames[:, 1:], step["frames"][:, None]], dim=1),
            actions=torch.cat([acted[:, 1:], torch.zeros_like(actions[:, None])], dim=1),
            reward_end=(step["h"], step["c"]),
            steps=state.steps + 1,
        )
        return step["frames"], step["reward_logits"], step["end_logits"], following

    def _networks_step(self, frames: Tensor, actions: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
        """The frames after `frames` (B, n, 3, H, W) and `actions` (B, n), what they pay, and the LSTM's new state."""
        drawn, _ = self.denoiser.sample(frames, actions, self.sampler, self.randn)
        rewards, ends, (h, c) = self.reward_end(frames[:, -1:], actions[:, -1:], drawn[:, None], (h, c))
        return {"frames": drawn, "reward_logits": rewards[:, 0], "end_logits": ends[:, 0], "h": h, "c": c}

    @torch.no_grad()
    def redraw(self, frames: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Windows (B, L, 3, H, W) as a dream of the same actions (B, L) shows them: from the n-th frame on, each that
        follows a real step (`mask`, (B, L)) is drawn from the n before it, drawn ones among them."""
        n = self.denoiser.config.context_frames
        shown = list(frames[:, :n].unbind(1))
        for t in range(n, frames.shape[1]):
            past = torch.stack(shown[-n:], dim=1)
            drawn, _ = self.denoiser.sample(past, actions[:, t - n : t], self.sampler, self.randn)
            shown.append(torch.where(mask[:, t - 1, None, None, None], drawn, frames[:, t]))
        return torch.stack(shown, dim=1)

    @torch.no_grad()
    def step(self, state: ImaginationState, actions: Tensor) -> tuple[ImaginationState, Outcome]:
        """Take actions (B,); reward and end are sampled from the model's logits."""
        next_frames, reward_logits, end_logits, state = self.predict(state, actions)
        rewards = _draw(reward_logits).float() - 1
        ends = _draw(end_logits).bool()
        truncated = state.steps >= self.horizon
        rows = torch.nonzero(ends | truncated).squeeze(1)
        burn_in = state.frames[:0, :-1]
        if len(rows):
            fresh = self.start(len(rows))
            burn_in = fresh.frames[:, :-1]
            state = _replace_rows(state, rows, fresh)
        return state, Outcome(next_frames, rewards, ends, truncated, rows, burn_in)


def _draw(logits: Tensor) -> Tensor:
    return torch.multinomial(logits.softmax(-1), 1).squeeze(1)


def _replace_rows(state: ImaginationState, rows: Tensor, fresh: ImaginationState) -> ImaginationState:
    return ImaginationState(
        frames=state.frames.index_copy(0, rows, fresh.frames),
        actions=state.actions.index_copy(0, rows, fresh.actions),
        reward_end=(
            state.reward_end[0].index_copy(0, rows, fresh.reward_end[0]),
            state.reward_end[1].index_copy(0, rows, fresh.reward_end[1]),
        ),
        steps=state.steps.index_copy(0, rows, fresh.steps),
    )
