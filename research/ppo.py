"""Stable-Baselines3's PPO in the real game: python -m research.ppo minatar/breakout --steps 1000000 --out FILE.json

The same network and settings as examples/sb3_in_a_dream.py, which trains it in a dream. Its score after a million steps
is what research.minatar calls 1. --out is a file of scores, to which those of this game and seed are added.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from tyro.conf import Positional

from benchmarks.measuring import command
from diffworld.envs import EnvironmentConfig, VectorEnv, make_env
from diffworld.envs.base import SEED_LIMIT
from diffworld.evaluation.games import TestGames, scores
from diffworld.game.gym_spaces import from_gym_action, to_gymnasium
from diffworld.runtime.checked import Count, Natural
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import write_json
from examples.sb3_in_a_dream import Agent, OneBatch, Progress, learner

PROGRAM = "python -m research.ppo"


@dataclass(frozen=True)
class Options:
    """Train PPO in a MinAtar game itself, and test it."""

    game: Positional[str]
    """minatar/breakout or another game whose frames are small."""
    steps: Count = 1_000_000
    """Real steps to learn from."""
    seed: Natural = 0
    """Of the games and of the agent."""
    games: Count = 100
    """Games to test it on, those of a run with that seed."""
    rows: Count = 32
    """Games side by side."""
    size: Count = 10
    """Cells a side of a frame."""
    out: Path | None = None
    """JSON to add the score to."""


class GameVecEnv(OneBatch):
    """Rows of a real game as Stable-Baselines3 wants them: a row that is over begins anew in the same step."""

    def __init__(self, env: VectorEnv, seed: int) -> None:
        self.batch, self.rng, self.render_mode = env, np.random.default_rng(seed), None
        frames = Box(0, 255, env.spec.frame_shape, np.uint8)
        super().__init__(env.num_envs, frames, to_gymnasium(env.spec.actions))

    def reset(self) -> NDArray[np.uint8]:
        return self.batch.reset(self._some_seeds(self.num_envs))

    def step_async(self, actions: NDArray[Any]) -> None:
        self.actions = np.stack([np.asarray(from_gym_action(self.batch.spec.actions, action)) for action in actions])

    def step_wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        result = self.batch.step(self.actions)
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        frames, over = result.frames.copy(), np.flatnonzero(result.needs_reset).tolist()
        for row in over:
            rows[row] = {"terminal_observation": frames[row].copy(), "TimeLimit.truncated": bool(result.truncated[row])}
        if over:
            frames[over] = self.batch.reset(self._some_seeds(len(over)), over)
        return frames, result.rewards, result.needs_reset, rows

    def _some_seeds(self, count: int) -> list[int]:
        return self.rng.integers(SEED_LIMIT, size=count).tolist()


def run(options: Options) -> None:
    """Train, test, say the score and store it."""
    env = make_env(options.game, EnvironmentConfig(height=options.size, width=options.size), options.rows)
    ppo = learner(GameVecEnv(env, options.seed), options.seed, "cpu")
    ppo.learn(options.steps, callback=Progress())
    tests = TestGames(env.spec, options.seed, num_envs=10)
    found = scores(tests.play(Agent(ppo, env.spec.actions), options.games))
    print(f"{options.game}, seed {options.seed}: {np.mean(found):.2f} after {ppo.num_timesteps:,} real steps")
    if options.out is not None:
        add_score(options.out, options, float(np.mean(found)))


def add_score(path: Path, options: Options, score: float) -> None:
    """Store a mean score: {"steps": ..., "games": ..., "scores": {game: {seed: score}}}."""
    asked: dict[str, Any] = {"steps": options.steps, "games": options.games}
    record = json.loads(path.read_text("utf-8")) if path.exists() else {**asked, "scores": {}}
    if {key: record[key] for key in asked} != asked:
        raise UserError(f"{path} is of {record['steps']:,} steps and {record['games']} games: choose another --out")
    record["scores"].setdefault(options.game, {})[str(options.seed)] = round(score, 3)
    write_json(path, record)


if __name__ == "__main__":
    sys.exit(command(Options, PROGRAM, run))
