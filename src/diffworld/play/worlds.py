"""One player's worlds: the dream, the real game, a recording. A step takes a state and returns the next one.

So going back is nothing but stepping from an earlier state again, and all worlds can do it. Random numbers depend
on nothing but the seed, the episode and the step, so the same actions lead to the same frames again.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.config import Config
from diffworld.envs import GameHistory
from diffworld.evaluation.games import make_game
from diffworld.models.actor_critic import PolicyState
from diffworld.models.diffusion import frames_from_bytes
from diffworld.models.sampler import SamplerConfig
from diffworld.play.dreaming import DreamRequest, stopwatch
from diffworld.play.players import PolicyOutput, opinion
from diffworld.runs.loading import Model
from diffworld.runs.starts import Window, make_window
from diffworld.world.imagination import ImaginationState

Frame = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""

Rules = Literal["train", "test"]
"""train: a lost life ends the episode, as the learner sees it. test: only game over does."""


@dataclass(frozen=True)
class StepKey:
    """Which random numbers belong to a step: the session's seed, the episode and the step in it."""

    seed: int
    episode: int
    step: int


class KeyedGenerators:
    """Generators that are set anew for each moment, one kind for each purpose, so that no draw shifts another."""

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device)

    def at(self, moment: StepKey, purpose: Literal["frame", "reward_end", "action"]) -> torch.Generator:
        """The generator for a purpose at a moment; valid until the next call."""
        number = ("frame", "reward_end", "action").index(purpose)
        entropy = (moment.seed, moment.episode, moment.step, number)
        return self._generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the world model said of a step, and how it came to the frame."""

    reward_probs: NDArray[np.float32]
    """(3,) probabilities of reward sign -1, 0, +1."""
    end_prob: float
    context: Tensor
    """Frames it was drawn from (n, 3, H, W)."""
    trajectory: list[Tensor]
    """From noise to the frame: N + 1 states (1, 3, H, W)."""


@dataclass(frozen=True, eq=False)
class WorldStep:
    """What a step led to in one world."""

    frame: Frame
    reward: float
    ended: bool
    truncated: bool
    why: str
    """Why it is over, in words; empty while it goes on."""
    prediction: Prediction | None = None
    thinks: PolicyOutput | None = None
    """What the agent makes of the frame, where the dream was asked for it."""
    milliseconds: dict[str, float] = field(default_factory=dict)


class DreamWorld:
    """One player's dream of a model, with a random number of its own for everything.

    The same computation as `world_model.imagination.Imagination`, cut where a player looks inside.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.device = model, model.device
        self.chance = KeyedGenerators(self.device)

    @torch.inference_mode()
    def start(self, window: Window) -> ImaginationState:
        """A dream that goes on from the window, the reward/end LSTM burned in on its n - 1 transitions."""
        has_frame = torch.from_numpy(window.has_frame).to(self.device)
        frames = frames_from_bytes(torch.from_numpy(window.frames).to(self.device), has_frame)[None]
        actions = torch.from_numpy(window.actions).to(self.device)[None]
        reward_end = self.model.networks.reward_end
        lstm = reward_end.zero_state(1)
        if frames.shape[1] > 1:
            _, _, lstm = reward_end(frames[:, :-1], actions[:, :-1], frames[:, 1:], lstm)
        return ImaginationState(frames, actions, lstm, torch.zeros_like(actions[:, 0]))

    @torch.inference_mode()
    def step(
        self,
        state: ImaginationState,
        action: int,
        sampler: SamplerConfig,
        horizon: int,
        moment: StepKey,
        memory: PolicyState | None = None,
    ) -> tuple[ImaginationState, WorldStep]:
        """The next frame, and reward and end sampled from the model's logits; truncated after `horizon` steps.

        With the agent's `memory` comes its opinion of the frame.
        """
        noise = self.chance.at(moment, "frame")

        def randn(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, generator=noise, device=self.device)

        dreamt = self.model.dreamer.step(DreamRequest(state, action, sampler, randn, memory))
        draws = self.chance.at(moment, "reward_end")
        reward = int(torch.multinomial(dreamt.reward_probs, 1, generator=draws)) - 1
        ended = bool(torch.multinomial(dreamt.end_probs, 1, generator=draws))
        truncated = not ended and int(dreamt.following.steps) >= horizon
        why = "the dream predicts an end" if ended else f"the dream reached its horizon of {horizon}"
        return dreamt.following, WorldStep(
            dreamt.frame,
            reward,
            ended,
            truncated,
            why if ended or truncated else "",
            Prediction(
                dreamt.reward_probs.cpu().numpy(), float(dreamt.end_probs[1]), state.frames[0], dreamt.trajectory
            ),
            opinion(*dreamt.thinks) if dreamt.thinks else None,
            dreamt.milliseconds,
        )


