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
from diffworld.runtime.cuda_graphs import GraphedCallable
from diffworld.runtime.device import autocast
from diffworld.world.world_model import Clock, DreamState, Prediction

MOST_RECORDED = 8
"""Ways of drawing whose recordings are kept: each holds memory of the GPU."""


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
        self._recorded: dict[SamplerConfig, RecordedStep] | None = None

    @property
    def context_frames(self) -> int:
        """Real frames that a dream begins with, n."""
        return self.denoiser.config.context_frames

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.denoiser.network.conv_in.weight.device

    def with_sampler(self, sampler: SamplerConfig) -> FrameStack:
        """The same networks, frames drawn in another way."""
        other = FrameStack(self.denoiser, self.reward_end, sampler, self.dtype)
        other._recorded = self._recorded
        return other

    def record(self) -> None:
        """Take steps as CUDA graphs from now on, one for each way of drawing, with noise from anywhere.

        In training all steps of an update are one recording instead (`agents.rollout.RecordedAct`).
        """
        self._recorded = {}

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
        if self._recorded is None:
            out, drawn = self._networks(randn, state.frames, acted, state.reward_end, clock)
        else:
            if self.sampler not in self._recorded:
                if len(self._recorded) == MOST_RECORDED:
                    del self._recorded[next(iter(self._recorded))]
                self._recorded[self.sampler] = RecordedStep(self)
            with clock("world") if clock else nullcontext():
                out, drawn = self._recorded[self.sampler](state.frames, acted, state.reward_end, randn)
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
        self, randn: Randn, frames: Tensor, actions: Tensor, lstm: LstmState | None, clock: Clock | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The frames after `frames` and `actions`, what they pay, the LSTM's new state; and the trajectory."""
        timed: Callable[[str], Any] = clock or (lambda part: nullcontext())
        with autocast(self.device, self.dtype):
            with timed("denoiser"):
                drawn, trajectory = self.denoiser.sample(frames, actions, self.sampler, randn)
            out = {"frames": drawn}
            if self.reward_end is not None and lstm is not None:
                with timed("reward_end"):
                    rewards, ends, (h, c) = self.reward_end(frames[:, -1:], actions[:, -1:], drawn[:, None], lstm)
                out |= {"reward_logits": rewards[:, 0], "end_logits": ends[:, 0], "h": h, "c": c}
        return out, trajectory


class RecordedStep:
    """A world's step in one way of drawing as a CUDA graph; noise is drawn before, each caller's own, and handed in."""

    def __init__(self, world: FrameStack) -> None:
        self.world, self.judged = world, world.reward_end is not None
        self.shapes: list[tuple[int, ...]] = []
        """Of the noise of a row; known after the first step, which is taken plainly."""
        self.graphed = GraphedCallable("a dream's step", self._step)

    def __call__(
        self, frames: Tensor, actions: Tensor, lstm: LstmState | None, randn: Randn
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """As `FrameStack._networks`."""
        if not self.shapes:

            def drawn(shape: tuple[int, ...]) -> Tensor:
                self.shapes.append(shape[1:])
                return randn(shape)

            return self.world._networks(drawn, frames, actions, lstm)
        noise = [randn((len(frames), *shape)) for shape in self.shapes]
        out = self.graphed(frames, actions, *(lstm or ()), *noise)
        return out, [*out.pop("trajectory")]

    def _step(self, frames: Tensor, actions: Tensor, *rest: Tensor) -> dict[str, Tensor]:
        lstm, noise = ((rest[0], rest[1]), iter(rest[2:])) if self.judged else (None, iter(rest))
        out, trajectory = self.world._networks(lambda shape: next(noise), frames, actions, lstm)
        return out | {"trajectory": torch.stack(trajectory)}
