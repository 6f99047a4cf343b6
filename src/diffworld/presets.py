"""Presets: named functions that return a full configuration. The name is the unit of reproducibility."""

from collections.abc import Callable

from diffworld.agent.actor_critic import ActorCriticConfig
from diffworld.config import CollectionConfig, Config, EnvironmentConfig, EvaluationConfig, UpdateConfig
from diffworld.errors import UserError
from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.reward_end import RewardEndConfig
from diffworld.world_model.sampler import SamplerConfig


def atari100k() -> Config:
    """The published Atari 100k training: paper-size networks, 100,000 real steps (days on a GPU)."""
    return Config()


def demo() -> Config:
    """A real Atari game learnt from nothing within 15 minutes on two CPU cores."""
    return Config(
        env="atari/Boxing",
        environment=EnvironmentConfig(height=32, width=32),
        collection=CollectionConfig(total_steps=7_000, first_steps=2_000, first_steps_max=2_000, steps_per_epoch=500),
        denoiser=DenoiserConfig(
            cond_channels=64,
            channels=(8, 16, 32, 32),
            depths=(1, 1, 1, 1),
        ),
        sampler=SamplerConfig(denoising_steps=1),
        reward_end=RewardEndConfig(
            lstm_channels=128, cond_channels=64, channels=(8, 16, 16), depths=(1, 1, 1), attention=(False,) * 3
        ),
        actor_critic=ActorCriticConfig(lstm_channels=128, channels=(8, 16, 16), pool=(True,) * 3),
        denoiser_updates=UpdateConfig(400, 50, learning_rate=1e-3),
        reward_end_updates=UpdateConfig(200, 30, learning_rate=1e-3, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(40, 35, learning_rate=1e-3, weight_decay=0.0, clip=100.0),
        epochs_after_collection=1,
        evaluation=EvaluationConfig(
            every_epochs=3, episodes=5, final_episodes=30, random_episodes=30, num_envs=10, held_out_steps=1_000
        ),
    )


PRESETS: dict[str, Callable[[], Config]] = {"demo": demo, "atari100k": atari100k}


def preset(name: str) -> Config:
    """The configuration of the preset called `name`; UserError if there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
