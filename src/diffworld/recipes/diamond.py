"""DIAMOND (Alonso et al. 2024, arXiv:2405.12399): collect, learn the world, learn to act in its dreams, again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.config import Config
from diffworld.recipes.collection import Collector
from diffworld.recipes.learning import Agent, WindowSource, denoiser_part, reward_end_part
from diffworld.recipes.networks import build_networks
from diffworld.recipes.recipe import COLLECT, TEST, Materials, Recipe
from diffworld.world import FrameStack, Imagination

ENOUGH_REWARDS = 10
"""Rewards off the commonest sign that the first collection should find."""
GRAIN = 100
"""Steps by which the first collection goes on until then."""


class Diamond(Recipe):
    """World model and agent, learnt together from a replay that the agent fills."""

    phases = (COLLECT, "denoiser", "reward_end", "actor_critic", TEST)

    def __init__(self, config: Config, given: Materials) -> None:
        assert given.dataset is not None
        self.given, self.dataset, self.collection = given, given.dataset, config.collection
        self.final_epochs = config.epochs
        self.networks = networks = build_networks(config, given.spec, given.device)
        assert networks.denoiser and networks.reward_end and networks.actor_critic
        self.world = FrameStack(networks.denoiser, networks.reward_end, config.sampler)

        source = WindowSource(self.world.context_frames, config.reward_end.window, given.dataset, given, recency=True)
        imagination = Imagination(self.world, config.horizon, source.draw_starts, given.randn)
        self.agent = Agent(
            config.actor_critic_updates, config.returns, config.horizon, networks.actor_critic, imagination, given.ranks
        )
        self.parts = {
            "denoiser": denoiser_part(config.denoiser_updates, self.world.lessons["denoiser"], source),
            "reward_end": reward_end_part(config.reward_end_updates, networks.reward_end, source, self.world.seen),
            "actor_critic": self.agent.part(),
        }

        if given.env is not None:
            c = config.collection
            policy = ActorCriticPolicy(
                networks.actor_critic, given.env.num_envs, temperature=c.temperature, epsilon=c.epsilon
            )
            self.collector = Collector(given.env, given.dataset, policy, config.seed)

    @property
    def env_steps(self) -> int:
        return self.dataset.num_steps

    @property
    def steps_left(self) -> int:
        return max(0, self.collection.total_steps - self.env_steps)

    @property
    def collecting_epochs(self) -> int:
        return -(-self.steps_left // self.collection.steps_per_epoch)

    def steps_wanted(self, epoch: int, done: int) -> int:
        """So many steps an epoch; the first is longer, and goes on to twice that while there is nothing to learn."""
        c, left = self.collection, self.steps_left
        usual = min(c.first_steps if epoch == 1 else c.steps_per_epoch, left + done)
        if epoch == 1 and usual <= done < 2 * c.first_steps and not self._enough_rewards():
            return min(done + GRAIN, 2 * c.first_steps, done + left)
        return max(usual, done)

    def _enough_rewards(self) -> bool:
        episodes = self.dataset.episodes
        signs = np.sign(episodes.records["reward"][episodes.step_rows])
        return bool(len(signs) - np.bincount(signs.astype(np.int64) + 1, minlength=3).max() >= ENOUGH_REWARDS)

    def state_dict(self) -> dict[str, Any]:
        collector = {"collector": self.collector.state_dict()} if self.collector else {}
        return {"rollout": self.agent.state_dict(), **collector}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.agent.load_state_dict(state["rollout"], self.given.device)
        self.regroup([state])

    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        if self.collector is not None:
            self.collector.load_state_dict(states[0]["collector"])
