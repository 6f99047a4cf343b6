"""One step of the dreams of several players, drawn as one batch: frame, reward and end, what the agent thinks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.models.actor_critic import PolicyState
from diffworld.models.diffusion import Randn, frames_to_bytes
from diffworld.models.reward_end import LstmState
from diffworld.models.sampler import SamplerConfig
from diffworld.play.batcher import DynamicBatcher
from diffworld.world.imagination import ImaginationState

SampleFrame = Callable[[Tensor, Tensor, SamplerConfig, Randn], tuple[Tensor, list[Tensor]]]
"""`Denoiser.sample`: frames (B, n, 3, H, W), actions (B, n) -> the next frame (B, 3, H, W) and its trajectory."""

PredictRewardEnd = Callable[[Tensor, Tensor, Tensor, LstmState], tuple[Tensor, Tensor, LstmState]]
"""`RewardEndModel.forward`."""

Act = Callable[[Tensor, PolicyState], tuple[Tensor, Tensor, PolicyState]]
"""`ActorCritic.forward`."""


@dataclass(frozen=True, eq=False)
class DreamRequest:
    """One player's step in a dream."""

    state: ImaginationState
    """Where the dream stands (one row)."""
    action: int
    sampler: SamplerConfig
    randn: Randn
    """The player's own noise."""
    memory: PolicyState | None
    """The agent's memory before it sees the new frame (one row); None where nobody wants its opinion."""


@dataclass(frozen=True, eq=False)
class Dreamt:
    """What came of a step."""

    frame: NDArray[np.uint8]
    """(H, W, 3)."""
    trajectory: list[Tensor]
    """From noise to the frame: N + 1 states (1, 3, H, W)."""
    reward_probs: Tensor
    """(3,) probabilities of reward sign -1, 0, +1."""
    end_probs: Tensor
    """(2,) probabilities of going on and of the end."""
    following: ImaginationState
    thinks: tuple[Tensor, Tensor, PolicyState] | None
    """What `Act` says of the new frame (one row)."""
    milliseconds: dict[str, float]
    """How long each part took for the whole batch: denoiser, reward_end, policy."""


class Dreamer:
    """A model's networks at work for all its players.

    Steps that are asked for at the same time, with the same sampler settings, are drawn in one batch: for small
    networks that costs hardly more than one alone. Noise is each player's own, so who else plays changes a frame by no
    more than the order of summation does: usually nothing, at times a value by one level of 8 bits, which later
    frames are drawn from.

    The three functions are looked up at each batch: compiled code may take their places meanwhile.
    """

    def __init__(self, sample_frame: SampleFrame, predict_reward_end: PredictRewardEnd, act: Act, threads: int) -> None:
        """`threads` is how many torch uses for a batch; everything else in the process should `use_threads(1)`."""
        self.sample_frame, self.predict_reward_end, self.act = sample_frame, predict_reward_end, act
        self.threads = threads
        self.step: DynamicBatcher[DreamRequest, Dreamt] = DynamicBatcher(
            self._step, lambda r: (r.sampler, r.memory is None), prepare=lambda: use_threads(threads)
        )

    @torch.inference_mode()
    def _step(self, requests: list[DreamRequest]) -> list[Dreamt]:
        milliseconds: dict[str, float] = {}
        state, actions = _join([r.state for r in requests]), [r.action for r in requests]
        taken = torch.tensor(actions, device=state.actions.device)[:, None]
        acted = torch.cat([state.actions[:, :-1], taken], dim=1)
        with stopwatch(milliseconds, "denoiser"):
            randn = _each([r.randn for r in requests])
            next_frames, trajectory = self.sample_frame(state.frames, acted, requests[0].sampler, randn)
            frames = to_bytes(next_frames)
        with stopwatch(milliseconds, "reward_end"):
            reward_logits, end_logits, lstm = self.predict_reward_end(
                state.frames[:, -1:], taken, next_frames[:, None], state.reward_end
            )
            reward_probs, end_probs = reward_logits[:, 0].softmax(-1), end_logits[:, 0].softmax(-1)
            end_probs.cpu()  # only then is a GPU done
        following = ImaginationState(
            frames=torch.cat([state.frames[:, 1:], next_frames[:, None]], dim=1),
            actions=torch.cat([acted[:, 1:], torch.zeros_like(taken)], dim=1),
            reward_end=lstm,
            steps=state.steps + 1,
        )
        thinks = None
        memories = [r.memory for r in requests if r.memory is not None]
        if memories:
            with stopwatch(milliseconds, "policy"):
                logits, values, memory = self.act(next_frames, _join_pairs(memories))
                thinks = logits, values.cpu(), memory  # nor is it before
        return [
            Dreamt(
                frames[i],
                [state[i : i + 1] for state in trajectory],
                reward_probs[i],
                end_probs[i],
                _row(following, i),
                (thinks[0][i : i + 1], thinks[1][i : i + 1], _row_of_pair(thinks[2], i)) if thinks else None,
                milliseconds,
            )
            for i in range(len(requests))
        ]


def use_threads(count: int) -> None:
    """Let torch compute with so many threads where the calling thread asks.

    More than one is for a single thread of the process: where two have helpers, and so more run than there are cores,
    OpenMP puts them all to sleep between two operations, and each frame takes twice as long.
    """
    torch.get_num_threads()  # else the first operation would take over what another thread set last
    torch.set_num_threads(count)


@contextmanager
def stopwatch(milliseconds: dict[str, float], part: str) -> Iterator[None]:
    """Note how long a part takes. The block must end with numbers on the CPU, so that no device runs on."""
    start = time.perf_counter()
    yield
    milliseconds[part] = (time.perf_counter() - start) * 1000


def to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """Frames (..., 3, H, W) in [-1, 1] as uint8 (..., H, W, 3) on the CPU."""
    return np.ascontiguousarray(frames_to_bytes(frames).cpu().numpy())


def _each(randns: list[Randn]) -> Randn:
    """Noise whose every row comes from its own function, as that function gives it to a player alone."""
    return lambda shape: torch.cat([randn((1, *shape[1:])) for randn in randns])


def _join(states: list[ImaginationState]) -> ImaginationState:
    return ImaginationState(
        frames=torch.cat([s.frames for s in states]),
        actions=torch.cat([s.actions for s in states]),
        reward_end=_join_pairs([s.reward_end for s in states]),
        steps=torch.cat([s.steps for s in states]),
    )


def _row(states: ImaginationState, i: int) -> ImaginationState:
    row = slice(i, i + 1)
    return ImaginationState(
        states.frames[row], states.actions[row], _row_of_pair(states.reward_end, i), states.steps[row]
    )


def _join_pairs(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = zip(*pairs, strict=True)
    return torch.cat(first), torch.cat(second)


def _row_of_pair(pair: tuple[Tensor, Tensor], i: int) -> tuple[Tensor, Tensor]:
    return pair[0][i : i + 1], pair[1][i : i + 1]
