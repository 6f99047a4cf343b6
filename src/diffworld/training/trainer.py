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

    def __init__(
        self, recipe: Recipe, given: Materials, dtype: torch.dtype = torch.float32, shard: bool = False
    ) -> None:
        """`shard`: let each rank keep a part of the optimisers' state alone."""
        self.recipe, self.given, self.device, self.dtype = recipe, given, given.device, dtype
        self.networks, self.ranks = recipe.networks, given.ranks
        self.optimisers = {
            name: Optimiser(part.network, part.updates, self.ranks, shard, part.ways_back)
            for name, part in recipe.parts.items()
        }
        self.gradients = {name: self._gradients(part) for name, part in recipe.parts.items()}
        self.averages = Averages()

    def update(self, name: NetworkName) -> None:
        """One update of one network, its losses counted in `averages`."""
        part, gradients, optimiser = self.recipe.parts[name], self.gradients[name], self.optimisers[name]
        self.given.seed_update(name, optimiser.steps)
        with lowering(f"--{name.replace('_', '-')}-updates.batch-size ({part.updates.batch_size * self.ranks.count})"):
            try:
                logged = self.ranks.means(optimiser.update(lambda: gradients(*self._batch(part))))
            except RuntimeError:  # such as no number among the probabilities, where another network has diverged
                self.averages.means()
                raise
        part.after(logged)
        self.averages.add(name, logged)

    def _batch(self, part: Part) -> tuple[Tensor, ...]:
        """A batch, and where ranks share an update, what the means of its losses divide by: so the mean over ranks is
        the mean over all their rows, however many of them count in each rank."""
        batch = part.batch()
        return (*batch, self.ranks.mean(part.counts(batch))) if part.counts and self.ranks.several else batch

    def _gradients(self, part: Part) -> Callable[..., Losses]:
        """A part's loss in the run's number format, with its gradients, of the tensors of `_batch`."""
        size, stepwise = len(part.kind._fields), part.ways_back > 1

        def each(share: Tensor) -> None:
            with autocast(self.device, torch.float32):  # the way back has the formats of the way there
                share.backward()

        how = {"each": each} if stepwise else {}

        def in_precision(*tensors: Tensor) -> Losses:
            with autocast(self.device, self.dtype):
                return part.loss(part.kind(*tensors[:size]), *tensors[size:], **how)

        return descend(in_precision, descended=stepwise)

    def record(self) -> None:
        """Replace what does the same kernels each time by CUDA graphs of them."""
        for name, part in self.recipe.parts.items():
            if part.same_kernels and part.updates.accumulate == 1:  # a replay sets gradients, it does not add to them
                graphed = GraphedCallable(
                    f"{name} update", self.gradients[name], part.network.parameters(), shared=True
                )
                self.gradients[name], self.optimisers[name].overlap = graphed, False
                self.optimisers[name].record(graphed)
            part.record()

    def checkpoint(self, progress: dict[str, Any]) -> Checkpoint:
        """Everything needed to go on bit for bit, in rank 0; UserError if a loss is not finite."""
        self.averages.means()
        dataset, rng = self.given.dataset, self.given.rng
        if dataset is not None and self.recipe.collector is not None:
            dataset.sync()
            progress = {**progress, "replay_rows": dataset.num_rows}
        own, *others = self.ranks.all(_on_the_processor(self.recipe.state_dict()))
        state: dict[str, Any] = {
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "averages": {"sums": self.averages.sums, "counts": self.averages.counts},
            "recipe": own,
            **({"other_ranks": others} if others else {}),
        }
        progress = {**progress, "env_steps": self.recipe.env_steps, "numpy_rng": rng.bit_generator.state}
        return Checkpoint(self.networks.tensors(), state, progress)

    def restore(self, checkpoint: Checkpoint) -> str:
        """Put a checkpoint's state back; the replay must already be cut to its rows.

        Returns what to say where another number of ranks wrote it; empty if it goes on bit for bit.
        """
        state = checkpoint.state
        self.networks.load(checkpoint.weights)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.averages.sums = {k: v.to(self.device) for k, v in state["averages"]["sums"].items()}
        self.averages.counts = state["averages"]["counts"]
        states, note = [state["recipe"], *state.get("other_ranks", [])], ""
        if len(states) == self.ranks.count:
            self.recipe.load_state_dict(states[self.ranks.rank])
        else:
            self.recipe.regroup(states)
            note = (
                f"note: {len(states)} rank{'s' * (len(states) > 1)} trained before, and now {self.ranks.count}: other "
                "windows and noise are drawn from here on, and dreams (or the baseline's games) begin anew"
            )
        self.given.rng.bit_generator.state = checkpoint.progress["numpy_rng"]
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda":
            for device, rng in enumerate(state["cuda_rng"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(rng, device)
        self.ranks.copy_from_first(list(self.networks.tensors().values()))
        return note

    def see_new_steps(self) -> None:
        """Let the other ranks learn from what rank 0 has collected, too."""
        dataset = self.given.dataset
        if dataset is not None and self.ranks.several:
            if self.ranks.first and not self.ranks.one_machine:
                dataset.sync()  # a disk of the network may keep back what is not synced
            dataset.refresh(self.ranks.broadcast(dataset.num_rows))


def _on_the_processor(state: Any) -> Any:
    """The tensors of a tree of dicts, lists and tuples where they can be handed to another process."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: _on_the_processor(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_on_the_processor(value) for value in state)
    return state
