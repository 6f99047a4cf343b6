"""Presets: named functions that return a full configuration. The name is the unit of reproducibility."""

from collections.abc import Callable

from diffworld.agent.actor_critic import ActorCriticConfig
from diffworld.agent.returns import ReturnConfig
from diffworld.config import CollectionConfig, Config, EnvironmentConfig, EvaluationConfig, UpdateConfig
from diffworld.errors import UserError
from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.diffusion import NoiseLevels
from diffworld.world_model.reward_end import RewardEndConfig
from diffworld.world_model.sampler import SamplerConfig


def atari100k() -> Config:
    """The published Atari 100k training: paper-size networks, 100,000 real steps (days on a GPU)."""
    return Config()


def demo() -> Config:
    """Freeway, learnt from nothing in 5 to 15 minutes on two CPU cores (an action lasts half a second)."""
    # A long frame skip lets the random policy cross the road about once a game, so that there is a reward to
    # find, and makes a crossing about as long as a dream.
    return Config(
        env="atari/Freeway",
        environment=EnvironmentConfig(height=32, width=32, frame_skip=30),
        collection=CollectionConfig(total_steps=7_200, first_steps=4_000, first_steps_max=8_000, steps_per_epoch=800),
        denoiser=DenoiserConfig(
            cond_channels=64, channels=(16, 32, 32), depths=(1, 1, 1), attention=(False, False, False)
        ),
        sampler=SamplerConfig(denoising_steps=1),
        reward_end=RewardEndConfig(
            lstm_channels=128,
            cond_channels=64,
            channels=(8, 16, 16),
            depths=(1, 1, 1),
            attention=(False, False, False),
        ),
        actor_critic=ActorCriticConfig(lstm_channels=128, channels=(8, 16, 16), pool=(True, True, True)),
        denoiser_updates=UpdateConfig(1_200, 160, learning_rate=2e-3, batch_size=8),
        reward_end_updates=UpdateConfig(400, 200, learning_rate=1e-3, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(
            20, 20, learning_rate=2e-3, weight_decay=0.0, clip=100.0, warmup=10, batch_size=64
        ),
        precision="float32",  # for networks this small no slower than bfloat16, and alike on every processor
        compile="off",
        epochs_on_data=5,
        epochs_after_collection=0,
        evaluation=EvaluationConfig(
            every_epochs=2, episodes=4, final_episodes=30, random_episodes=30, num_envs=10, held_out_steps=1_000
        ),
        checkpoint_seconds=30.0,
    )


def cpu() -> Config:
    """Atari from nothing in about half an hour on one recent CPU core (results in docs/results.md)."""
    return Config(
        env="atari/KungFuMaster",
        environment=EnvironmentConfig(height=40, width=32),
        collection=CollectionConfig(
            total_steps=40_000, first_steps=20_000, first_steps_max=25_000, steps_per_epoch=2_000
        ),
        # One denoising step only meets its first noise level, so that is the one to learn from. It is 80 as in Karras
        # et al.: at the published 5 a frame's mean colour still shows through the noise, and the network learns to
        # rely on what is not there when it draws (docs/log.md).
        denoiser=DenoiserConfig(
            cond_channels=64,
            channels=(16, 32, 32),
            depths=(1, 1, 1),
            attention=(False, False, False),
            noise_levels=NoiseLevels(mean=4.4, std=0.2, high=200.0),
        ),
        sampler=SamplerConfig(denoising_steps=1, sigma_max=80.0),
        reward_end=RewardEndConfig(
            lstm_channels=256,
            cond_channels=64,
            channels=(8, 16, 32, 32),
            depths=(1, 1, 1, 1),
            attention=(False, False, False, False),
        ),
        reward_end_drawn_share=0.5,
        rewarded_share=0.5,
        actor_critic=ActorCriticConfig(
            lstm_channels=256, channels=(8, 16, 32), pool=(True, True, True), centre_features=True
        ),
        # Small things stay in dreams only after thousands of updates. The agent takes few an epoch, at a rate that
        # falls: what more of them gain in the same world model they do not gain in the game (docs/log.md).
        denoiser_updates=UpdateConfig(4_500, 200, learning_rate=2e-4, first_learning_rate=1e-3, batch_size=4),
        reward_end_updates=UpdateConfig(1_200, 40, learning_rate=1e-3, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(
            20, 20, learning_rate=1e-3, half_life=150, weight_decay=0.0, clip=100.0, warmup=20
        ),
        returns=ReturnConfig(entropy_weight=0.003, scale_advantages=True),
        compile="off",
        epochs_after_collection=0,
        evaluation=EvaluationConfig(every_epochs=5, episodes=10),
    )


PRESETS: dict[str, Callable[[], Config]] = {"demo": demo, "cpu": cpu, "atari100k": atari100k}


def preset(name: str) -> Config:
    """The configuration of the preset called `name`; UserError if there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
