"""Presets: named functions that return a full configuration. The name is the unit of reproducibility."""

from collections.abc import Callable
from dataclasses import replace

from diffworld.agents.returns import ReturnConfig
from diffworld.config.config import CollectionConfig, Config, EvaluationConfig, UpdateConfig
from diffworld.envs.base import EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig, UpsamplerConfig
from diffworld.models.diffusion import LogNormalSigma
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.errors import UserError

NO_ATTENTION = (False, False, False)


def atari100k() -> Config:
    """The published Atari 100k training: paper-size networks, 100,000 real steps (days on a GPU)."""
    return Config(denoiser=DenoiserConfig(final_frames=False))


def demo() -> Config:
    """Freeway, learnt from nothing in 5 to 15 minutes on two CPU cores (an action lasts half a second)."""
    # A long frame skip lets the random policy cross the road about once a game, so that there is a reward to
    # find, and makes a crossing about as long as a dream.
    return Config(
        env="atari/Freeway",
        environment=EnvironmentConfig(height=32, width=32, frame_skip=30),
        collection=CollectionConfig(total_steps=7_200, first_steps=4_000, steps_per_epoch=800),
        denoiser=DenoiserConfig(cond_channels=64, channels=(16, 32, 32), depths=(1, 1, 1), attention=NO_ATTENTION),
        sampler=SamplerConfig(denoising_steps=1),
        reward_end=RewardEndConfig(
            lstm_channels=128, cond_channels=64, channels=(8, 16, 16), depths=(1, 1, 1), attention=NO_ATTENTION
        ),
        actor_critic=ActorCriticConfig(lstm_channels=128, channels=(8, 16, 16), pool=(True, True, True)),
        denoiser_updates=UpdateConfig(1_200, 160, learning_rate=2e-3, batch_size=8),
        reward_end_updates=UpdateConfig(400, 200, learning_rate=1e-3, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(
            20, 20, learning_rate=2e-3, weight_decay=0.0, clip=100.0, warmup=10, batch_size=64
        ),
        precision="float32",  # for networks this small no slower than bfloat16, and alike on every processor
        compile="off",
        epochs=0,
        evaluation=EvaluationConfig(every_epochs=2, episodes=4, final_episodes=30, num_envs=10),
        checkpoint_seconds=30.0,
    )


def minatar() -> Config:
    """MinAtar Breakout in about fifteen minutes of one CPU core (extra `minatar`); other games learn less yet."""
    # One denoising step only meets its first noise level, so that is the one to learn from. It is 80 as in Karras
    # et al.: at the published 5 a frame's mean colour still shows through the noise, and the network learns to
    # rely on what is not there when it draws (docs/log.md).
    return Config(
        env="minatar/breakout",
        environment=EnvironmentConfig(height=10, width=10),
        collection=CollectionConfig(total_steps=6_500, first_steps=5_000, steps_per_epoch=500),
        denoiser=DenoiserConfig(
            cond_channels=64,
            channels=(32, 32),
            depths=(1, 1),
            attention=(False, False),
            noise_levels=LogNormalSigma(mean=4.4, std=0.2, high=200.0),
        ),
        sampler=SamplerConfig(denoising_steps=1, sigma_max=80.0),
        reward_end=RewardEndConfig(
            lstm_channels=128, cond_channels=64, channels=(16, 16), depths=(1, 1), attention=(False, False)
        ),
        actor_critic=ActorCriticConfig(lstm_channels=128, channels=(16, 16), pool=(False, False), centre_features=True),
        denoiser_updates=UpdateConfig(2_000, 150, learning_rate=1e-3, batch_size=16),
        reward_end_updates=UpdateConfig(1_000, 75, learning_rate=1e-3, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(100, 100, learning_rate=5e-4, weight_decay=0.0, clip=100.0, warmup=20),
        returns=ReturnConfig(entropy_weight=0.01, scale_advantages=True),
        precision="float32",
        compile="off",
        epochs=0,
        evaluation=EvaluationConfig(every_epochs=2, episodes=10, final_episodes=100),
    )


def world() -> Config:
    """A world model of any data set (`--data`), small networks for a CPU; no game is opened, named or needed."""
    small = demo()
    return replace(
        small,
        recipe="world",
        env="",
        epochs=10,
        denoiser=replace(small.denoiser, channels=(32, 32, 32)),
        denoiser_updates=UpdateConfig(400, 400, learning_rate=1e-3, batch_size=16),
        sampler=SamplerConfig(denoising_steps=3),
        evaluation=EvaluationConfig(every_epochs=1),
    )


def csgo() -> Config:
    """The published shooter, Counter-Strike in two stages, of its data (`--data`): days on a GPU of 80 GB."""
    noise, four = LogNormalSigma(mean=-1.2), (2, 2, 2, 2)
    updates = UpdateConfig(400, 400, clip=10.0, accumulate=8)
    return Config(
        recipe="shooter",
        env="",
        epochs=600,
        horizon=1000,
        denoiser=DenoiserConfig(
            cond_channels=2048,
            channels=(128, 256, 512, 1024),
            depths=four,
            attention=(False, False, True, True),
            sigma_offset=0.1,
            noise_levels=noise,
            autoregressive_steps=4,
            final_frames=False,
        ),
        denoiser_updates=replace(updates, batch_size=16),
        sampler=SamplerConfig(denoising_steps=1, sigma_context=0.005),
        upsampler=UpsamplerConfig(
            factor=5,
            cond_channels=2048,
            channels=(64, 64, 128, 256),
            depths=four,
            attention=(False, False, False, True),
            sigma_offset=0.1,
            noise_levels=noise,
            final_frames=False,
        ),
        upsampler_updates=replace(updates, batch_size=4),
        upsampler_sampler=SamplerConfig(
            denoising_steps=1, sigma_min=1.0, churn=10.0, churn_min=1.0, churn_max=5.0, churn_noise=0.9
        ),
        evaluation=EvaluationConfig(every_epochs=20),
    )


def vizdoom() -> Config:
    """The same two stages, small, of recorded games of ViZDoom (`--data`): an evening on two CPU cores."""
    full = csgo()
    # With so few updates a frame is drawn in one step: what counts is high noise, and a context that is seen clearly.
    noise = LogNormalSigma(mean=0.5)
    return replace(
        full,
        epochs=60,
        denoiser=replace(
            full.denoiser,
            cond_channels=128,
            channels=(32, 64, 96),
            depths=(1, 1, 1),
            attention=NO_ATTENTION,
            noise_levels=noise,
            context_noise_levels=LogNormalSigma(mean=-3.0),
            autoregressive_steps=1,
            final_frames=True,
        ),
        denoiser_updates=UpdateConfig(400, 400, learning_rate=1e-3, batch_size=8),
        upsampler=replace(
            full.upsampler,
            factor=4,
            cond_channels=64,
            channels=(16, 32, 48),
            depths=(1, 1, 1),
            attention=NO_ATTENTION,
            noise_levels=noise,
            final_frames=True,
        ),
        upsampler_updates=UpdateConfig(200, 200, learning_rate=1e-3, batch_size=2),
        upsampler_sampler=SamplerConfig(denoising_steps=1),
        precision="float32",
        compile="off",
        evaluation=EvaluationConfig(every_epochs=2),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    "demo": demo,
    "minatar": minatar,
    "world": world,
    "atari100k": atari100k,
    "vizdoom": vizdoom,
    "csgo": csgo,
}


def preset(name: str) -> Config:
    """The configuration of the preset called `name`; UserError if there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
