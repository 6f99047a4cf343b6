"""Collection: the current policy plays the real game, every step goes to the replay at once."""

from typing import Any

import numpy as np
import torch

from diffworld.agent.policy import ActorCriticPolicy
from diffworld.envs import GameHistory, VectorEnv
from diffworld.envs.seeds import training_seed
from diffworld.replay import Dataset

NOT_BEGUN = -1


class Collector:
    """Plays on from where the last collection stopped; its state can be saved and put back.

    A life lost ends an episode of the replay while the game plays on. Frames of a reset never pass for the
    outcome of a step: the environment does not reset by itself.
    """

    def __init__(self, env: VectorEnv, dataset: Dataset, policy: ActorCriticPolicy, seed: int) -> None:
        self.env, self.dataset, self.policy = env, dataset, policy
        self.run_seed, self.games = seed, 0
        self.fresh = np.ones(env.num_envs, dtype=bool)
        self.episodes: list[int] = []  # of each row; NOT_BEGUN until its first step
        self.scores = np.zeros(env.num_envs)
        self.frames = np.zeros((env.num_envs, *env.frame_size, 3), np.uint8)

    def collect(self, steps: int) -> list[float]:
        """Take at least `steps` real steps (whole rounds of all rows); returns scores of games that finished."""
        if not self.episodes:
            self._reset(np.arange(self.env.num_envs))
            self.episodes = [NOT_BEGUN] * self.env.num_envs
        finished, taken = [], 0
        while taken < steps:
            finished += self._round()
            taken += self.env.num_envs
        return finished

    def _round(self) -> list[float]:
        actions = self.policy.act(self.frames, self.fresh)
        step = self.env.step(actions)
        ended = step.terminated | step.truncated
        for row in range(self.env.num_envs):
            if self.episodes[row] == NOT_BEGUN:
                self.episodes[row] = self.dataset.new_episode()
            self.dataset.append(
                self.episodes[row],
                self.frames[row],
                int(actions[row]),
                float(step.rewards[row]),
                bool(step.terminated[row]),
                bool(step.truncated[row]),
                step.frames[row] if ended[row] else None,
            )
            if ended[row]:
                self.episodes[row] = NOT_BEGUN
        self.scores += step.rewards
        self.frames, self.fresh = step.frames.copy(), ended.copy()
        over = np.flatnonzero(step.needs_reset)
        finished = self.scores[over].tolist()
        if len(over):
            self._reset(over)
        return finished

    def _reset(self, rows: np.ndarray) -> None:
        seeds = [training_seed(self.run_seed, self.games + i) for i in range(len(rows))]
        self.games += len(rows)
        self.frames[rows] = self.env.reset(seeds, rows.tolist())
        self.scores[rows] = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors: each game as its seed and actions, the policy's state, the open episodes."""
        return {
            "games_begun": self.games,
            "fresh": torch.from_numpy(self.fresh),
            "episodes": list(self.episodes),
            "scores": torch.tensor(self.scores),  # a copy: scores grow in place
            "policy": self.policy.state,
            "games": games_to_plain(self.env) if self.episodes else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running games and go on exactly as before."""
        self.games = state["games_begun"]
        self.fresh = state["fresh"].numpy().copy()
        self.episodes = list(state["episodes"])
        self.scores = state["scores"].numpy().copy()
        self.policy.state = state["policy"]
        if self.episodes:
            self.frames = games_from_plain(self.env, state["games"])


def games_to_plain(env: VectorEnv) -> list[tuple[int, torch.Tensor]]:
    """Seed and actions of every row's game."""
    return [(h.seed, torch.tensor(h.actions, dtype=torch.int32)) for h in env.histories()]


def games_from_plain(env: VectorEnv, games: list[tuple[int, torch.Tensor]]) -> np.ndarray:
    """Bring the games back by playing them again; returns the current frames."""
    return env.restore([GameHistory(seed, tuple(actions.tolist())) for seed, actions in games])
