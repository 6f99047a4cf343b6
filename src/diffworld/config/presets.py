"""Presets: named functions that return a full configuration. The name is the unit of reproducibility."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diffworld.agents.returns import ReturnConfig
from diffworld.config.config import CollectionConfig, Config, EvaluationConfig, UpdateConfig
from diffworld.envs.base import EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig, UpsamplerConfig
from diffworld.models.diffusion import LogNormalSigma
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.errors import UserError

COARSEST, LARGEST = 8, 64
"""Pixels of the longer side at which a world's networks halve no further, and that they draw in one stage at most."""
Size = tuple[int, int]


def atari100k() -> Config:
    """The published Atari 100k training: paper-size networks, 100,000 real steps (days on a GPU)."""
    return Config(denoiser=DenoiserConfig(final_frames=False))


def minatar() -> Config:
    """MinAtar Breakout, about half an hour of one CPU core (extra `minatar`); --env takes the other four games."""
    # One denoising step only meets its first noise level, so that is the one to learn from. It is 80 as in Karras
    # et al.: at the published 5 a frame's mean colour still shows through the noise, and the network learns to
    # rely on what is not there when it draws (docs/log.md).
    return Config(
        env="minatar/breakout",
        environment=EnvironmentConfig(height=10, width=10),
        collection=CollectionConfig(total_steps=20_000, first_steps=5_000, steps_per_epoch=1_000),
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
        denoiser_updates=UpdateConfig(2_000, 200, learning_rate=1e-3, batch_size=16),
        reward_end_updates=UpdateConfig(2_000, 100, learning_rate=3e-4, clip=100.0, batch_size=16),
        actor_critic_updates=UpdateConfig(100, 60, learning_rate=5e-4, weight_decay=0.0, clip=100.0, warmup=20),
        returns=ReturnConfig(entropy_weight=0.01, scale_advantages=True),
        precision="float32",
        compile="off",
        epochs=0,
        evaluation=EvaluationConfig(every_epochs=5, episodes=10, final_episodes=100),
    )


def demo() -> Config:
    """MinAtar Breakout, learnt from nothing in five to ten minutes of one CPU core (extra `minatar`)."""
    longer = minatar()
    return replace(
        longer,
        collection=CollectionConfig(total_steps=6_000, first_steps=5_000, steps_per_epoch=500),
        denoiser=replace(longer.denoiser, channels=(24, 24)),
        denoiser_updates=replace(longer.denoiser_updates, first_steps=1_500, steps=100),
        reward_end_updates=replace(longer.reward_end_updates, first_steps=800, steps=50, learning_rate=1e-3),
        actor_critic_updates=replace(longer.actor_critic_updates, steps=100),
        evaluation=EvaluationConfig(every_epochs=0, final_episodes=100),
        checkpoint_seconds=30.0,
    )


def world_small(frames: Size = (64, 64)) -> Config:
    """A world model of any data set (`--data`), for minutes on a CPU; no game is opened, named or needed."""
    updates = UpdateConfig(400, 400, learning_rate=1e-3, batch_size=16)
    return _world(frames, 32, 1, 64, updates, epochs=10, evaluation=EvaluationConfig(every_epochs=1))


def world_medium(frames: Size = (64, 64)) -> Config:
    """The same with networks as wide as the published ones; `--dry-run` says how long it takes."""
    return _world(frames, 64, 2, 256, UpdateConfig(1_000, 1_000), epochs=50)


def world_large(frames: Size = (64, 64)) -> Config:
    """The same with networks twice as wide, for hours of play and a GPU."""
    return _world(frames, 128, 2, 512, UpdateConfig(2_000, 2_000), epochs=200)


