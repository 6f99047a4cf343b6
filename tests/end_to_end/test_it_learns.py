"""The whole chain learns: a game of ours is played nearly perfectly by an agent that was trained in dreams alone.

A misaligned action, a wrong sign, a broken return, an end that is never dreamt: with any of them the agent stays where
random play is. So does an agent that does not look at the screen.
"""

import json
from pathlib import Path

import pytest

from diffworld.agents.returns import ReturnConfig
from diffworld.config import CollectionConfig, Config, EvaluationConfig, UpdateConfig
from diffworld.envs import EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig
from diffworld.models.diffusion import LogNormalSigma
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.training.run import train
from tests.games.catch import SIZE

GAMES = 100


def catch(seed: int) -> Config:
    """1,800 real steps, 1,600 of them at random; somewhat over a minute of one core."""
    two, three = {"depths": (1, 1), "attention": (False, False)}, {"depths": (1, 1, 1), "attention": (False,) * 3}
    return Config(
        env="gym/tests.games.catch:Catch-v0",
        seed=seed,
        device="cpu",
        precision="float32",
        compile="off",
        epochs=0,
        horizon=6,
        environment=EnvironmentConfig(height=SIZE, width=SIZE),
        collection=CollectionConfig(total_steps=1_800, first_steps=1_600, steps_per_epoch=200, num_envs=4),
        denoiser=DenoiserConfig(
            context_frames=2,
            cond_channels=32,
            channels=(16, 16),
            noise_levels=LogNormalSigma(mean=4.4, std=0.2, high=200.0),
            **two,  # type: ignore[arg-type]
        ),
        denoiser_updates=UpdateConfig(340, 50, learning_rate=2e-3, batch_size=16, warmup=20),
        sampler=SamplerConfig(denoising_steps=1, sigma_max=80.0),
        reward_end=RewardEndConfig(
            lstm_channels=64,
            cond_channels=32,
            channels=(16, 16, 16),
            window=6,
            **three,  # type: ignore[arg-type]
        ),
        reward_end_updates=UpdateConfig(560, 40, learning_rate=2e-3, clip=100.0, batch_size=16, warmup=20),
        actor_critic=ActorCriticConfig(lstm_channels=64, channels=(8, 16), pool=(False, True), centre_features=True),
        actor_critic_updates=UpdateConfig(120, 40, learning_rate=3e-3, weight_decay=0.0, clip=100.0, warmup=10),
        returns=ReturnConfig(entropy_weight=0.01),
        evaluation=EvaluationConfig(every_epochs=0, final_episodes=GAMES, num_envs=10),
        checkpoint_seconds=600.0,
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.cases(every=3)
def test_an_agent_trained_in_dreams_alone_plays_the_game(seed: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(catch(seed), run)
    summary = json.loads((run / "summary.json").read_text())
    agent, *others = (summary[who]["mean"] for who in ("agent", "random", "constant", "blind"))
    print(f"agent {agent}, random, best constant action, blind mixture: {others}")
    assert summary["counters"]["env_steps"] == 1_800
    assert summary["held_out"]["reward_end/reward_f1"] > 0.9 and summary["held_out"]["reward_end/end_f1"] > 0.9
    assert agent >= 0.8 > 0 > max(others) and summary["note"] == ""
