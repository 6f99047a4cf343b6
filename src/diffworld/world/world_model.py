"""The one interface of a world model: `start` in real frames, `step` by step from there.

A state holds B dreams, a row each, and is never changed: stepping returns another. Going back is stepping from an older
state; selecting and joining rows makes batches of any dreams that stand at that moment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor

from diffworld.models.denoiser import Denoiser
from diffworld.models.diffusion import Randn
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig

Clock = Callable[[str], AbstractContextManager[None]]
"""Name of a part of a step (denoiser, upsampler, reward_end) -> a context that it runs in, to be timed."""
Samplers = tuple[SamplerConfig, ...]
"""How each stage of a world draws, in the order they run."""


class DreamState:
    """Base of states: a frozen dataclass of tensors with a row a dream, pairs of them, states, or None."""

    @property
    def frame(self) -> Tensor:
        """The current frames (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError

    @property
    def context(self) -> Tensor:
        """The frames of that size that the next one is drawn from (B, n, 3, H, W), the current one last."""
        raise NotImplementedError

    @property
    def small(self) -> DreamState | None:
        """Where the first stage of two stands, in smaller frames; None in a world of one stage."""
        return None

    def rows(self, which: slice | Tensor) -> Self:
        """The dreams of those rows."""
        return _zip(lambda x: x[which], self)

    def put(self, rows: Tensor, others: Self) -> Self:
        """Other dreams in place of those at `rows` (R,)."""
        return _zip(lambda x, y: x.index_copy(0, rows, y), self, others)

    def restarted(self, start: Tensor, starts: Self) -> Self:
        """The dream of `starts` at `start` (B,) in place of each, where that is not negative; no row is listed."""
        return _zip(lambda x, y: restarted(start, x, y), self, starts)

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """All dreams of several states, one after another."""
        return _zip(lambda *x: torch.cat(x), *states)


S = TypeVar("S", bound=DreamState)
T = TypeVar("T")


def restarted(start: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Row `start` (B,) of `starts` in place of each of `rows` (B, ...), where that is not negative."""
    over = (start >= 0).view(-1, *[1] * (rows.ndim - 1))
    return torch.where(over, starts[start], rows)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    found: list[Tensor] = []

    def take(x: Tensor) -> Tensor:
        found.append(x)
        return x

    _zip(take, value)
    return found


def with_tensors(value: T, tensors: Sequence[Tensor]) -> T:
    """A state of the same form with other tensors."""
    following = iter(tensors)
    return cast(T, _zip(lambda _: next(following), value))


def _zip(change: Callable[..., Tensor], *values: Any) -> Any:
    """`change` of the tensors that stand at the same place in each value, in a value of the same form."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return change(*values)
    if isinstance(first, tuple):
        return tuple(_zip(change, *each) for each in zip(*values, strict=True))
    fields = {f.name: _zip(change, *(getattr(v, f.name) for v in values)) for f in dataclasses.fields(first)}
    return type(first)(**fields)


@dataclass(frozen=True)
class Prediction:
    """What a step led to, for B dreams."""

    frames: Tensor
    """(B, 3, H, W) in [-1, 1], on the 8-bit grid."""
    reward_logits: Tensor | None
    """(B, 3) of the reward's sign -1, 0, 1; None where the model knows nothing of rewards."""
    end_logits: Tensor | None
    """(B, 2) of going on and ending; None where the model knows nothing of ends."""
    trajectory: list[Tensor] | None = None
    """From noise to the frames, N + 1 tensors as `frames`; only on request."""
    small: Prediction | None = None
    """What the first stage of two drew, in smaller frames; None in a world of one stage."""


@dataclass(frozen=True)
class Lesson:
    """What one denoiser of a world learns from."""

    denoiser: Denoiser
    length: int
    """Frames of a window."""
    loss: Callable[..., Tensor]
    """Of windows: frames (B, length, 3, H, W), actions (B, length) or (B, length, A), mask (B, length), and noise; see
    `Denoiser.loss` for its `counts` and `each`."""

    @property
    def steps(self) -> int:
        """Frames of a window that are predicted in turn, 1 + k."""
        return 1 + self.denoiser.config.autoregressive_steps


class WorldModel(Protocol[S]):
    """Anything dreams can be stepped in. Frames given and drawn are of the game's own size."""

    dtype: torch.dtype
    """Number format of the arithmetic."""
    samplers: Samplers

    @property
    def context_frames(self) -> int:
        """Real frames that a dream begins with, n."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    @property
    def reward_end(self) -> RewardEndModel | None:
        """Who judges its steps, by frames as they are `seen`."""
        ...

    @property
    def lessons(self) -> Mapping[str, Lesson]:
        """What its denoisers learn, by their names."""
        ...

    def start(self, frames: Tensor, actions: Tensor) -> S:
        """Dreams that go on from windows: frames (B, n, 3, H, W), actions (B, n) or (B, n, A), the last not chosen."""
        ...

    def step(
        self, state: S, actions: Tensor, randn: Randn, *, trajectory: bool = False, clock: Clock | None = None
    ) -> tuple[S, Prediction]:
        """Take actions (B,) or (B, A). All random numbers come from `randn`; see `row_noise`."""
        ...

    def state_from(self, plain: dict[str, Any]) -> S:
        """A state whose fields were kept in a checkpoint."""
        ...

    def seen(self, frames: Tensor) -> Tensor:
        """Frames (..., 3, H, W) as the networks see them that move a dream on: small ones in a world of two stages."""
        ...

    @property
    def first_stage(self) -> WorldModel[Any]:
        """What decides where a dream goes, in frames as they are `seen`: the world itself, or that of small ones."""
        ...

    def with_samplers(self, samplers: Samplers) -> Self:
        """The same networks, frames drawn in another way."""
        ...

    def with_denoisers(self, change: Callable[[str, Denoiser], Denoiser]) -> Self:
        """The same world with another in place of each denoiser, given its name and itself."""
        ...

    def frames_alone(self, dtype: torch.dtype) -> Self:
        """The same world in that number format, knowing nothing of rewards and ends."""
        ...

    def record(self) -> None:
        """Take steps as CUDA graphs from now on, one for each way of drawing, with noise from anywhere.

        In training all steps of an update are one recording instead (`agents.rollout.RecordedAct`).
        """
        ...
