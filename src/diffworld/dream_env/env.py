"""One dream as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from diffworld.dream_env.dreams import Dreams, DreamSettings, DreamsState
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Frame
from diffworld.spec import GameSpec

METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}


def observation_space(spec: GameSpec) -> Box:
    """The space of a game's frames, uint8 (H, W, 3)."""
    return Box(0, 255, spec.frame_shape, np.uint8)


def check_render_mode(render_mode: str | None) -> None:
    """UserError for a mode that dreams are not drawn in."""
    if render_mode not in (None, *METADATA["render_modes"]):
        raise UserError(f"render_mode is {render_mode!r}; choose rgb_array, or None")


class DreamEnv(gymnasium.Env[Any, Any]):
    """A dream of a model; keyword arguments are those of `DreamSettings`.

    An observation is the frame; the reward is of the sign that the model expects; the model ends the dream, or the
    horizon truncates it. Seed and actions alone decide what happens.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.dreams = Dreams(1, DreamSettings(**settings))
        """The row it is made of: its model, starts and horizon, and how long the last step took."""
        spec = self.dreams.spec
        self.metadata = {**METADATA, "render_fps": spec.steps_per_second}
        self.observation_space = observation_space(spec)
        self.action_space = spec.actions.to_gymnasium()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """A new dream: the first of that seed, or the next of the seed before."""
        super().reset(seed=seed)
        self.dreams.reset([0], [seed], self.np_random)
        return self.dreams.frames[0], {}

    def step(self, action: Any) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Dream on by one action."""
        step = self.dreams.step([0], [action])
        ended, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        return self.dreams.frames[0], float(step.rewards[0]), ended, truncated, step.infos[0]

    def render(self) -> Frame | None:
        """The current frame, where it was made to render."""
        return None if self.render_mode is None else self.dreams.frames[0]

    def get_state(self) -> DreamsState:
        """Where the dream stands; put back, it goes on as it did, whatever happened since."""
        return self.dreams.state

    def set_state(self, state: DreamsState) -> None:
        """Go on from there."""
        self.dreams.state = state
