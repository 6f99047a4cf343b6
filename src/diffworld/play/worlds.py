"""One player's worlds: the dream, the real game, a recording. A step takes a state and returns the next one.

So going back is nothing but stepping from an earlier state again, and all worlds can do it. Random numbers depend
on nothing but the seed, the episode and the step, so the same actions lead to the same frames again.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch

from diffworld.envs import GameHistory
from diffworld.envs.make import make_game
from diffworld.models.actor_critic import PolicyState
from diffworld.models.sampler import SamplerConfig
from diffworld.play.dreaming import Dreamer, DreamRequest, Dreamt, Stopwatch
from diffworld.runs import Window, make_window, window_tensors
from diffworld.runtime.frames import Film, Frame
from diffworld.spec import ActionSpace, Encoded, GameSpec
from diffworld.world import FrameStackState, KeyedGenerators, StepKey

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
    dreamt: Dreamt | None = None
    """How the dream came to it."""
    milliseconds: dict[str, float] = field(default_factory=dict)


class DreamWorld:
    """One player's dream of a model, with a random number of its own for everything."""

    def __init__(self, dreamer: Dreamer) -> None:
        self.dreamer = dreamer
        self.chance = KeyedGenerators(dreamer.model.device)

    @torch.inference_mode()
    def start(self, window: Window) -> FrameStackState:
        """A dream that goes on from the window."""
        assert self.dreamer.world is not None
        return self.dreamer.world.start(*window_tensors([window], self.dreamer.model.device))

    @torch.inference_mode()
    def step(
        self,
        state: FrameStackState,
        action: Encoded,
        sampler: SamplerConfig,
        horizon: int,
        key: StepKey,
        memory: PolicyState | None = None,
    ) -> tuple[FrameStackState, WorldStep]:
        """The next frame, and reward and end sampled from the model's logits, 0 and none where it has no such.

        `key.step` counts from the dream's start; truncated after `horizon` steps. With the agent's `memory` comes its
        opinion of the frame.
        """
        dreamt = self.dreamer.step(DreamRequest(state, action, sampler, self.chance.noise(key), memory))
        draws, reward, ended = self.chance.at(key, "reward_end"), 0, False
        if dreamt.reward_probs is not None:
            reward = int(torch.multinomial(dreamt.reward_probs, 1, generator=draws)) - 1
        if dreamt.end_probs is not None:
            ended = bool(torch.multinomial(dreamt.end_probs, 1, generator=draws))
        truncated = not ended and key.step + 1 >= horizon
        why = "the dream predicts an end" if ended else f"the dream reached its horizon of {horizon}"
        why = why if ended or truncated else ""
        step = WorldStep(dreamt.frame, reward, ended, truncated, why, dreamt, dreamt.milliseconds)
        return dreamt.following, step


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


class Playable(Protocol):
    """What both real sources of frames can do."""

    def start(self, seed: int) -> GameState: ...
    def step(self, state: GameState, action: Encoded, rules: Rules) -> tuple[GameState, WorldStep]: ...
    def close(self) -> None: ...


class RealGame:
    """The model's real game. A step from another state than the last one first plays that state's game again."""

    def __init__(self, spec: GameSpec, length: int) -> None:
        """`length` is how many frames a state keeps, n."""
        self._env, self._length = make_game(spec), length
        self._here: GameState | None = None

    def start(self, seed: int) -> GameState:
        """A new game."""
        frame = self._env.reset([seed])[0].copy()
        self._here = GameState(seed, [], 0, (frame,))
        return self._here

    def step(self, state: GameState, action: Encoded, rules: Rules) -> tuple[GameState, WorldStep]:
        """Play one action. Going back costs as much time as playing the game from its beginning."""
        clock = Stopwatch(torch.device("cpu"))
        with clock("real"):
            here, self._here = self._here, None  # should this fail, nobody knows where the emulator stands
            if state is not here:
                self._env.restore([GameHistory(state.seed, tuple(state.actions[: state.steps]))])
            result = self._env.step(np.array([action]))
        frame, over = result.frames[0].copy(), bool(result.needs_reset[0])
        cut, reward = bool(result.truncated[0]), float(result.rewards[0])
        ended = bool(result.terminated[0]) and (rules == "train" or over) and not cut
        why = "the game's limit of length" if cut else "game over" if over else "a life is lost" if ended else ""
        self._here = state.next(action, frame, reward, self._length, over)
        return self._here, WorldStep(frame, reward, ended, cut, why, milliseconds=clock.milliseconds)

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

    def action(self, state: GameState) -> Encoded:
        """What was played there."""
        return self.actions[state.steps]

    def step(self, state: GameState, action: Encoded, rules: Rules) -> tuple[GameState, WorldStep]:
        """The recorded step."""
        t, over = state.steps, state.steps + 2 >= len(self.frames)
        ended = over and self.terminated
        why = "the recorded episode ended" if ended else "the recording stops here"
        following = state.next(self.actions[t], self.frames[t + 1], self.rewards[t], self.length, over)
        return following, WorldStep(self.frames[t + 1], self.rewards[t], ended, over and not ended, why if over else "")

    def close(self) -> None:
        """Nothing to free."""
