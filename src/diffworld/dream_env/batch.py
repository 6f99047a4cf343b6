"""Dreams of one model, a row each, stepped as one batch: what both environments are made of.

All random numbers of a row follow from its seed, the number of its episode and the step in it. So a row dreams the same
whatever the others do (up to rounding), and a state kept aside goes on exactly as it did.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.data import Dataset
from diffworld.game.gym_spaces import from_gym_action, to_gymnasium
from diffworld.runs import Model, Starts, load, make_window, window_tensors
from diffworld.runs.starts import windows_of
from diffworld.runtime.device import computing_with
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, to_numpy
from diffworld.world import DreamState, KeyedGenerators, Prediction, StepKey, row_noise, tensors_of

RewardKind = Literal["sampled", "expected"]
REPLAY = "replay"


@dataclass(frozen=True)
class DreamSettings:
    """What an environment of dreams is made with."""

    model: Model | str | Path = "demo"
    """A run folder, "demo" for the package's own model, or what `diffworld.load` gave."""
    horizon: int | None = None
    """Steps after which a dream is truncated; None: as many as the run's agent dreamt."""
    reward: str = "sampled"
    """sampled: a sign drawn from the model's probabilities; expected: p(+1) - p(-1)."""
    starts: str | Path = REPLAY
    """Where dreams begin: in the run's own data ("replay"), or in those of this data set folder."""
    denoising_steps: int | None = None
    """Steps in which a frame is drawn, of two stages the first; None: as many as the run says."""
    device: str = "auto"
    """Where the model is loaded to: auto, cpu, cuda or mps. A model that is loaded already stays where it is."""

    def __post_init__(self) -> None:
        """UserError for a value that no dream can have."""
        check_count("horizon", 1 if self.horizon is None else self.horizon)
        check_count("denoising_steps", 1 if self.denoising_steps is None else self.denoising_steps)
        if self.reward not in get_args(RewardKind):
            raise UserError(f"reward is {self.reward!r}; choose {' or '.join(get_args(RewardKind))}")


def check_count(name: str, value: int) -> None:
    """UserError unless it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least 1")


@dataclass(frozen=True, eq=False)
class DreamsState:
    """Where each row stands, the place of its random numbers included. It never changes."""

    dream: DreamState
    keys: tuple[StepKey, ...]
    """Each row's seed, the number of its episode, and the steps taken in it."""
    over: tuple[bool, ...]
    """Rows whose dream is over: they are to be reset before their next step."""

    def rows(self, which: Sequence[int]) -> DreamsState:
        """Those rows alone; the same row several times makes branches of one dream."""
        dream = self.dream.rows(torch.tensor(which, device=self.dream.frame.device))
        return DreamsState(dream, tuple(self.keys[row] for row in which), tuple(self.over[row] for row in which))

    def put(self, which: Sequence[int], others: DreamsState) -> DreamsState:
        """Other dreams in place of those rows."""
        at = {row: place for place, row in enumerate(which)}
        dream = self.dream.put(torch.tensor(which, device=self.dream.frame.device), others.dream)
        keys = tuple(others.keys[at[row]] if row in at else key for row, key in enumerate(self.keys))
        return DreamsState(
            dream, keys, tuple(others.over[at[row]] if row in at else over for row, over in enumerate(self.over))
        )


Form = tuple[type[DreamState], list[tuple[int, ...]]]
"""Kind of a state, and shapes of its tensors without their rows."""
Step = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], list[dict[str, Any]]]
"""What a step led to, for the R rows that took it: rewards (R,), terminated (R,) by the model, truncated (R,) by the
horizon, and infos: probabilities of each row, reward_probs (3,) of the signs -1, 0, 1, and end_prob; None of a model
without."""


