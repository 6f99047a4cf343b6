"""The one loop that plays real games: rows of an environment, a policy, and callbacks for what happens."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.data import GameStep
from diffworld.envs.base import GameHistory, StepResult, VectorEnv
from diffworld.game import ActionSpace, Encoded


@runtime_checkable
class Policy(Protocol):
    """Whoever plays: sees a frame of each row, names an action for each row."""

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """Choose the next actions.

        Args:
            frames: uint8 (N, H, W, 3), RGB, the frame each row stands at.
            fresh: bool (N,), rows whose frame begins an episode; what the policy remembers of such a row must
                be forgotten first. Every row is fresh in the first call.

        Returns: one encoded action a row, int64 (N,) or uint8 (N, A).
        """
        ...


class RandomPolicy:
    """Actions drawn uniformly, the same for the same seed and calls.

    With probability `hold` a row's action is its last one again, so that a random player gets somewhere.
    """

    def __init__(self, actions: ActionSpace, seed: int | Sequence[int] = 0, hold: float = 0.0) -> None:
        self._actions, self._hold = actions, hold
        self._generator = np.random.default_rng(seed)
        self._last: NDArray[Any] | None = None

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """Return one action for each of the N rows, whatever they show."""
        actions = self._actions.sample(self._generator, len(frames))
        if self._hold and self._last is not None:
            held = (self._generator.random(len(frames)) < self._hold) & ~fresh
            actions = np.where(held if actions.ndim == 1 else held[:, None], self._last, actions)
        self._last = actions
        return actions


class BlindPolicy:
    """Draws each action with the same weights whatever the screen shows, the same for the same seed and calls.

    Of one action alone it is the policy that presses nothing else.
    """

    def __init__(
        self, actions: Sequence[Encoded], weights: Sequence[float] = (), seed: int | Sequence[int] = 0
    ) -> None:
        """`weights` need not sum to 1; without any all actions are as likely."""
        found = np.array(actions)
        self._actions = found if found.ndim == 1 else found.astype(np.uint8)
        self._shares = np.array(weights) / np.sum(weights) if len(weights) else None
        self._generator = np.random.default_rng(seed)

    def act(self, frames: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """Return one action for each of the N rows, whatever they show."""
        return self._actions[self._generator.choice(len(self._actions), size=len(frames), p=self._shares)]


@dataclass(frozen=True)
class EpisodeResult:
    """One game, from its reset to its end.

    seed: what it was reset with.
    score: the sum of its raw rewards.
    steps: actions taken.
    truncated: cut by a limit of length, so that the score might have grown.
    """

    seed: int
    score: float
    steps: int
    truncated: bool


OnStep = Callable[[GameStep], None]
OnGame = Callable[[int, EpisodeResult], None]
"""Called with the number of a game that is over, and how it went."""


class Driver:
    """Plays an environment on and on, one action a row at a time; a row whose game is over begins the next game.

    Game number g is reset with `seed_of(g)`; rows take the next number in order. `fresh` tells the rows whose frame
    begins an episode: after a reset and, with `lives`, also where a lost life ended the learner's episode. Where
    everything stands can be saved and put back.
    """

    def __init__(
        self,
        env: VectorEnv,
        seed_of: Callable[[int], int],
        *,
        on_step: OnStep | None = None,
        on_game: OnGame | None = None,
        lives: bool = False,
    ) -> None:
        rows = env.num_envs
        self.env, self.seed_of, self.on_step, self.on_game, self.lives = env, seed_of, on_step, on_game, lives
        self.begun = 0
        """Games begun so far."""
        self.game = np.zeros(rows, np.int64)
        """(N,) number of the game that each row plays."""
        self.frames = np.zeros((rows, *env.spec.frame_shape), np.uint8)
        self.fresh = np.ones(rows, dtype=bool)
        self.scores, self.steps = np.zeros(rows), np.zeros(rows, np.int64)

    def start(self, before: int = 0) -> None:
        """Begin a game in every row, if that has not been done; numbers go on after those of games `before`."""
        if not self.begun:
            self.begun = before
            self._begin(list(range(self.env.num_envs)))

    def play(self, policy: Policy) -> StepResult:
        """One round: the policy's action in every row."""
        self.start()
        return self.advance(policy.act(self.frames, self.fresh))

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """One action (N,) or (N, A) in every row; returns what came of them, before any reset."""
        before, result = self.frames, self.env.step(actions)
        self.scores += result.rewards
        self.steps += 1
        if self.on_step is not None:
            for row, action in enumerate(actions):
                self.on_step(self._seen(row, before[row], action, result))
        self.frames = result.frames.copy()
        self.fresh = (result.terminated | result.truncated if self.lives else result.needs_reset).copy()
        over = np.flatnonzero(result.needs_reset).tolist()
        if over:
            games = [(int(self.game[row]), self._result(row, result)) for row in over]
            self._begin(over)
            for number, game in games:
                if self.on_game is not None:
                    self.on_game(number, game)
        return result

    def _seen(self, row: int, frame: NDArray[np.uint8], action: Encoded, result: StepResult) -> GameStep:
        return GameStep(
            int(self.game[row]),
            frame,
            int(action) if np.ndim(action) == 0 else action,
            float(result.rewards[row]),
            bool(result.terminated[row]),
            bool(result.truncated[row]),
            result.frames[row],
            bool(result.needs_reset[row]),
        )

    def _result(self, row: int, result: StepResult) -> EpisodeResult:
        cut = bool(result.truncated[row] and not result.terminated[row])
        return EpisodeResult(self.seed_of(int(self.game[row])), float(self.scores[row]), int(self.steps[row]), cut)

    def _begin(self, rows: list[int]) -> None:
        self.game[rows] = np.arange(self.begun, self.begun + len(rows))
        self.begun += len(rows)
        self.frames[rows] = self.env.reset([self.seed_of(int(self.game[row])) for row in rows], rows)
        self.scores[rows], self.steps[rows] = 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors: each game as its seed and actions, and what is counted."""
        histories = self.env.histories() if self.begun else []
        return {
            "begun": self.begun,
            "game": torch.tensor(self.game),
            "fresh": torch.tensor(self.fresh),
            "scores": torch.tensor(self.scores),
            "histories": [(h.seed, torch.tensor(np.array(h.actions, dtype=np.int32))) for h in histories],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the running games again, and go on exactly as before."""
        self.begun = state["begun"]
        self.game, self.fresh = state["game"].numpy().copy(), state["fresh"].numpy().copy()
        self.scores = state["scores"].numpy().copy()
        if self.begun:
            histories = [GameHistory(seed, _actions(actions)) for seed, actions in state["histories"]]
            self.steps = np.array([len(history.actions) for history in histories])
            self.frames = self.env.restore(histories)


