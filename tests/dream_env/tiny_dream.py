"""Run folders small enough for a test: untrained networks whose dreams depend on what they see, and end at times."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from diffworld.config import Config, NetworkName
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.recipes.networks import build_networks
from diffworld.runs import Checkpoint, RunFolder

SIDE = 10
LEVELS = {"cond_channels": 8, "channels": (8, 8), "depths": (1, 1), "attention": (False, False)}
CONFIG = Config(
    env="gym/tests.games.catch:Catch-v0",
    device="cpu",
    environment=EnvironmentConfig(height=SIDE, width=SIDE),
    denoiser=DenoiserConfig(**LEVELS),  # type: ignore[arg-type]
    sampler=SamplerConfig(denoising_steps=2, churn=1.0),  # noise is drawn at several moments of a step
    reward_end=RewardEndConfig(lstm_channels=8, **LEVELS),  # type: ignore[arg-type]
    actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,)),
    horizon=6,
)
CATCH = GameSpec(
    CONFIG.env, SIDE, SIDE, ActionSpace.discrete(3), steps_per_second=12.0, presented=asdict(CONFIG.environment)
)
KEYS_AND_MOUSE = ActionSpace((Keys(("w", "space")), Choice("mouse", ("-1", "0", "1"))))
TWO_CHOICES = ActionSpace((Choice("x", ("0", "1")), Choice("y", ("0", "1", "2"))))
ALL_NETWORKS: tuple[NetworkName, ...] = ("denoiser", "reward_end", "actor_critic")


def make_run(path: Path, spec: GameSpec = CATCH, networks: tuple[NetworkName, ...] = ALL_NETWORKS) -> Path:
    """Write a run folder with one checkpoint and a replay of noise; about a fifth of the steps end a dream."""
    run = RunFolder(path)
    run.begin(CONFIG, spec)
    torch.manual_seed(0)
    built = build_networks(CONFIG, spec, torch.device("cpu"), networks)
    with torch.no_grad():
        for _, module in built.items():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.2)
        if built.reward_end is not None:
            hidden, _, last = built.reward_end.head
            hidden.weight[0], hidden.bias[0], last.weight[3, 0] = 0.0, 2.0, 0.8
    run.save(1, Checkpoint(built.tensors(), {}, {}))
    make_starts(run.replay, spec, seed=1)
    return path


def make_starts(path: Path, spec: GameSpec = CATCH, seed: int = 2) -> Path:
    """Write a data set of two episodes of noise."""
    rng = np.random.default_rng(seed)
    with Dataset.create(path, spec) as dataset:
        for _ in range(2):
            episode = dataset.new_episode()
            for action in spec.actions.sample(rng, 12):
                frame = rng.integers(0, 256, spec.frame_shape, dtype=np.uint8)
                dataset.append(episode, frame, action, 0.0, False, False)
    return path


def other_game() -> GameSpec:
    """A game that the runs are not of."""
    return replace(CATCH, name="gym/Other-v0", actions=ActionSpace.discrete(4))
