"""The baseline without a world model: the same agent learns in the real game, from as many real steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffworld.config import Config
from diffworld.envs import Driver, VectorEnv
from diffworld.envs.seeds import training_seed
from diffworld.recipes.learning import Agent
from diffworld.recipes.networks import build_networks
from diffworld.recipes.recipe import TEST, Materials, Recipe
from diffworld.runtime.frames import frames_from_bytes
from diffworld.runtime.ranks import ALONE, Ranks
from diffworld.world import DreamState, Outcome


class ModelFree(Recipe):
    """The actor-critic alone, one real game for each row of its batch."""

    phases = ("actor_critic", TEST)

    def __init__(self, config: Config, given: Materials) -> None:
        assert given.env is not None
        self.given, self.total_steps = given, config.collection.total_steps
        self.networks = build_networks(config, given.spec, given.device)
        assert self.networks.actor_critic is not None
        self.real_world = RealWorld(given.env, config.seed, given.device, given.ranks)
        self.agent = Agent(
            config.actor_critic_updates,
            config.returns,
            config.horizon,
            self.networks.actor_critic,
            self.real_world,
            given.ranks,
        )
        self.parts = {"actor_critic": self.agent.part()}

    @property
    def env_steps(self) -> int:
        return self.real_world.steps

    @property
    def steps_left(self) -> int:
        return max(0, self.total_steps - self.real_world.steps)

    @property
    def collecting_epochs(self) -> int:
        updates = self.agent.updates
        games = updates.batch_size * self.given.ranks.count
        return -(-self.steps_left // (games * self.agent.horizon * updates.steps))

    @property
    def exhausted(self) -> bool:
        return not self.steps_left

    def take_finished(self) -> list[float]:
        finished, self.real_world.finished = self.real_world.finished, []
        return finished

    def state_dict(self) -> dict[str, Any]:
        return {"rollout": self.agent.state_dict(), "real_world": self.real_world.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.real_world.load_state_dict(state["real_world"])
        self.agent.load_state_dict(state["rollout"], self.given.device)

    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        """Games begin anew, none of them again."""
        self.real_world.regroup([state["real_world"] for state in states])


@dataclass(frozen=True)
class RealState(DreamState):
    """Where the games stand, as far as the policy can see: frames (B, 3, H, W)."""

    frames: Tensor


class RealWorld:
    """`agents.rollout.World` over a vector environment, one row a game; counts the real steps of all ranks.

    Of r ranks the first plays every r-th game, the second those after them, and so on.
    """

    def __init__(self, env: VectorEnv, seed: int, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.device, self.ranks, self.steps, self.begun = device, ranks, 0, 0
        self.finished: list[float] = []
        self.driver = Driver(
            env,
            lambda game: training_seed(seed, game * ranks.count + ranks.rank),
            on_game=lambda _, game: self.finished.append(game.score),
            lives=True,
        )

    def start(self, rows: int) -> RealState:
        """Begin every game."""
        assert rows == self.driver.env.num_envs
        self.driver.start(self.begun)
        return RealState(self._to_tensor(self.driver.frames))

    def refill(self, state: RealState) -> RealState:
        """Games have one start, which is never used up."""
        return state

    def frames(self, state: RealState) -> Tensor:
        """The current frames."""
        return state.frames

    def burn_in(self, state: RealState) -> Tensor:
        """A policy sees nothing before the start of a game."""
        return state.frames[:1, None][:, :0]

    def step(self, state: RealState, actions: Tensor) -> tuple[RealState, Outcome]:
        """One step of every game; games that are over are reset, episodes that ended begin anew."""
        result = self.driver.advance(actions.cpu().numpy())
        self.steps += len(actions) * self.ranks.count
        next_frames = self._to_tensor(result.frames)
        fresh = torch.from_numpy(self.driver.fresh).to(self.device)
        outcome = Outcome(
            next_frames=next_frames,
            rewards=torch.from_numpy(result.rewards).to(self.device),
            ends=torch.from_numpy(result.terminated).to(self.device),
            truncated=torch.from_numpy(result.truncated).to(self.device),
            start=fresh.long() - 1,
        )
        return RealState(self._to_tensor(self.driver.frames)), outcome

    def state_from(self, plain: dict[str, Any]) -> RealState:
        """A state that a checkpoint kept as a plain dict."""
        return RealState(**plain)

    def state_dict(self) -> dict[str, Any]:
        return {"driver": self.driver.state_dict(), "steps": self.steps, "finished": list(self.finished)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.driver.load_state_dict(state["driver"])
        self.steps, self.finished = state["steps"], list(state["finished"])

    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from the states of another number of ranks with games that none of them has begun."""
        self.steps = states[0]["steps"]
        begun = len(states) * max(state["driver"]["begun"] for state in states)
        self.begun = -(-begun // self.ranks.count)
        if self.ranks.first:
            self.finished = [score for state in states for score in state["finished"]]

    def _to_tensor(self, frames: np.ndarray) -> Tensor:
        return frames_from_bytes(torch.from_numpy(frames).to(self.device))
