"""The real worlds of one player: a game, or a recording of one. A step takes a state and returns the next one.

So going back is nothing but stepping from an earlier state again. Dreams are stepped in the same way (`dreaming`).
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffworld.envs import GameHistory
from diffworld.envs.make import make_game
from diffworld.game import ActionSpace, Encoded, GameSpec
from diffworld.runs import Window, make_window
from diffworld.runtime.frames import Film, Frame

Rules = Literal["train", "test"]
"""train: a lost life ends the episode, as the learner sees it. test: only game over does."""


@dataclass(frozen=True, eq=False)
class WorldStep:
    """What a step led to in one world."""

    frame: Frame
    reward: float
    ended: bool
    truncated: bool
    why: str
    """Why it is over, in words; empty while it goes on."""
    milliseconds: dict[str, float]
    """How long each part took."""


@dataclass(frozen=True, eq=False)
class GameState:
    """Where a real game (or a recording of one) stands. It cannot be copied, only played again from its seed."""

    seed: int
    actions: list[Encoded]
    """What was played, and perhaps what came after: the first `steps` led here. Only ever appended to."""
    steps: int
    frames: tuple[Frame, ...]
    """The last n frames of the game, the current one last; fewer at its beginning."""
    score: float = 0.0
    """Sum of its raw rewards."""
    over: bool = False
    """Nothing can be played from here."""

    def window(self, space: ActionSpace, length: int) -> Window:
        """The last `length` frames, for a dream to start from."""
        return make_window(space, list(self.frames), self.actions[: self.steps], length, self.seed, self.steps)

    def next(self, action: Encoded, frame: Frame, reward: float, length: int, over: bool) -> "GameState":
        """The state after an action; it keeps the last `length` frames."""
        actions = self.actions if len(self.actions) == self.steps else self.actions[: self.steps]
        actions.append(action)
        frames = (*self.frames, frame)[-length:]
        return GameState(self.seed, actions, self.steps + 1, frames, self.score + reward, over)


class RealGame:
    """The model's real game. A step from another state than the last one first plays that state's game again."""

    def __init__(self, spec: GameSpec, length: int) -> None:
        """`length` is how many frames a state keeps, n."""
        self._env, self._length = make_game(spec), length
        self._here: GameState | None = None

    def start(self, seed: int) -> GameState:
        """A new game."""
        self._here = GameState(seed, [], 0, (self._env.reset([seed])[0].copy(),))
        return self._here

    def step(self, state: GameState, action: Encoded, rules: Rules) -> tuple[GameState, WorldStep]:
        """Play one action. Going back costs as much time as playing the game from its beginning."""
        begun = time.perf_counter()
        here, self._here = self._here, None  # should this fail, nobody knows where the emulator stands
        if state is not here:
            self._env.restore([GameHistory(state.seed, tuple(state.actions[: state.steps]))])
        result = self._env.step(np.array([action]))
        milliseconds = {"real": (time.perf_counter() - begun) * 1000}
        frame, over = result.frames[0].copy(), bool(result.needs_reset[0])
        cut, reward = bool(result.truncated[0]), float(result.rewards[0])
        ended = bool(result.terminated[0]) and (rules == "train" or over) and not cut
        why = "the game's limit of length" if cut else "game over" if over else "a life is lost" if ended else ""
        self._here = state.next(action, frame, reward, self._length, over)
        return self._here, WorldStep(frame, reward, ended, cut, why, milliseconds)

    def close(self) -> None:
        """Free the emulator."""
        self._env.close()


@dataclass(frozen=True, eq=False)
class Tape:
    """A recorded episode as a game that ignores what is played: its frames come one after another."""

    frames: Film
    """(T or T + 1, H, W, 3): with the final observation where the episode ended."""
    actions: list[Encoded]
    rewards: list[float]
    terminated: bool
    length: int
    """Frames of context to keep, n."""

    def start(self, seed: int) -> GameState:
        """The first frame of the episode; the seed does not matter."""
        return GameState(-1, [], 0, (self.frames[0],), over=len(self.frames) < 2)

    def step(self, state: GameState, action: Encoded, rules: Rules) -> tuple[GameState, WorldStep]:
        """The recorded step."""
        t, over = state.steps, state.steps + 2 >= len(self.frames)
        ended = over and self.terminated
        why = "the recorded episode ended" if ended else "the recording stops here" if over else ""
        following = state.next(self.actions[t], self.frames[t + 1], self.rewards[t], self.length, over)
        return following, WorldStep(self.frames[t + 1], self.rewards[t], ended, over and not ended, why, {})
