"""The one way in which games become episodes of a data set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.data.dataset import Dataset
from diffworld.game import Encoded


@dataclass(frozen=True, eq=False)
class GameStep:
    """One step of a game.

    game: which game, by its place among those that are played.
    frame, next_frame: uint8 (H, W, 3), what was seen and what the action led to.
    action, reward: the action, encoded, and its raw reward.
    terminated, truncated: an end for the learner (perhaps only a lost life), or a cut.
    over: nothing follows in this game.
    """

    game: int
    frame: NDArray[np.uint8]
    action: Encoded
    reward: float
    terminated: bool
    truncated: bool
    next_frame: NDArray[np.uint8]
    over: bool = False

    @property
    def ended(self) -> bool:
        """Whether an episode ends here."""
        return self.terminated or self.truncated


class EpisodeWriter:
    """Adds steps of several games to a data set, each game to its own growing episode."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.growing: dict[int, int] = {}
        """Game -> its episode in the data set; a checkpoint keeps it."""

    def __call__(self, step: GameStep) -> None:
        """Write one step; after an end, the game's next step begins another episode."""
        if step.game not in self.growing:
            self.growing[step.game] = self.dataset.new_episode()
        self.dataset.append(
            self.growing[step.game],
            step.frame,
            step.action,
            step.reward,
            step.terminated,
            step.truncated,
            step.next_frame if step.ended else None,
        )
        if step.ended:
            del self.growing[step.game]

    def state_dict(self) -> dict[str, Any]:
        """Which episodes grow."""
        return {"growing": dict(self.growing)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the same episodes."""
        self.growing = dict(state["growing"])
