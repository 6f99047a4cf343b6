"""A world in two stages: small frames move on by the actions, and each is then enlarged beside the large one before it.

The first stage is a `FrameStack` at low resolution. It alone decides what happens. The second, an upsampler, knows no
actions: it draws what the small frame leaves open, and carries details from one large frame to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffworld.models.denoiser import Denoiser, shrink
from diffworld.models.diffusion import Randn
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.device import autocast
from diffworld.world.frame_stack import FrameStack, FrameStackState
from diffworld.world.recorded import Drawn, Recordings
from diffworld.world.world_model import Clock, DreamState, Lesson, Prediction, Samplers


@dataclass(frozen=True)
class TwoStageState(DreamState):
    """Where each of B dreams stands."""

    low: FrameStackState
    """The first stage, in small frames."""
    frames: Tensor
    """The last large frames (B, m, 3, H, W), as many as the upsampler sees, the current one last."""

    @property
    def frame(self) -> Tensor:
        return self.frames[:, -1]

    @property
    def context(self) -> Tensor:
        return self.frames

    @property
    def small(self) -> FrameStackState:
        return self.low


class TwoStages:
    """A `WorldModel` of a low-resolution one and an upsampler."""

    def __init__(self, low: FrameStack, upsampler: Denoiser, sampler: SamplerConfig) -> None:
        self.low, self.upsampler, self.sampler, self.dtype = low, upsampler, sampler, low.dtype
        self.samplers: Samplers = (*low.samplers, sampler)
        self._recordings = Recordings("the upsampler's frame")

    @property
    def context_frames(self) -> int:
        """Real frames that a dream begins with: as many as either stage sees."""
        return max(self.low.context_frames, self.upsampler.config.context_frames)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.low.device

    @property
    def reward_end(self) -> RewardEndModel | None:
        """Of the first stage."""
        return self.low.reward_end

    @property
    def lessons(self) -> dict[str, Lesson]:
        """The small frames' denoiser, and the upsampler, which is given the true small frame."""
        first, config = self.low.lessons["denoiser"], self.upsampler.config

        def of_small(frames: Tensor, actions: Tensor, mask: Tensor, randn: Randn, **how: Any) -> Tensor:
            return first.loss(self.seen(frames), actions, mask, randn, **how)

        def of_large(frames: Tensor, actions: Tensor, mask: Tensor, randn: Randn, **how: Any) -> Tensor:
            return self.upsampler.loss(frames, None, mask, randn, low_res=self.seen(frames), **how)

        length = config.context_frames + 1 + config.autoregressive_steps
        return {
            "denoiser": Lesson(first.denoiser, first.length, of_small),
            "upsampler": Lesson(self.upsampler, length, of_large),
        }

    def seen(self, frames: Tensor) -> Tensor:
        """The frames made small."""
        return shrink(frames, self.upsampler.conditioning.upsampling_factor)

    @property
    def first_stage(self) -> FrameStack:
        """Of small frames; the upsampler sees no action."""
        return self.low

    def with_samplers(self, samplers: Samplers) -> TwoStages:
        """The same networks, small frames drawn in the first way and large ones in the last."""
        other = TwoStages(self.low.with_samplers(samplers[:-1]), self.upsampler, samplers[-1])
        other._recordings = self._recordings
        return other

    def with_denoisers(self, change: Callable[[str, Denoiser], Denoiser]) -> TwoStages:
        """The same world with other networks in place of both."""
        return TwoStages(self.low.with_denoisers(change), change("upsampler", self.upsampler), self.sampler)

    def frames_alone(self, dtype: torch.dtype) -> TwoStages:
        """Both stages in that number format, without a reward/end model."""
        return TwoStages(self.low.frames_alone(dtype), self.upsampler, self.sampler)

    def record(self) -> None:
        """Take steps as CUDA graphs from now on, one a stage."""
        self.low.record()
        self._recordings.on = True

    @torch.no_grad()
    def start(self, frames: Tensor, actions: Tensor) -> TwoStageState:
        """Fresh dreams from large frames (B, n, 3, H, W); their small ones follow from them."""
        n = self.low.context_frames
        low = self.low.start(self.seen(frames[:, -n:]), actions[:, -n:])
        return TwoStageState(low, frames[:, -self.upsampler.config.context_frames :])

    @torch.no_grad()
    def step(
        self,
        state: TwoStageState,
        actions: Tensor,
        randn: Randn,
        *,
        trajectory: bool = False,
        clock: Clock | None = None,
    ) -> tuple[TwoStageState, Prediction]:
        """The next small frames, then the large ones; rewards and ends are the first stage's."""
        low, small = self.low.step(state.low, actions, randn, trajectory=trajectory, clock=clock)
        frames, drawn = self.enlarge(state.frames, small.frames, randn, clock=clock)
        following = TwoStageState(low, torch.cat([state.frames[:, 1:], frames[:, None].to(state.frames.dtype)], dim=1))
        shown = drawn if trajectory else None
        return following, Prediction(frames, small.reward_logits, small.end_logits, shown, small)

    @torch.no_grad()
    def enlarge(
        self, before: Tensor, small: Tensor, randn: Randn, *, clock: Clock | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The large frames (B, 3, H, W) of small ones, after large ones (B, m, 3, H, W); and the trajectory."""
        with clock("upsampler") if clock else nullcontext():
            out, drawn = self._recordings.of(self.sampler, self._network)(randn, before, small)
        return out["frames"], drawn

    def state_from(self, plain: dict[str, Any]) -> TwoStageState:
        return TwoStageState(self.low.state_from(plain["low"]), plain["frames"])

    def _network(self, randn: Randn, before: Tensor, small: Tensor) -> Drawn:
        with autocast(self.device, self.dtype):
            frames, drawn = self.upsampler.sample(before, None, self.sampler, randn, low_res=small)
        return {"frames": frames}, drawn
