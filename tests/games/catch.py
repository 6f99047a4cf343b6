"""A game small enough to be learnt in a test: catch a falling block. As an environment: gym/tests.games.catch:Catch-v0."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

COLUMNS, CELL = 5, 2
SIZE = COLUMNS * CELL
BACKGROUND, PADDLE = (20, 20, 30), (70, 160, 250)
FALLING, CAUGHT, MISSED = (240, 220, 60), (60, 220, 90), (230, 60, 50)
STAY = 1


class Catch(gymnasium.Env[NDArray[np.uint8], int]):
    """A block of 2x2 pixels falls in a random column, a pixel a step; a paddle as large moves along the bottom.

    Actions: left, stay, right, a column a step. The episode ends when the block arrives, with reward 1 on the paddle
    and -1 beside it; the block's colour tells which. A player who looks always catches the block; one who always presses the same key catches one in
    five, for a mean of -0.6.
    """

    observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.y, self.column, self.paddle = 0, *(int(place) for place in self.np_random.integers(COLUMNS, size=2))
        return self._frame(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.paddle = int(np.clip(self.paddle + action - STAY, 0, COLUMNS - 1))
        self.y += 1
        over = self.y == SIZE - CELL
        reward = 0.0 if not over else 1.0 if self.column == self.paddle else -1.0
        return self._frame(), reward, over, False, {}

    def _frame(self) -> NDArray[np.uint8]:
        frame = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
        block = FALLING if self.y < SIZE - CELL else CAUGHT if self.column == self.paddle else MISSED
        for x, y, colour in ((self.paddle, SIZE - CELL, PADDLE), (self.column, self.y, block)):
            frame[y : y + CELL, x * CELL : (x + 1) * CELL] = colour
        return frame


gymnasium.register("Catch-v0", Catch)
