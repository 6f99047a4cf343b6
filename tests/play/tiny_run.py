"""Run folders small enough for a test: untrained networks whose answers depend on what they see.

One is of a real game; one is of a recording, with keys and a choice as actions, and no game behind it.
"""

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from diffworld.config import Config, preset
from diffworld.data import Dataset, EpisodeWriter
from diffworld.envs import Driver, EnvironmentConfig, RandomPolicy
from diffworld.envs.make import make_game
from diffworld.envs.seeds import training_seed
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig, UpsamplerConfig
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.recipes.networks import Networks, build_networks
from diffworld.runs import Checkpoint, RunFolder

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
    evaluation=preset("demo").evaluation,
)
BREAKOUT = GameSpec(
    "atari/Breakout",
    16,
    16,
    ActionSpace.discrete(("NOOP", "FIRE", "RIGHT", "LEFT")),
    presented=asdict(SMALL.environment),
)
SHOOTER = GameSpec(
    "",
    16,
    16,
    ActionSpace((Keys(("w", "s", "space"), (("w", "s"),)), Choice("mouse x", ("-4", "0", "4")))),
    steps_per_second=20,
    keys={"mouse x -4": "ArrowLeft", "mouse x 4": "ArrowRight"},
)


def tiny_networks(config: Config = SMALL, spec: GameSpec = BREAKOUT) -> Networks:
    """Random weights everywhere (freshly built ones would ignore the context), and dreams that do not end."""
    networks = build_networks(config, spec, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, module in networks.items():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        if networks.reward_end is not None:
            first, _, last = networks.reward_end.head
            first.weight.zero_()
            first.bias.fill_(1.0)
            last.weight.copy_(torch.tensor([0.0, 0.0, 0.0, 5.0, 0.0])[:, None].expand_as(last.weight))
    return networks


def make_run(path: Path, config: Config = SMALL, replay_steps: int = 120) -> Path:
    """Write a run folder with one checkpoint, and a replay of random play unless `replay_steps` is 0."""
    run = RunFolder(path)
    run.begin(config, BREAKOUT)
    run.save(1, Checkpoint(tiny_networks(config).tensors(), {}, {}))
    if replay_steps:
        with closing(make_game(BREAKOUT)) as env, Dataset.create(run.replay, env.spec) as dataset:
            writer, player = EpisodeWriter(dataset), RandomPolicy(BREAKOUT.actions)
            driver = Driver(env, lambda game: training_seed(0, game), on_step=writer, lives=True)
            for _ in range(replay_steps):
                driver.play(player)
    return path


def make_shooter_run(path: Path, networks: tuple[str, ...] = ()) -> Path:
    """Write a run folder of a recording, whose data lie in it; without names it has denoiser and reward/end model."""
    run, rng = RunFolder(path), np.random.default_rng(0)
    config = replace(SMALL, recipe="world", data=str(path / "data"), networks=networks, env="")  # type: ignore[arg-type]
    run.begin(config, SHOOTER)
    run.save(1, Checkpoint(tiny_networks(config, SHOOTER).tensors(), {}, {}))
    with Dataset.create(path / "data", SHOOTER) as dataset:
        episode = dataset.new_episode()
        for action in SHOOTER.actions.sample(rng, 40):
            frame = rng.integers(0, 256, SHOOTER.frame_shape, dtype=np.uint8)
            dataset.append(episode, frame, action, 0.0, False, False)
    return path


TWO_STAGES = replace(
    SMALL,
    recipe="shooter",
    env="",
    sampler=SamplerConfig(denoising_steps=1, sigma_context=0.005),
    upsampler=UpsamplerConfig(cond_channels=8, channels=(8, 8), depths=(1, 1), attention=(False, False), factor=2),
)
AIMED = replace(
    SHOOTER,
    actions=ActionSpace(
        (
            Keys(("w", "a", "s", "d", "left click"), (("w", "s"), ("a", "d"))),
            Choice("mouse x", ("-30", "-6", "0", "6", "30")),
            Choice("mouse y", ("-6", "0", "6")),
        )
    ),
    keys={"mouse x -6": "ArrowLeft", "mouse x 6": "ArrowRight"},
    rewards=False,
    ends=False,
)


def make_two_stages_run(path: Path) -> Path:
    """Write a run folder of a recording in two stages, played with keys and a mouse; its data lie in it."""
    run, rng, config = RunFolder(path), np.random.default_rng(0), replace(TWO_STAGES, data=str(path / "data"))
    run.begin(config, AIMED)
    run.save(1, Checkpoint(tiny_networks(config, AIMED).tensors(), {}, {}))
    with Dataset.create(path / "data", AIMED) as dataset:
        for _ in range(2):
            episode = dataset.new_episode()
            for action in AIMED.actions.sample(rng, 30):
                frame = rng.integers(0, 256, AIMED.frame_shape, dtype=np.uint8)
                dataset.append(episode, frame, action, 0.0, False, False)
    return path


def model_free() -> Config:
    """The same game without a world model."""
    return replace(SMALL, recipe="model_free")
