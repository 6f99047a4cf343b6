"""One step of the dreams of several players, drawn as one batch: frame, reward and end, what the agent thinks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.agents.actions import entropy, probabilities
from diffworld.game import Encoded
from diffworld.models.actor_critic import PolicyState
from diffworld.play.batcher import DynamicBatcher
from diffworld.play.players import PolicyOutput
from diffworld.play.worlds import WorldStep
from diffworld.runs import Model, Window, window_tensors
from diffworld.runtime.device import autocast, use_threads
from diffworld.runtime.frames import Film, Frame, to_numpy
from diffworld.world import DreamState, KeyedGenerators, Prediction, Samplers, StepKey, row_noise


@dataclass(frozen=True, eq=False)
class DreamRequest:
    """One player's step in a dream."""

    state: DreamState
    """Where the dream stands (one row)."""
    action: Encoded
    samplers: Samplers
    horizon: int
    """Steps after which the dream is truncated."""
    key: StepKey
    """Of the player's own random numbers; its step counts from the dream's start."""
    memory: PolicyState | None = None
    """The agent's memory before it sees the new frame (one row); None where nobody wants its opinion."""


@dataclass(frozen=True, eq=False)
class DreamStep(WorldStep):
    """What a step led to in a dream: reward and end are sampled, 0 and none where the model has no such.

    Parts that are timed, for the whole batch: denoiser, upsampler, reward_end, policy.
    """

    context: Tensor
    """Frames it was drawn from (n, 3, H, W)."""
    trajectory: Tensor
    """From noise to the frame: (N + 1, 3, H, W)."""
    small: Frame | None
    """The small frame it was drawn from, in a world of two stages; else this and the next two are None."""
    small_context: Tensor | None
    """Frames the small one was drawn from (n, 3, h, w)."""
    small_trajectory: Tensor | None
    """From noise to the small frame: (N + 1, 3, h, w)."""
    reward_probs: NDArray[np.float32] | None
    """(3,) probabilities of reward sign -1, 0, +1; None where the model knows nothing of rewards."""
    end_prob: float | None
    """Probability of the end; None where the model knows nothing of ends."""
    thinks: PolicyOutput | None
    """What the agent makes of the new frame, where it was asked."""


class Dreamer:
    """A model at work for all its players.

    Steps that are asked for at the same time, with the same sampler settings, are drawn in one batch: for small
    networks that costs hardly more than one alone. Noise is each player's own, so who else plays changes a frame by no
    more than the order of summation does: usually nothing, at times a value by one level of 8 bits, which later
    frames are drawn from.

    `world` is looked up at each batch: a compiled one may take its place meanwhile.
    """

    def __init__(self, model: Model) -> None:
        """A batch is drawn with the model's number of threads; all else in the process should `use_threads(1)`."""
        self.model, self.world = model, model.world
        self.step: DynamicBatcher[DreamRequest, tuple[DreamState, DreamStep]] = DynamicBatcher(
            self._step, lambda r: (r.samplers, r.memory is None), prepare=lambda: use_threads(model.threads)
        )

    @torch.inference_mode()
    def start(self, window: Window) -> DreamState:
        """A dream that goes on from the window."""
        assert self.world is not None
        state: DreamState = self.world.start(*window_tensors([window], self.model.device))
        return state

    @torch.inference_mode()
    def think(self, frames: Tensor, memory: PolicyState) -> list[PolicyOutput]:
        """What the agent makes of one more frame (B, 3, H, W) in each row."""
        policy = self.model.require_policy()
        with autocast(self.model.device, torch.float32 if self.world is None else self.world.dtype):
            logits, values, (h, c) = policy(frames, memory)
        probs, nats = probabilities(policy.actions, logits).cpu().numpy(), entropy(policy.actions, logits).tolist()
        return [
            PolicyOutput(logits[i : i + 1], probs[i], value, nats[i], (h[i : i + 1], c[i : i + 1]))
            for i, value in enumerate(values.tolist())
        ]

    @torch.inference_mode()
    def _step(self, requests: list[DreamRequest]) -> list[tuple[DreamState, DreamStep]]:
        assert self.world is not None
        clock, world = Stopwatch(self.model.device), self.world.with_samplers(requests[0].samplers)
        state = type(requests[0].state).join([r.state for r in requests])
        actions = torch.from_numpy(np.stack([r.action for r in requests])).to(self.model.device)
        generators = [KeyedGenerators(self.model.device) for _ in requests]
        randn = row_noise([each.noise(r.key) for each, r in zip(generators, requests, strict=True)])
        following, prediction = world.step(state, actions, randn, trajectory=True, clock=clock)
        assert prediction.trajectory is not None
        frames, trajectory = to_numpy(prediction.frames), torch.stack(prediction.trajectory, dim=1)
        small = _small(prediction)
        thinks: list[PolicyOutput | None] = [None] * len(requests)
        if memories := [r.memory for r in requests if r.memory is not None]:
            h, c = zip(*memories, strict=True)
            with clock("policy"):
                thinks = [*self.think(prediction.frames, (torch.cat(h), torch.cat(c)))]
        steps = []
        for i, request in enumerate(requests):
            draws = generators[i].at(request.key, "reward_end")
            reward_probs, reward = _draw(prediction.reward_logits, i, draws)
            end_probs, end = _draw(prediction.end_logits, i, draws)
            cut = not end and request.key.step + 1 >= request.horizon
            why = f"the dream reached its horizon of {request.horizon}" if cut else ""
            step = DreamStep(
                frame=frames[i],
                reward=0 if reward_probs is None else reward - 1,
                ended=bool(end),
                truncated=cut,
                why="the dream predicts an end" if end else why,
                milliseconds=clock.milliseconds,
                context=request.state.context[0],
                trajectory=trajectory[i],
                small=small[0][i] if small else None,
                small_context=request.state.small.context[0] if request.state.small else None,
                small_trajectory=small[1][i] if small else None,
                reward_probs=reward_probs,
                end_prob=None if end_probs is None else float(end_probs[1]),
                thinks=thinks[i],
            )
            steps.append((following.rows(slice(i, i + 1)), step))
        return steps


class Stopwatch:
    """A `world.world_model.Clock` that notes how long each part took, until the device was done with it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time the block."""
        start = time.perf_counter()
        yield
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        self.milliseconds[part] = (time.perf_counter() - start) * 1000


def _small(prediction: Prediction) -> tuple[Film, Tensor] | None:
    """The small frames (B, h, w, 3) and their trajectories (B, N + 1, 3, h, w), in a world of two stages."""
    if (small := prediction.small) is None or small.trajectory is None:
        return None
    return to_numpy(small.frames), torch.stack(small.trajectory, dim=1)


def _draw(logits: Tensor | None, row: int, draws: torch.Generator) -> tuple[NDArray[np.float32] | None, int]:
    """A row's probabilities, and the place drawn from them; None and 0 without logits."""
    if logits is None:
        return None, 0
    probs = logits[row].softmax(-1)
    return probs.cpu().numpy(), int(torch.multinomial(probs, 1, generator=draws))
