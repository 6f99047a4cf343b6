"""A world model of a fixed data set, whatever its actions; no game is opened, named or needed.

The agent is trained only if it is asked for. Some episodes are set aside to measure on (`held_out_episodes`).
"""

from collections.abc import Sequence
from typing import Any

from diffworld.config import Config
from diffworld.data import held_out_episodes
from diffworld.recipes.learning import Agent, WindowSource, denoiser_part, reward_end_part
from diffworld.recipes.networks import build_networks
from diffworld.recipes.recipe import TEST, Materials, Recipe
from diffworld.world import FrameStack, Imagination


class World(Recipe):
    """Denoiser, and where data and options want them reward/end model and agent."""

    def __init__(self, config: Config, given: Materials) -> None:
        assert given.dataset is not None
        self.given, self.dataset, self.final_epochs = given, given.dataset, config.epochs
        self.networks = networks = build_networks(config, given.spec, given.device)
        assert networks.denoiser is not None
        self.world = FrameStack(networks.denoiser, networks.reward_end, config.sampler)
        self.held_out = held_out_episodes(given.dataset.episodes)

        source = WindowSource(
            self.world.context_frames,
            config.reward_end.window,
            given.dataset,
            given,
            recency=False,
            among=~self.held_out,
        )
        self.parts = {"denoiser": denoiser_part(config.denoiser_updates, self.world.lessons["denoiser"], source)}
        if networks.reward_end is not None:
            self.parts["reward_end"] = reward_end_part(
                config.reward_end_updates, networks.reward_end, source, self.world.seen
            )
        self.agent: Agent | None = None
        if networks.actor_critic is not None:
            imagination = Imagination(self.world, config.horizon, source.draw_starts, given.randn)
            self.agent = Agent(
                config.actor_critic_updates,
                config.returns,
                config.horizon,
                networks.actor_critic,
                imagination,
                given.ranks,
            )
            self.parts["actor_critic"] = self.agent.part()
        self.phases = (*self.parts, TEST)

    @property
    def env_steps(self) -> int:
        assert self.held_out is not None
        return int(self.dataset.episodes.lengths[~self.held_out].sum())

    def state_dict(self) -> dict[str, Any]:
        return {"rollout": self.agent.state_dict() if self.agent else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.agent is not None:
            self.agent.load_state_dict(state["rollout"], self.given.device)

    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        """Dreams begin anew."""