class Dreams:
    """`rows` dreams of a model; the caller resets and steps rows as it likes.

    Raises: UserError, one line, for settings that do not go together with the model.
    """

    def __init__(self, rows: int, settings: DreamSettings) -> None:
        check_count("num_envs", rows)
        given = settings.model
        self.num_rows, self.reward = rows, settings.reward
        self.model = given if isinstance(given, Model) else load(given, settings.device)
        self.spec = self.model.spec
        self.horizon = settings.horizon or self.model.config.horizon
        self.world = self.model.require_world()
        if settings.denoising_steps is not None:
            first, *rest = self.world.samplers
            first = replace(first, denoising_steps=settings.denoising_steps)
            self.world = self.world.with_samplers((first, *rest))
        self.starts = self.model.starts if settings.starts == REPLAY else self._read_starts(Path(settings.starts))
        self.milliseconds = 0.0
        """How long the last step took."""
        self._state: DreamsState | None = None
        self._noise = [KeyedGenerators(self.world.device) for _ in range(rows)]
        self._judge = KeyedGenerators(torch.device("cpu"))

    @property
    def state(self) -> DreamsState:
        """Where the rows stand. UserError before the first reset."""
        if self._state is None:
            raise UserError("the dream has not begun: reset it first")
        return self._state

    @state.setter
    def state(self, state: DreamsState) -> None:
        if not isinstance(state, DreamsState) or len(state.keys) != self.num_rows:
            rows = f"{len(state.keys)} dreams" if isinstance(state, DreamsState) else f"a {type(state).__name__}"
            raise UserError(f"the state is of {rows}, not of {self.num_rows}: take what get_state gave, or rows of it")
        if _form(state.dream) != self._own_form:
            raise UserError("the state is of another model: take what get_state of this environment gave")
        self._state = state

    @functools.cached_property
    def _own_form(self) -> Form:
        """Of the dreams of this model."""
        grey = make_window(
            self.spec.actions, [np.zeros(self.spec.frame_shape, np.uint8)], [], self.world.context_frames
        )
        return _form(self.world.start(*window_tensors([grey], self.world.device)))

    @property
    def frames(self) -> Film:
        """The frame that each row stands at, uint8 (N, H, W, 3), in memory of its own."""
        return to_numpy(self.state.dream.frame)

    def reset(self, rows: Sequence[int], seeds: Sequence[int | None], rng: np.random.Generator) -> None:
        """Begin a new dream in those rows: the first of a seed, or where it is None the next of the row's own seed.

        `rng` gives a seed to rows that never had one. The first reset is of all rows.
        """
        keys: list[StepKey] = []
        for row, seed in zip(rows, seeds, strict=True):
            if seed is None and self._state is not None:
                before = self._state.keys[row]
                keys.append(StepKey(before.seed, before.episode + 1, 0))
            else:
                keys.append(StepKey(int(rng.integers(2**32) if seed is None else seed), 0, 0))
        windows = [self.starts.draw(key.seed, key.episode) for key in keys]
        with computing_with(self.model.threads):
            dream = self.world.start(*window_tensors(windows, self.world.device))
        self._put(rows, DreamsState(dream, tuple(keys), (False,) * len(keys)))

    def step(self, rows: Sequence[int], actions: Sequence[Any]) -> Step:
        """Take an action of the Gymnasium space in each of those rows."""
        before, began = self.state, time.perf_counter()
        if ended := [row for row in rows if before.over[row]]:
            raise UserError(f"the dream is over{f' in rows {ended}' if self.num_rows > 1 else ''}: reset it first")
        encoded = torch.from_numpy(np.stack([self._encoded(action) for action in actions]))
        standing = before if len(rows) == self.num_rows else before.rows(rows)
        noise = row_noise([self._noise[row].noise(key) for row, key in zip(rows, standing.keys, strict=True)])
        with computing_with(self.model.threads):
            dream, prediction = self.world.step(standing.dream, encoded.to(self.world.device), noise)
        rewards, ends, infos = self._judged(prediction, standing.keys)
        keys = tuple(replace(key, step=key.step + 1) for key in standing.keys)
        truncated = np.array([key.step >= self.horizon for key in keys]) & ~ends
        self._put(rows, DreamsState(dream, keys, tuple((ends | truncated).tolist())))
        self.milliseconds = (time.perf_counter() - began) * 1000
        return rewards, ends, truncated, infos

    def _put(self, rows: Sequence[int], new: DreamsState) -> None:
        self._state = new if len(rows) == self.num_rows else self.state.put(rows, new)

    def _encoded(self, action: Any) -> Any:
        try:
            return from_gym_action(self.spec.actions, action)
        except (KeyError, TypeError) as error:
            raise UserError(f"action {action!r} is not of {to_gymnasium(self.spec.actions)}") from error

    def _judged(
        self, prediction: Prediction, keys: Sequence[StepKey]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[dict[str, Any]]]:
        """Rewards, ends and infos, drawn by inverting the distributions: what is drawn first shifts nothing."""
        if prediction.reward_logits is None or prediction.end_logits is None:
            nothing = [{"reward_probs": None, "end_prob": None} for _ in keys]
            return np.zeros(len(keys)), np.zeros(len(keys), dtype=bool), nothing
        logits = (prediction.reward_logits, prediction.end_logits)
        probs, ended = (each.float().softmax(-1).cpu().numpy() for each in logits)
        end_probs = ended[:, 1]
        draws = np.stack([torch.rand(2, generator=self._judge.at(key, "reward_end")).numpy() for key in keys])
        signs = (draws[:, :1] >= probs.cumsum(axis=1)[:, :2]).sum(axis=1) - 1
        rewards = probs[:, 2] - probs[:, 0] if self.reward == "expected" else signs
        infos = [{"reward_probs": p.copy(), "end_prob": float(e)} for p, e in zip(probs, end_probs, strict=True)]
        return rewards.astype(np.float64), draws[:, 1] < end_probs, infos

    def _read_starts(self, folder: Path) -> Starts:
        with Dataset.open(folder) as dataset:
            if other := dataset.spec.differences(self.spec):
                raise UserError(f"{folder} does not fit {self.model.title}: {', '.join(other)}")
            windows = windows_of(dataset, self.world.context_frames)
        return Starts(lambda: windows)


def _form(state: DreamState) -> Form:
    return type(state), [tuple(tensor.shape[1:]) for tensor in tensors_of(state)]
