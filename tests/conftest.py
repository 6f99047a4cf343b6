"""Every test begins from the same random state, and none fails because the machine was busy."""

from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from diffworld.config import PARTS, Config, EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.reward_end import RewardEndConfig

LEVELS = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}

settings.register_profile("diffworld", deadline=None)
settings.load_profile("diffworld")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def small() -> Config:
    """A configuration whose networks take milliseconds."""
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
