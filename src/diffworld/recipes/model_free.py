"""The baseline without a world model: the same agent learns in the real game, from as many real steps."""

from typing import Any

from diffworld.config import Config
from diffworld.recipes.learning import Agent
from diffworld.recipes.networks import build_networks
from diffworld.recipes.real_world import RealWorld
from diffworld.recipes.recipe import TEST, Materials, Recipe


class ModelFree(Recipe):
    """The actor-critic alone, one real game for each row of its batch."""

    phases = ("actor_critic", TEST)

    def __init__(self, config: Config, given: Materials) -> None:
        assert given.env is not None
        self.given, self.total_steps = given, config.collection.total_steps
        self.networks = build_networks(config, given.spec, given.device)
        assert self.networks.actor_critic is not None
        self.real_world = RealWorld(given.env, config.seed, given.device)
        self.agent = Agent(
            config.actor_critic_updates, config.returns, config.horizon, self.networks.actor_critic, self.real_world
        )
        self.parts = {"actor_critic": self.agent.part()}

    @property
    def env_steps(self) -> int:
        """Real steps taken so far."""
        return self.real_world.steps

    @property
    def steps_left(self) -> int:
        """Real steps still to take."""
        return max(0, self.total_steps - self.real_world.steps)

    @property
    def exhausted(self) -> bool:
        """Every update takes real steps, of which there may be none left."""
        return not self.steps_left

    def take_finished(self) -> list[float]:
        """Scores of the games that ended since the last call."""
        finished, self.real_world.finished = self.real_world.finished, []
        return finished

    def state_dict(self) -> dict[str, Any]:
        """The real games and what the agent remembers of them."""
        return {"rollout": self.agent.state_dict(), "real_world": self.real_world.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on playing where it stopped."""
        self.real_world.load_state_dict(state["real_world"])
        self.agent.load_state_dict(state["rollout"], self.given.device)
