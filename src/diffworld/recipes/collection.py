"""Collection: the current policy plays the real game, every step goes to the replay at once."""

from typing import Any

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.data import Dataset, EpisodeWriter
from diffworld.envs import Driver, VectorEnv
from diffworld.envs.seeds import training_seed


class Collector:
    """Plays on from where the last collection stopped; its state can be saved and put back.

    A life lost ends an episode of the replay while the game plays on. Frames of a reset never pass for the
    outcome of a step: the environment does not reset by itself.
    """

    def __init__(self, env: VectorEnv, dataset: Dataset, policy: ActorCriticPolicy, seed: int) -> None:
        self.policy, self.writer = policy, EpisodeWriter(dataset)
        self.finished: list[float] = []
        self.driver = Driver(
            env,
            lambda game: training_seed(seed, game),
            on_step=self.writer,
            on_game=lambda _, game: self.finished.append(game.score),
            lives=True,
        )

    def collect(self, steps: int) -> list[float]:
        """Take at least `steps` real steps (whole rounds of all rows); returns scores of games that finished."""
        self.finished = []
        for _ in range(0, steps, self.driver.env.num_envs):
            self.driver.play(self.policy)
        return self.finished

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors: the games, the policy's state, the episodes that grow."""
        return {
            "driver": self.driver.state_dict(),
            "writer": self.writer.state_dict(),
            "policy": self.policy.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the running games again, and go on exactly as before."""
        self.driver.load_state_dict(state["driver"])
        self.writer.load_state_dict(state["writer"])
        device = self.policy.state[0].device
        self.policy.state = (state["policy"][0].to(device), state["policy"][1].to(device))
