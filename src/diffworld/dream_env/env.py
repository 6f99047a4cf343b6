"""Dreams as Gymnasium environments: one alone, or several as a vector, one batch a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from diffworld.dream_env.batch import Dreams, DreamSettings, DreamsState
from diffworld.game.gym_spaces import to_gymnasium
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, Frame

METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}
Rewards = NDArray[np.float64]
Flags = NDArray[np.bool_]


class _Dreaming:
    """What both environments have: rows of dreams, and where these stand."""

    dreams: Dreams
    """The rows it is made of: their model, starts and horizon, and how long the last step took."""

    def _begin(self, rows: int, render_mode: str | None, settings: dict[str, Any]) -> tuple[Box, gymnasium.Space[Any]]:
        """Make the dreams; a row's spaces of observations, uint8 (H, W, 3), and of actions."""
        if render_mode not in (None, *METADATA["render_modes"]):
            raise UserError(f"render_mode is {render_mode!r}; choose rgb_array, or None")
        self.render_mode = render_mode
        self.dreams = Dreams(rows, DreamSettings(**settings))
        spec = self.dreams.spec
        self.metadata = {**METADATA, "render_fps": spec.steps_per_second}
        return Box(0, 255, spec.frame_shape, np.uint8), to_gymnasium(spec.actions)

    def get_state(self) -> DreamsState:
        """Where the dreams stand; put back, they go on as they did, whatever happened since."""
        return self.dreams.state

    def set_state(self, state: DreamsState) -> None:
        """Go on from there. Rows of any states will do: `state.rows([0] * num_envs)` branches one dream."""
        self.dreams.state = state


class DreamEnv(_Dreaming, gymnasium.Env[Any, Any]):
    """A dream of a model; keyword arguments are those of `DreamSettings`.

    An observation is the frame; the reward is of the sign that the model expects; the model ends the dream, or the
    horizon truncates it. Seed and actions alone decide what happens.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        self.observation_space, self.action_space = self._begin(1, render_mode, settings)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """A new dream: the first of that seed, or the next of the seed before."""
        super().reset(seed=seed)
        self.dreams.reset([0], [seed], self.np_random)
        return self.dreams.frames[0], {}

    def step(self, action: Any) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Dream on by one action."""
        (reward,), (ended,), (truncated,), (info,) = self.dreams.step([0], [action])
        return self.dreams.frames[0], float(reward), bool(ended), bool(truncated), info

    def render(self) -> Frame | None:
        """The current frame, where it was made to render."""
        return None if self.render_mode is None else self.dreams.frames[0]


class DreamVectorEnv(_Dreaming, VectorEnv[Film, Any, NDArray[Any]]):
    """`num_envs` dreams; keyword arguments beyond those named are those of `DreamSettings`.

    autoreset_mode: one of Gymnasium's; NextStep (a step after the end resets), SameStep, or Disabled.
    """

    metadata: dict[str, Any] = {**METADATA, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.num_envs, self.autoreset_mode = num_envs, _mode(autoreset_mode)
        self.single_observation_space, self.single_action_space = self._begin(num_envs, render_mode, settings)
        self.metadata["autoreset_mode"] = self.autoreset_mode
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Film, dict[str, Any]]:
        """New dreams: row i has seed + i, or the i-th of the seeds given; without one, the next of its own seed.

        options: {"reset_mask": bool (N,)} resets those rows alone.
        """
        if seed is None or isinstance(seed, int):
            super().reset(seed=seed)
            seeds = [None if seed is None else seed + row for row in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise UserError(f"{self.num_envs} dreams need as many seeds, not {len(seeds)}")
        for each in seeds:
            if each is not None:
                seeding.np_random(each)  # Gymnasium's own rule of what is a seed
        rows = self._masked((options or {}).get("reset_mask"))
        self.dreams.reset(rows, [seeds[row] for row in rows], self.np_random)
        return self.dreams.frames, {}

    def step(self, actions: Any) -> tuple[Film, Rewards, Flags, Flags, dict[str, Any]]:
        """An action in every row; rows that are reset by this step ignore theirs."""
        chosen, over = self._each(actions), self.dreams.state.over
        resets = [r for r in range(self.num_envs) if over[r] and self.autoreset_mode == AutoresetMode.NEXT_STEP]
        rows = [row for row in range(self.num_envs) if row not in resets]
        rewards = np.zeros(self.num_envs)
        ended, truncated = np.zeros(self.num_envs, dtype=bool), np.zeros(self.num_envs, dtype=bool)
        infos: dict[str, Any] = {}
        if rows:
            rewards[rows], ended[rows], truncated[rows], judged = self.dreams.step(rows, [chosen[row] for row in rows])
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                resets = np.flatnonzero(ended | truncated).tolist()
            last = self.dreams.frames if resets else None
            for row, info in zip(rows, judged, strict=True):
                if last is not None and row in resets:
                    info = {"final_obs": last[row], "final_info": info}
                infos = self._add_info(infos, info, row)
        if resets:
            self.dreams.reset(resets, [None] * len(resets), self.np_random)
        return self.dreams.frames, rewards, ended, truncated, infos

    def render(self) -> tuple[Frame, ...] | None:
        """The current frames, where it was made to render."""
        return None if self.render_mode is None else tuple(self.dreams.frames)

    def _each(self, actions: Any) -> list[Any]:
        """The rows' actions."""
        try:
            chosen = list(iterate(self.action_space, actions))
        except (TypeError, LookupError) as error:
            raise UserError(f"actions must be of {self.action_space}, not {actions!r}") from error
        if len(chosen) != self.num_envs:
            raise UserError(f"{self.num_envs} dreams need as many actions, not {len(chosen)}")
        return chosen

    def _masked(self, mask: Any) -> list[int]:
        """The rows to reset."""
        if mask is None:
            return list(range(self.num_envs))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise UserError(f"reset_mask must be a numpy array of bool ({self.num_envs},)")
        if not mask.any():
            raise UserError("reset_mask must name at least one row")
        return np.flatnonzero(mask).tolist()


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        names = ", ".join(each.value for each in AutoresetMode)
        raise UserError(f"autoreset_mode must be one of {names}, not {mode!r}") from error
