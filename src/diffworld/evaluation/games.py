"""Tests of an agent in the real game, as training and the evaluation command run them."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.envs import EpisodeResult, Policy, RandomPolicy, play_episodes
from diffworld.envs.driver import OnStep
from diffworld.envs.make import make_game
from diffworld.envs.seeds import test_seed
from diffworld.game import GameSpec
from diffworld.models.actor_critic import ActorCritic


@dataclass(frozen=True)
class TestGames:
    """Which games are tests, and how they are played."""

    __test__ = False  # for pytest, which collects what is called so

    spec: GameSpec
    seed: int
    """Of the list of games; each game's own seed follows from it, and no training game has that."""
    num_envs: int = 1
    """Games played side by side."""
    temperature: float = 1.0
    """Of the agent's actions."""

    def play(
        self,
        player: ActorCritic | Policy | None,
        games: int,
        *,
        on_episode: Callable[[EpisodeResult], None] | None = None,
        on_step: OnStep | None = None,
        policy_seed: int = 0,
    ) -> list[EpisodeResult]:
        """Play whole games with an agent's network, another policy, or at random where the player is None.

        Draws come from a generator of their own, so that testing does not change what training does next.
        """
        with closing(make_game(self.spec, min(self.num_envs, games))) as env:
            if isinstance(player, ActorCritic):
                generator = torch.Generator(next(player.parameters()).device).manual_seed(policy_seed)
                player = ActorCriticPolicy(player, env.num_envs, temperature=self.temperature, generator=generator)
            elif player is None:
                player = RandomPolicy(self.spec.actions, seed=policy_seed)
            seeds = [test_seed(self.seed, game) for game in range(games)]
            return play_episodes(env, player, seeds, on_episode, on_step)


def scores(results: Sequence[EpisodeResult]) -> list[float]:
    """The scores alone."""
    return [result.score for result in results]
