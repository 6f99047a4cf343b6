"""A boat that is steered by two numbers: a game with continuous actions, drawn by itself."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

SIDE = 16


class Boat(gymnasium.Env):
    """A light on water moves by twice the action; it starts in the middle, and the shore ends the game."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = Box(0, SIDE, (2,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = np.array([SIDE / 2, SIDE / 2], np.float32)
        return self.place.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.place += 2 * action
        over = bool((self.place < 1).any() or (self.place > SIDE - 2).any())
        return self.place.copy(), float(action[0]), over, False, {}

    def render(self) -> np.ndarray:
        frame = np.full((SIDE, SIDE, 3), (20, 40, 90), np.uint8)
        x, y = self.place.round().astype(int).clip(0, SIDE - 2)
        frame[y : y + 2, x : x + 2] = (240, 220, 120)
        return frame


gymnasium.register("Boat-v0", Boat)
