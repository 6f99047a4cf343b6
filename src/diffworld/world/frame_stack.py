"""The world model of DIAMOND: a denoiser sees the last n frames and actions, a reward/end model judges each step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffworld.models.denoiser import Denoiser
from diffworld.models.diffusion import Randn
from diffworld.models.reward_end import LstmState, RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.device import autocast
from diffworld.world.recorded import Drawn, Recordings
from diffworld.world.world_model import Clock, DreamState, Lesson, Prediction, Samplers


@dataclass(frozen=True)
class FrameStackState(DreamState):
    """Where each of B dreams stands."""

    frames: Tensor
    """The last n frames (B, n, 3, H, W), the current one last."""
    actions: Tensor
    """Their actions (B, n) or (B, n, A); the last is not chosen yet."""
    reward_end: LstmState | None
    """State of the reward/end model's LSTM; None without that model."""

    @property
    def frame(self) -> Tensor:
        return self.frames[:, -1]

    @property
    def context(self) -> Tensor:
        return self.frames


class FrameStack:
    """A `WorldModel` of a denoiser and, where there is one, a reward/end model.

    Arithmetic is in `dtype`, or in whatever the caller's autocast says where that is float32.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        reward_end: RewardEndModel | None,
        sampler: SamplerConfig,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.denoiser, self.reward_end, self.sampler, self.dtype = denoiser, reward_end, sampler, dtype
        self.samplers: Samplers = (sampler,)
        self._recordings = Recordings("a dream's step")

    @property
    def context_frames(self) -> int:
        """Real frames that a dream begins with, n."""
        return self.denoiser.config.context_frames

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.denoiser.network.conv_in.weight.device

    @property
    def lessons(self) -> dict[str, Lesson]:
        """The frame after n frames and actions, and k more after it."""
        config = self.denoiser.config
        length = config.context_frames + 1 + config.autoregressive_steps
        return {"denoiser": Lesson(self.denoiser, length, self.denoiser.loss)}

    def seen(self, frames: Tensor) -> Tensor:
        """The frames themselves."""
        return frames

    @property
    def first_stage(self) -> FrameStack:
        """The world itself."""
        return self

    def with_samplers(self, samplers: Samplers) -> FrameStack:
        """The same networks, frames drawn in another way."""
        (sampler,) = samplers
        other = FrameStack(self.denoiser, self.reward_end, sampler, self.dtype)
        other._recordings = self._recordings
        return other

    def with_denoisers(self, change: Callable[[str, Denoiser], Denoiser]) -> FrameStack:
        """The same world with another denoiser."""
        return FrameStack(change("denoiser", self.denoiser), self.reward_end, self.sampler, self.dtype)

    def frames_alone(self, dtype: torch.dtype) -> FrameStack:
        """The denoiser alone, in that number format."""
        return FrameStack(self.denoiser, None, self.sampler, dtype)

    def record(self) -> None:
        """Take steps as CUDA graphs from now on."""
        self._recordings.on = True

    @torch.no_grad()
    def start(self, frames: Tensor, actions: Tensor) -> FrameStackState:
        """Fresh dreams, the reward/end LSTM burned in on the window's n - 1 transitions."""
        if self.reward_end is None:
            return FrameStackState(frames, actions, None)
        state = self.reward_end.zero_state(len(frames))
        if frames.shape[1] > 1:
            with autocast(self.device, self.dtype):
                _, _, state = self.reward_end(frames[:, :-1], actions[:, :-1], frames[:, 1:], state)
        return FrameStackState(frames, actions, state)

    @torch.no_grad()
    def step(
        self,
        state: FrameStackState,
        actions: Tensor,
        randn: Randn,
        *,
        trajectory: bool = False,
        clock: Clock | None = None,
    ) -> tuple[FrameStackState, Prediction]:
        """The next frames, what they pay and whether they end, and the state that follows; nothing restarts."""
        acted = torch.cat([state.actions[:, :-1], actions[:, None].to(state.actions.dtype)], dim=1)
        given = (state.frames, acted, *(state.reward_end or ()))
        if self._recordings.on:
            with clock("world") if clock else nullcontext():
                out, drawn = self._recordings.of(self.sampler, self._networks)(randn, *given)
        else:
            out, drawn = self._networks(randn, *given, clock=clock)
        following = FrameStackState(
            frames=torch.cat([state.frames[:, 1:], out["frames"][:, None].to(state.frames.dtype)], dim=1),
            actions=torch.cat([acted[:, 1:], torch.zeros_like(acted[:, :1])], dim=1),
            reward_end=(out["h"], out["c"]) if "h" in out else None,
        )
        shown = drawn if trajectory else None
        return following, Prediction(out["frames"], out.get("reward_logits"), out.get("end_logits"), shown)

    def state_from(self, plain: dict[str, Any]) -> FrameStackState:
        return FrameStackState(**plain)

    def _networks(
        self, randn: Randn, frames: Tensor, actions: Tensor, *lstm: Tensor, clock: Clock | None = None
    ) -> Drawn:
        """The frames after `frames` and `actions`, what they pay, the LSTM's new state; and the trajectory."""
        timed: Callable[[str], Any] = clock or (lambda part: nullcontext())
        with autocast(self.device, self.dtype):
            with timed("denoiser"):
                drawn, trajectory = self.denoiser.sample(frames, actions, self.sampler, randn)
            out = {"frames": drawn}
            if self.reward_end is not None and lstm:
                before: LstmState = (lstm[0], lstm[1])
                with timed("reward_end"):
                    rewards, ends, (h, c) = self.reward_end(frames[:, -1:], actions[:, -1:], drawn[:, None], before)
                out |= {"reward_logits": rewards[:, 0], "end_logits": ends[:, 0], "h": h, "c": c}
        return out, trajectory
