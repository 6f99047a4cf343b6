"""Trainings small enough for a test: data of noise with any actions, and trainers of each recipe on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from diffworld.config import NETWORKS, Config, UpdateConfig
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig, VectorEnv, make_env
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.training.run import make_trainer
from diffworld.training.trainer import Trainer

NINE = "gym/tests.tiny_training:Nine-v0"
SHOOTER = ActionSpace((Keys(("w", "s", "space"), (("w", "s"),)), Choice("mouse x", ("-1", "0", "1"))))
"""Keys, two of which exclude each other, and a choice."""


class Nine(gymnasium.Env):
    """A game of nine steps: a light moves down, and the last action tells the reward: -1, 0 or 1.

    The frame a game ends with is dark.
    """

    observation_space = Box(0, 255, (10, 10, 3), np.uint8)
    action_space = Discrete(3)
    LIGHT = (240, 220, 60)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.column = 0, int(self.np_random.integers(10))
        return self._frame(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.row += 1
        over = self.row == 9
        return self._frame(), float(over) * (int(action) - 1), over, False, {}

    def _frame(self) -> np.ndarray:
        frame = np.full((10, 10, 3), 20, np.uint8)
        if self.row < 9:
            frame[self.row, self.column] = self.LIGHT
        return frame


gymnasium.register("Nine-v0", Nine)


def noise_of(path: Path, spec: GameSpec, lengths: Sequence[int], ended: bool = True) -> Path:
    """Episodes of noise of those lengths; every third step pays, ends terminate unless `ended` is false."""
    rng = np.random.default_rng(len(lengths))
    with Dataset.create(path, spec) as dataset:
        for length in lengths:
            episode = dataset.new_episode()
            actions = spec.actions.sample(rng, length)
            for t in range(length):
                frames = rng.integers(0, 256, (2, *spec.frame_shape), dtype=np.uint8)
                last = ended and t == length - 1
                final = frames[1] if last else None
                dataset.append(episode, frames[0], actions[t], float(t % 3 - 1), last, False, final)
    return path


def updates(config: Config, **changes: Any) -> Config:
    """The same changes of all three networks' updates, which begin without warm-up: the first one counts."""
    fields: dict[str, UpdateConfig] = {
        f"{name}_updates": replace(config.updates(name), warmup=0, **changes) for name in NETWORKS
    }
    return replace(config, **fields)  # type: ignore[arg-type]


def playing(config: Config, **changes: Any) -> Config:
    """A training in a real game that takes milliseconds an epoch."""
    collection = replace(config.collection, total_steps=60, first_steps=40, steps_per_epoch=20, num_envs=2)
    evaluation = replace(config.evaluation, every_epochs=2, episodes=2, final_episodes=2, num_envs=2)
    game = replace(
        config,
        env=NINE,
        environment=EnvironmentConfig(height=12, width=12),
        epochs=1,
        collection=collection,
        evaluation=evaluation,
    )
    return replace(updates(game, first_steps=3, steps=2), **changes)


@contextmanager
def diamond_trainer(config: Config, folder: Path, num_rows: int | None = None) -> Iterator[Trainer]:
    """A trainer of recipe diamond with its game and its replay in `folder`, cut to `num_rows` if it is there."""
    env = make_env(config.env, config.environment, config.collection.num_envs)
    try:
        fresh = num_rows is None
        replay = Dataset.create(folder, env.spec) if fresh else Dataset.open(folder, True, num_rows)
        with replay:
            yield make_trainer(config, env.spec, replay, env)
    finally:
        env.close()


@contextmanager
def world_trainer(config: Config, data: Path) -> Iterator[Trainer]:
    """A trainer of recipe world on a data set."""
    config = replace(config, recipe="world", data=str(data), env="")
    with Dataset.open(data) as dataset:
        yield make_trainer(config, dataset.spec, dataset, None)


@contextmanager
def shooter_trainer(config: Config, data: Path) -> Iterator[Trainer]:
    """A trainer of recipe shooter on a data set."""
    config = replace(config, recipe="shooter", data=str(data), env="")
    with Dataset.open(data) as dataset:
        yield make_trainer(config, dataset.spec, dataset, None)


@contextmanager
def model_free_trainer(config: Config) -> Iterator[Trainer]:
    """A trainer of the model-free recipe with its games."""
    config = replace(config, recipe="model_free")
    env: VectorEnv = make_env(config.env, config.environment, config.actor_critic_updates.batch_size)
    try:
        yield make_trainer(config, env.spec, None, env)
    finally:
        env.close()
