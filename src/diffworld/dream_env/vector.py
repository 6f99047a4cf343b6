"""Several dreams of one model as a Gymnasium vector environment: one batch a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from diffworld.dream_env.dreams import Dreams, DreamSettings, DreamsState
from diffworld.dream_env.env import METADATA, check_render_mode, observation_space
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, Frame

Rewards = NDArray[np.float64]
Flags = NDArray[np.bool_]


class DreamVectorEnv(VectorEnv[Film, Any, NDArray[Any]]):
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
        check_render_mode(render_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.dreams = Dreams(num_envs, DreamSettings(**settings))
        """The rows it is made of: their model, starts and horizon, and how long the last step took."""
        spec = self.dreams.spec
        self.metadata = {**METADATA, "render_fps": spec.steps_per_second, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(spec)
        self.single_action_space = spec.actions.to_gymnasium()
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
            step = self.dreams.step(rows, [chosen[row] for row in rows])
            rewards[rows], ended[rows], truncated[rows] = step.rewards, step.terminated, step.truncated
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                resets = np.flatnonzero(ended | truncated).tolist()
            last = self.dreams.frames if resets else None
            for row, info in zip(rows, step.infos, strict=True):
                if last is not None and row in resets:
                    info = {"final_obs": last[row], "final_info": info}
                infos = self._add_info(infos, info, row)
        if resets:
            self.dreams.reset(resets, [None] * len(resets), self.np_random)
        return self.dreams.frames, rewards, ended, truncated, infos

    def render(self) -> tuple[Frame, ...] | None:
        """The current frames, where it was made to render."""
        return None if self.render_mode is None else tuple(self.dreams.frames)

    def get_state(self) -> DreamsState:
        """Where the dreams stand; put back, they go on as they did, whatever happened since."""
        return self.dreams.state

    def set_state(self, state: DreamsState) -> None:
        """Go on from there. Rows of any states will do: `state.rows([0] * num_envs)` branches one dream."""
        self.dreams.state = state

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