def _world(frames: Size, width: int, depth: int, cond: int, updates: UpdateConfig, epochs: int, **rest: Any) -> Config:
    """A training on a data set whose frames are so high and wide.

    The size halves from level to level until the longer side has at most 8 pixels, which the middle sees as a whole;
    the narrower networks judge and act. Frames of more than 64 pixels a side are drawn in two stages, of which the
    upsampler is one of the narrower networks too.
    """
    factor = _shrinking(frames)
    small = (frames[0] // factor, frames[1] // factor)
    levels = max(1, math.ceil(math.log2(max(small) / COARSEST)) + 1)
    depths, nowhere, narrow = (depth,) * levels, (False,) * levels, (width // 2,) * levels
    steps = SamplerConfig(denoising_steps=3)
    config = Config(
        recipe="world",
        env="",
        epochs=epochs,
        denoiser=DenoiserConfig(cond_channels=cond, channels=(width,) * levels, depths=depths, attention=nowhere),
        denoiser_updates=updates,
        sampler=steps,
        reward_end=RewardEndConfig(
            lstm_channels=8 * width // 2, cond_channels=cond // 2, channels=narrow, depths=depths, attention=nowhere
        ),
        reward_end_updates=replace(updates, clip=100.0),
        actor_critic=ActorCriticConfig(
            lstm_channels=8 * width // 2,
            channels=narrow,
            pool=tuple(min(small) >> level > 1 for level in range(levels)),
        ),
        actor_critic_updates=replace(updates, weight_decay=0.0, clip=100.0, batch_size=32),
        **rest,
    )
    if factor == 1:
        return config
    return replace(
        config,
        recipe="shooter",
        sampler=replace(steps, sigma_context=0.005),
        upsampler=UpsamplerConfig(
            factor=factor, cond_channels=cond // 2, channels=narrow, depths=depths, attention=nowhere
        ),
        upsampler_updates=replace(updates, batch_size=max(1, updates.batch_size // 4)),
        upsampler_sampler=steps,
    )


def _shrinking(frames: Size) -> int:
    """How many times smaller, a side, the frames of a first stage are: the least that both sides can be divided by and
    that leaves at most 64 pixels; 1 where all is drawn in one stage, as frames are that have no such divisor."""
    if max(frames) <= LARGEST:
        return 1
    divisors = range(2, min(frames) // COARSEST + 1)
    fitting = (n for n in divisors if all(side % n == 0 for side in frames) and max(frames) // n <= LARGEST)
    return next(fitting, 1)


def csgo() -> Config:
    """The published shooter, Counter-Strike in two stages, of its data (`--data`): days on a GPU."""
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
    """The same two stages, small, of recorded games of ViZDoom (`--data`): an evening of a CPU core."""
    full, nowhere = csgo(), (False, False, False)
    return replace(
        full,
        epochs=30,
        denoiser=replace(
            full.denoiser,
            cond_channels=128,
            channels=(32, 64, 96),
            depths=(1, 1, 1),
            attention=nowhere,
            noise_levels=LogNormalSigma(),
            context_noise_levels=LogNormalSigma(mean=-2.0),
            autoregressive_steps=0,
            final_frames=True,
        ),
        denoiser_updates=UpdateConfig(400, 400, learning_rate=1e-3, batch_size=16),
        sampler=replace(full.sampler, denoising_steps=3),
        upsampler=replace(
            full.upsampler,
            factor=4,
            cond_channels=64,
            channels=(16, 32, 48),
            depths=(1, 1, 1),
            attention=nowhere,
            # It draws in one step, which only meets its first noise level: that is the one to learn from (`minatar`).
            noise_levels=LogNormalSigma(mean=4.4, std=0.2, high=200.0),
            autoregressive_steps=0,
            final_frames=True,
        ),
        upsampler_updates=UpdateConfig(100, 100, learning_rate=1e-3, batch_size=2),
        upsampler_sampler=SamplerConfig(denoising_steps=1, sigma_max=80.0),
        precision="float32",
        compile="off",
        evaluation=EvaluationConfig(every_epochs=50),
    )


def vizdoom_large() -> Config:
    """The published shooter at half its width, of recorded games of ViZDoom (`--data`): for a GPU, not tried."""
    full = csgo()
    return replace(
        full,
        epochs=100,
        denoiser=replace(full.denoiser, cond_channels=1024, channels=(64, 128, 256, 512), final_frames=True),
        denoiser_updates=UpdateConfig(400, 400, clip=10.0, batch_size=32),
        upsampler=replace(full.upsampler, factor=4, cond_channels=1024, channels=(32, 64, 64, 128), final_frames=True),
        upsampler_updates=UpdateConfig(400, 400, clip=10.0, batch_size=16),
    )


WORLDS: dict[str, Callable[[Size], Config]] = {
    "world-small": world_small,
    "world-medium": world_medium,
    "world-large": world_large,
}
"""Presets whose networks go by the size of the data's frames."""
PRESETS: dict[str, Callable[[], Config]] = {
    "demo": demo,
    "minatar": minatar,
    "atari100k": atari100k,
    "vizdoom": vizdoom,
    "vizdoom-large": vizdoom_large,
    "csgo": csgo,
}


def preset(name: str, frames: Size = (64, 64)) -> Config:
    """The configuration of the preset called `name`; UserError if there is none.

    frames: (height, width) of the data, which the presets of worlds go by.
    """
    if name in WORLDS:
        return WORLDS[name](frames)
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join([*PRESETS, *WORLDS])}")
    return PRESETS[name]()