def _actions(actions: torch.Tensor) -> tuple[Encoded, ...]:
    return tuple(actions.tolist()) if actions.ndim == 1 else tuple(actions.numpy().astype(np.uint8))


def play_episodes(
    env: VectorEnv,
    policy: Policy,
    seeds: Sequence[int],
    on_episode: Callable[[EpisodeResult], None] | None = None,
    on_step: OnStep | None = None,
    on_round: Callable[[], None] | None = None,
) -> list[EpisodeResult]:
    """Play one whole game for each seed and return the results in the order of `seeds`.

    The number of games is fixed beforehand and every game that is begun counts, so long games are not
    under-represented, as they would be among the first to finish. A lost life that is no game over does not end a
    game. Rows with no seed left play on, unseen.

    Args:
        env: reset here; its unfinished games are lost.
        policy: sees all rows at every step.
        seeds: one for each game.
        on_episode: called with each result as it comes, for a progress display.
        on_step: called for each step that counts, such as a `FilmRecorder`.
        on_round: called after each step of all rows.
    """
    results: dict[int, EpisodeResult] = {}

    def keep(number: int, result: EpisodeResult) -> None:
        if number < len(seeds):
            results[number] = result
            if on_episode is not None:
                on_episode(result)

    def see(step: GameStep) -> None:
        if on_step is not None and step.game < len(seeds):
            on_step(step)

    driver = Driver(env, lambda g: seeds[g % len(seeds)], on_step=see if on_step else None, on_game=keep)
    while len(results) < len(seeds):
        driver.play(policy)
        if on_round is not None:
            on_round()
    return [results[number] for number in range(len(seeds))]


@dataclass
class FilmRecorder:
    """An `on_step` that keeps what the game of that number saw and did, at one frame a step."""

    game: int = 0
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    actions: list[Encoded] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def __call__(self, step: GameStep) -> None:
        """Keep this step if it belongs to the recorded game."""
        if step.game == self.game:
            self.frames.append(step.frame.copy())
            self.actions.append(step.action)
            self.rewards.append(step.reward)

    def video(self) -> NDArray[np.uint8]:
        """Return the frames seen, uint8 (T, H, W, 3)."""
        return np.stack(self.frames)


@dataclass
class ActionCounter:
    """An `on_step` that counts how often each action was pressed."""

    counts: Counter[Any] = field(default_factory=Counter)
    """By number, or by the tuple of an encoded vector."""

    def __call__(self, step: GameStep) -> None:
        """Count the action of this step."""
        self.counts[step.action if isinstance(step.action, int) else tuple(step.action.tolist())] += 1

    def player(self, seed: int = 0) -> BlindPolicy:
        """Whoever presses the same, as often and without looking."""
        pressed = sorted(self.counts.items())
        return BlindPolicy([action for action, _ in pressed], [count for _, count in pressed], seed)
