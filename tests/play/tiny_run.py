"""A run folder small enough for a test: a real game, untrained networks whose answers depend on what they see."""

from dataclasses import replace
from pathlib import Path

import torch

from diffworld.config import Config, EnvironmentConfig
from diffworld.config.presets import demo
from diffworld.data import Dataset
from diffworld.envs.driver import RandomPolicy
from diffworld.evaluation.games import make_game
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.play.recording import record_games
from diffworld.recipes.networks import Networks, build_networks
from diffworld.runs.folder import Checkpoint, RunFolder

SMALL = Config(
    env="atari/Breakout",
    device="cpu",
    environment=EnvironmentConfig(height=16, width=16, frame_skip=4),
    denoiser=DenoiserConfig(cond_channels=8, channels=(8, 8), depths=(1, 1), attention=(False, False)),
    sampler=SamplerConfig(denoising_steps=2),
    reward_end=RewardEndConfig(
        lstm_channels=8, cond_channels=8, channels=(8, 8), depths=(1, 1), attention=(False, False)
    ),
    actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8, 8), pool=(True, True)),
    evaluation=demo().evaluation,
)
ACTIONS = 4


def tiny_networks(config: Config = SMALL) -> Networks:
    """Random weights everywhere (freshly built ones would ignore the context), and dreams that do not end."""
    networks = build_networks(config, ACTIONS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, module in networks.items():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        first, _, last = networks.reward_end.head
        first.weight.zero_()
        first.bias.fill_(1.0)
        last.weight.copy_(torch.tensor([0.0, 0.0, 0.0, 5.0, 0.0])[:, None].expand_as(last.weight))
    return networks


def make_run(path: Path, config: Config = SMALL, replay_steps: int = 120) -> Path:
    """Write a run folder with one checkpoint, and a replay of random play unless `replay_steps` is 0."""
    run = RunFolder(path)
    run.begin(config)
    run.save(1, Checkpoint(tiny_networks(config).tensors(), {}, {}), keep=1)
    if replay_steps:
        env = make_game(config, 1)
        info = {"env": config.env, "action_names": env.action_names}
        with Dataset.create(run.replay, (*env.frame_size, 3), num_actions=env.num_actions, info=info) as dataset:
            record_games(env, RandomPolicy(ACTIONS, 0), dataset, replay_steps, 0, lambda _: None)
        env.close()
    return path


def model_free() -> Config:
    """The same game without a world model."""
    return replace(SMALL, model_free=True)
