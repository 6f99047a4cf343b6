"""A configuration whose networks take milliseconds."""

from dataclasses import replace

import pytest

from diffworld.agent.actor_critic import ActorCriticConfig
from diffworld.config import PARTS, Config, EnvironmentConfig
from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.reward_end import RewardEndConfig

LEVELS = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}


@pytest.fixture
def small() -> Config:
    config = Config(
        device="cpu",
        precision="float32",
        compile="off",
        horizon=2,
        reward_end_window=3,
        environment=EnvironmentConfig(height=12, width=12),
        denoiser=DenoiserConfig(cond_channels=8, **LEVELS),  # type: ignore[arg-type]
        reward_end=RewardEndConfig(cond_channels=8, lstm_channels=8, **LEVELS),  # type: ignore[arg-type]
        actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,)),
    )
    updates = {f"{part}_updates": replace(config.updates(part), batch_size=2) for part in PARTS}
    return replace(config, **updates)  # type: ignore[arg-type]
