"""A game small enough to be learnt in a test: catch a falling block. Its id is gym/tests.games.catch:Catch-v0."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

COLUMNS, CELL = 3, 3
SIZE = COLUMNS * CELL
PADDLE, BLOCK = (70, 160, 250), (250, 240, 160)
FALLING, CAUGHT, MISSED = (20, 20, 30), (30, 160, 60), (170, 40, 40)  # backgrounds
STAY = 1


class Catch(gymnasium.Env[NDArray[np.uint8], int]):
    """A block of 3x3 pixels falls in a random column, a pixel a step; a paddle as large moves along the bottom.

    Actions: left, stay, right, a column a step. The episode ends when the block arrives, with reward 1 on the paddle
    and -1 beside it; then the screen flashes green or red. A player who looks always catches the block. To press the
    same key throughout catches one block in three, a mean score of -0.33.
    """

    observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.y, self.column, self.paddle = 0, *(int(place) for place in self.np_random.integers(COLUMNS, size=2))
        return self._frame(FALLING), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.paddle = int(np.clip(self.paddle + action - STAY, 0, COLUMNS - 1))
        self.y += 1
        if self.y < SIZE - CELL:
            return self._frame(FALLING), 0.0, False, False, {}
        caught = self.column == self.paddle
        return self._frame(CAUGHT if caught else MISSED), 1.0 if caught else -1.0, True, False, {}

    def _frame(self, background: tuple[int, int, int]) -> NDArray[np.uint8]:
        frame = np.full((SIZE, SIZE, 3), background, np.uint8)
        for x, y, colour in ((self.paddle, SIZE - CELL, PADDLE), (self.column, self.y, BLOCK)):
            frame[y : y + CELL, x * CELL : (x + 1) * CELL] = colour
        return frame


gymnasium.register("Catch-v0", Catch)
