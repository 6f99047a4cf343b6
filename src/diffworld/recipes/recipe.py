"""What a training is made of: parts, each a network with its batches and loss, and the order of phases.

A recipe file tells one method from top to bottom. The trainer and the loop know none of them by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from diffworld.config import NETWORKS, NetworkName, UpdateConfig
from diffworld.data import Dataset
from diffworld.envs import VectorEnv
from diffworld.game import GameSpec
from diffworld.recipes.collection import Collector
from diffworld.recipes.networks import Networks
from diffworld.runtime.ranks import ALONE, Ranks
from diffworld.world import WorldModel

Losses = dict[str, Tensor]
"""Scalar tensors to log; 'loss' is the one to descend."""

COLLECT, TEST = "collect", "test"
"""Phases that update nothing; every other phase is the name of a part."""


class NoBatch(NamedTuple):
    """Of a part that makes its own experience."""


@dataclass(frozen=True)
class Part:
    """One network, how it is updated, what from, and what for."""

    network: nn.Module
    updates: UpdateConfig
    kind: type[Any]
    """Named tuple of a batch's tensors."""
    batch: Callable[[], Any]
    """Draws a batch of that kind."""
    loss: Callable[..., Losses]
    """Of a batch, and of the mean of `counts` over ranks where there are several; where `same_kernels`, what it runs
    must depend on shapes alone."""
    ways_back: int = 1
    """How many times the gradients of a batch add up: above 1 the loss is also given `each`, which descends a share of
    it at once, and is called so many times."""
    after: Callable[[Losses], None] = lambda logged: None
    """Called with what is logged once the update is done."""
    same_kernels: bool = False
    """Whether every update runs the same kernels, so that a GPU can record it."""
    record: Callable[[], None] = lambda: None
    """Records what else of it can be a CUDA graph."""
    counts: Callable[[Any], Tensor] | None = None
    """How many of a batch the loss is a mean of; None where that is the same for all batches."""


@dataclass(frozen=True)
class Materials:
    """What a recipe is given besides its configuration."""

    spec: GameSpec
    device: torch.device
    dataset: Dataset | None
    """To learn from: the replay that collection fills, or a fixed data set."""
    env: VectorEnv | None
    """The real game to collect from; none with fixed data."""
    rng: np.random.Generator
    """Draws windows and starts of dreams."""
    seed: int = 0
    """Of the run."""
    ranks: Ranks = ALONE
    """Who trains together."""

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers on the device, from torch's own generator."""
        return torch.randn(shape, device=self.device)

    def seed_update(self, network: NetworkName, update: int) -> None:
        """Among several ranks, let the numbers that an update draws depend on seed, rank, network and update alone."""
        if self.ranks.several:
            place = (self.seed, self.ranks.rank, NETWORKS.index(network), update)
            windows, rest = np.random.SeedSequence(place).spawn(2)
            self.rng.bit_generator.state = np.random.PCG64(windows).state
            torch.manual_seed(int(rest.generate_state(1)[0]))


class Recipe(ABC):
    """A training. Subclasses fill the attributes and say what lasts from one update to the next."""

    phases: tuple[str, ...]
    """Of an epoch, in order: names of parts, `COLLECT` and `TEST`."""
    given: Materials
    networks: Networks
    parts: dict[NetworkName, Part]
    world: WorldModel[Any] | None = None
    """The world model, where there is one: for films and held-out losses."""
    collector: Collector | None = None
    """Who plays in the phase `COLLECT`; of several ranks rank 0 alone."""
    held_out: np.ndarray | None = None
    """bool (E,), episodes of a fixed data set that are not learnt from."""
    final_epochs = 0
    """Epochs once all real steps are taken."""

    @property
    @abstractmethod
    def env_steps(self) -> int:
        """Real steps learnt from so far."""

    @property
    def steps_left(self) -> int:
        """Real steps still to take."""
        return 0

    @property
    def collecting_epochs(self) -> int:
        """Epochs that the real steps still to take will last."""
        return 0

    @property
    def exhausted(self) -> bool:
        """Whether updates have used up all they may."""
        return False

    def steps_wanted(self, epoch: int, done: int) -> int:
        """Real steps of this epoch's collection in all, as far as is known after `done` of them."""
        return done

    def take_finished(self) -> list[float]:
        """Scores of games that ended inside updates since the last call."""
        return []

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors of what lasts from one update to the next, besides weights."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""

    @abstractmethod
    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        """Put back what still holds of the states of another number of ranks; the rest begins anew."""
