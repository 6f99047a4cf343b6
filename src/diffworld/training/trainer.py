"""The trainer: updates the parts of any recipe, and saves and puts back all that changes while a run goes on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffworld.config import NetworkName
from diffworld.recipes import Losses, Materials, Part, Recipe
from diffworld.runs.folder import Checkpoint
from diffworld.runtime.cuda_graphs import GraphedCallable
from diffworld.runtime.device import autocast
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import lowering
from diffworld.training.optimiser import Optimiser, descend


class Averages:
    """Running means of what one epoch logs; kept on the device, so that logging waits for nothing."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, prefix: str, values: dict[str, Tensor]) -> None:
        """Count one more value of each name."""
        for name, value in values.items():
            key = f"{prefix}/{name}"
            self.sums[key] = self.sums.get(key, torch.zeros((), device=value.device)) + value.detach().float()
            self.counts[key] = self.counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean of every name; UserError if one is not a finite number, before anything of it is saved."""
        means = {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        for key, mean in means.items():
            if not np.isfinite(mean):
                part = key.split("/")[0]
                raise UserError(
                    f"{key} is {mean}: training diverged and stopped before a bad checkpoint was written; "
                    f"train anew, or on from this run with --init-from, with a smaller "
                    f"--{part.replace('_', '-')}-updates.learning-rate"
                )
        return means


class Trainer:
    """Optimisers and running means of a recipe's parts."""

    def __init__(self, recipe: Recipe, given: Materials, dtype: torch.dtype = torch.float32) -> None:
        self.recipe, self.given, self.device, self.dtype = recipe, given, given.device, dtype
        self.networks = recipe.networks
        self.optimisers = {name: Optimiser(part.network, part.updates) for name, part in recipe.parts.items()}
        self.gradients = {name: self._gradients(part) for name, part in recipe.parts.items()}
        self.averages = Averages()

    def update(self, name: NetworkName) -> None:
        """One update of one network, its losses counted in `averages`."""
        part, gradients = self.recipe.parts[name], self.gradients[name]
        with lowering(f"--{name.replace('_', '-')}-updates.batch-size ({part.updates.batch_size})"):
            try:
                logged = self.optimisers[name].update(lambda: gradients(*part.batch()))
            except RuntimeError:  # such as no number among the probabilities, where another network has diverged
                self.averages.means()
                raise
        part.after(logged)
        self.averages.add(name, logged)

    def _gradients(self, part: Part) -> Callable[..., Losses]:
        """A part's loss in the run's number format, with its gradients, of the tensors of a batch."""

        def in_precision(*tensors: Tensor) -> Losses:
            with autocast(self.device, self.dtype):
                return part.loss(part.kind(*tensors))

        return descend(in_precision)

    def record(self) -> None:
        """Replace what does the same kernels each time by CUDA graphs of them."""
        for name, part in self.recipe.parts.items():
            if part.same_kernels and part.updates.accumulate == 1:  # a replay sets gradients, it does not add to them
                graphed = GraphedCallable(f"{name} update", self.gradients[name], part.network.parameters())
                self.gradients[name] = graphed
            part.record()

    def checkpoint(self, progress: dict[str, Any]) -> Checkpoint:
        """Everything needed to go on bit for bit; UserError if a loss is not finite."""
        self.averages.means()
        dataset, rng = self.given.dataset, self.given.rng
        if dataset is not None and self.recipe.collector is not None:
            dataset.sync()
            progress = {**progress, "replay_rows": dataset.num_rows}
        state: dict[str, Any] = {
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "averages": {"sums": self.averages.sums, "counts": self.averages.counts},
            "recipe": self.recipe.state_dict(),
        }
        progress = {**progress, "env_steps": self.recipe.env_steps, "numpy_rng": rng.bit_generator.state}
        return Checkpoint(self.networks.tensors(), state, progress)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's state back; the replay must already be cut to its rows."""
        state = checkpoint.state
        self.networks.load(checkpoint.weights)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.averages.sums = {k: v.to(self.device) for k, v in state["averages"]["sums"].items()}
        self.averages.counts = state["averages"]["counts"]
        self.recipe.load_state_dict(state["recipe"])
        self.given.rng.bit_generator.state = checkpoint.progress["numpy_rng"]
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda_rng"])