@dataclass(frozen=True, eq=False)
class GameState:
    """Where a real game (or a recording of one) stands. It cannot be copied, only played again from its seed."""

    seed: int
    actions: list[int]
    """What was played, and perhaps what came after: the first `steps` led here. Only ever appended to."""
    steps: int
    frames: tuple[Frame, ...]
    """The last n frames of the game, the current one last; fewer at its beginning."""
    score: float = 0.0
    """Sum of its raw rewards."""
    over: bool = False
    """Nothing can be played from here."""

    def window(self, length: int) -> Window:
        """The last `length` frames, for a dream to start from."""
        return make_window(list(self.frames), self.actions[: self.steps], length, self.seed, self.steps)

    def next(self, action: int, frame: Frame, reward: float, length: int, over: bool) -> "GameState":
        """The state after an action; it keeps the last `length` frames."""
        actions = self.actions if len(self.actions) == self.steps else self.actions[: self.steps]
        actions.append(action)
        frames = (*self.frames, frame)[-length:]
        return GameState(self.seed, actions, self.steps + 1, frames, self.score + reward, over)


class Game(Protocol):
    """What both real sources of frames can do."""

    def start(self, seed: int) -> GameState: ...
    def step(self, state: GameState, action: int, rules: Rules) -> tuple[GameState, WorldStep]: ...
    def close(self) -> None: ...


class RealWorld:
    """The model's real game. A step from another state than the last one first plays that state's game again."""

    def __init__(self, config: Config) -> None:
        self._env, self._length = make_game(config, 1), config.denoiser.context_frames
        self._here: GameState | None = None

    def start(self, seed: int) -> GameState:
        """A new game."""
        frame = self._env.reset([seed])[0].copy()
        self._here = GameState(seed, [], 0, (frame,))
        return self._here

    def step(self, state: GameState, action: int, rules: Rules) -> tuple[GameState, WorldStep]:
        """Play one action. Going back costs as much time as playing the game from its beginning."""
        milliseconds: dict[str, float] = {}
        with stopwatch(milliseconds, "real"):
            here, self._here = self._here, None  # should this fail, nobody knows where the emulator stands
            if state is not here:
                self._env.restore([GameHistory(state.seed, tuple(state.actions[: state.steps]))])
            result = self._env.step(np.array([action]))
        frame, over = result.frames[0].copy(), bool(result.needs_reset[0])
        cut, reward = bool(result.truncated[0]), float(result.rewards[0])
        ended = bool(result.terminated[0]) and (rules == "train" or over) and not cut
        why = "the game's limit of length" if cut else "game over" if over else "a life is lost" if ended else ""
        self._here = state.next(action, frame, reward, self._length, over)
        return self._here, WorldStep(frame, reward, ended, cut, why, milliseconds=milliseconds)

    def close(self) -> None:
        """Free the emulator."""
        self._env.close()


@dataclass(frozen=True, eq=False)
class Tape:
    """A recorded episode as a game that ignores what is played: its frames come one after another."""

    frames: Frame
    """(T or T + 1, H, W, 3): with the final observation where the episode ended."""
    actions: list[int]
    rewards: list[float]
    terminated: bool
    length: int
    """Frames of context to keep, n."""

    def start(self, seed: int) -> GameState:
        """The first frame of the episode; the seed does not matter."""
        return GameState(-1, [], 0, (self.frames[0],), over=len(self.frames) < 2)

    def action(self, state: GameState) -> int:
        """What was played there."""
        return self.actions[state.steps]

    def step(self, state: GameState, action: int, rules: Rules) -> tuple[GameState, WorldStep]:
        """The recorded step."""
        t, over = state.steps, state.steps + 2 >= len(self.frames)
        ended = over and self.terminated
        why = "the recorded episode ended" if ended else "the recording stops here"
        following = state.next(self.actions[t], self.frames[t + 1], self.rewards[t], self.length, over)
        return following, WorldStep(self.frames[t + 1], self.rewards[t], ended, over and not ended, why if over else "")

    def close(self) -> None:
        """Nothing to free."""
