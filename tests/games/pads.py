"""Two games of one picture and three steps: with keys, and with more actions than anybody tries one by one.

Every key, and every action but the first, pays 1 a step. Their ids are gym/tests.games.pads:Keys-v0 and Many-v0.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary


class Pad(gymnasium.Env):
    observation_space = Box(0, 255, (4, 4, 3), np.uint8)

    def __init__(self, space: gymnasium.Space) -> None:
        self.action_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros((4, 4, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros((4, 4, 3), np.uint8), float(np.count_nonzero(action)), self.steps == 3, False, {}


gymnasium.register("Keys-v0", lambda: Pad(MultiBinary(2)))
gymnasium.register("Many-v0", lambda: Pad(Discrete(33)))
