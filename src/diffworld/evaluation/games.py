"""Tests of an agent in the real game, as training and the evaluation command run them."""

from collections.abc import Callable, Sequence

import torch

from diffworld.agent.actor_critic import ActorCritic
from diffworld.agent.policy import ActorCriticPolicy
from diffworld.config import Config
from diffworld.envs import VectorEnv, make_env
from diffworld.envs.seeds import test_seed
from diffworld.evaluation.episodes import EpisodeResult, OnStep, Policy, RandomPolicy, play_episodes


def make_game(config: Config, num_envs: int) -> VectorEnv:
    """The run's real game, `num_envs` times. A lost life is told as an end, but no game stops for it."""
    e = config.environment
    return make_env(
        config.env,
        num_envs,
        frame_size=(e.height, e.width),
        life_loss_ends=e.life_loss_ends,
        frame_skip=e.frame_skip,
        noop_max=e.noop_max,
        sticky_actions=e.sticky_actions,
        max_steps=e.max_steps or None,
    )


def play_games(
    config: Config,
    actor_critic: ActorCritic | None,
    games: int,
    *,
    on_episode: Callable[[EpisodeResult], None] | None = None,
    on_step: OnStep | None = None,
    policy_seed: int = 0,
) -> list[EpisodeResult]:
    """Play whole test games of a run with its agent, or the random policy where it is None.

    The games' seeds are always the same. The policy's draws come from a generator of their own, so that
    testing does not change what training does next.
    """
    env = make_game(config, min(config.evaluation.num_envs, games))
    try:
        policy: Policy = RandomPolicy(env.num_actions, seed=policy_seed)
        if actor_critic is not None:
            device = next(actor_critic.parameters()).device
            policy = ActorCriticPolicy(
                actor_critic,
                env.num_envs,
                temperature=config.evaluation.temperature,
                generator=torch.Generator(device).manual_seed(policy_seed),
            )
        seeds = [test_seed(config.seed, game) for game in range(games)]
        return play_episodes(env, policy, seeds, on_episode, on_step)
    finally:
        env.close()


def scores(results: Sequence[EpisodeResult]) -> list[float]:
    """The scores alone."""
    return [result.score for result in results]
