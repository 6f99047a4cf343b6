"""What a training takes of a GPU's memory, worked out on any machine before it begins.

An update is rehearsed on shapes alone (`shapes.py`). Measured on no GPU yet; a run of `python -m benchmarks.memory`
there compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from diffworld.config import Config, NetworkName, UpdateConfig
from diffworld.game import GameSpec
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Denoiser, shrink
from diffworld.models.reward_end import RewardEndModel
from diffworld.recipes import build_networks
from diffworld.runtime.memory import GIB, in_words
from diffworld.training.shapes import META, AsCompiled, AsOn, Live

WORKSPACE = 128 * 2**20
"""Bytes that the libraries of a GPU take to work in, about."""
FRAGMENTS = 0.05
"""Share of its blocks that torch's allocator cannot use, about."""
CONTEXT = GIB // 2
"""Bytes of a GPU that are taken before the first tensor, about."""


def loss(
    network: nn.Module,
    spec: GameSpec,
    rows: int,
    steps: int,
    factor: int = 1,
    each: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """What is to be learnt from so many steps of so many rows, on the default device; frames are `factor` times larger
    than the network sees them."""

    def window(length: int) -> tuple[Tensor, Tensor]:
        shape = (rows, length) if spec.actions.is_discrete else (rows, length, spec.actions.size)
        frames = torch.zeros(rows, length, 3, *spec.frame_size)
        return frames, torch.zeros(shape, dtype=torch.int64 if spec.actions.is_discrete else torch.uint8)

    def seen(frames: Tensor) -> Tensor:
        return frames if factor == 1 else shrink(frames, factor)

    if isinstance(network, Denoiser):
        frames, actions = window(network.config.context_frames + steps)
        mask = torch.ones(frames.shape[:2], dtype=torch.bool)
        if network.conditioning.upsampling_factor == 1:
            return network.loss(seen(frames), actions, mask, torch.randn, each=each)
        small = shrink(frames, network.conditioning.upsampling_factor)
        return network.loss(frames, None, mask, torch.randn, low_res=small, each=each)
    if isinstance(network, RewardEndModel):
        (frames, actions), numbers = window(steps + 1), torch.zeros(rows, steps + 1)
        return network.loss(seen(frames), actions, numbers, numbers.long(), numbers.bool()).total
    assert isinstance(network, ActorCritic)
    frames, state, outputs = window(steps)[0], network.zero_state(rows), list[Tensor]()
    for features in network.encode(frames.flatten(0, 1)).unflatten(0, (rows, steps)).unbind(1):
        logits, value, state = network.step(features, state)
        outputs += [logits.sum(), value.sum()]
    return torch.stack(outputs).sum()


@dataclass(frozen=True)
class Way:
    """How a run computes."""

    device: str
    """cpu or cuda."""
    dtype: torch.dtype
    compiled: bool

    def __str__(self) -> str:
        return str(self.dtype).removeprefix("torch.") + (", compiled" if self.compiled else "")


def update_bytes(network: nn.Module, loss: Callable[..., Tensor], stepwise: bool, batches: int, way: Way) -> int:
    """The most bytes that an update of a network on the device meta takes besides weights and moments.

    `loss(each)` is of one batch, of which there are `batches`; `stepwise` where each step is descended by itself.
    """
    compiled: list[AsCompiled] = []
    if way.compiled:
        compiled = [AsCompiled(module) for module in _compiled_modules(network)]

    def descend(share: Tensor) -> None:
        share.backward()

    def update(count: int) -> None:
        for _ in range(count):
            value = loss(descend if stepwise else None)
            if not stepwise:
                value.backward()

    live = Live()
    try:
        with torch.device(META), AsOn(way.device, way.dtype):
            if compiled:
                update(1)  # finds the graphs
                network.zero_grad(set_to_none=True)
            for each in compiled:
                each.live = live
            with live:
                update(min(2, batches))  # the second one adds to the gradients that there are
    finally:
        for each in compiled:
            del each.module.forward
        network.zero_grad(set_to_none=True)
    return live.most


def _compiled_modules(network: nn.Module) -> list[nn.Module]:
    """What `recipes.compile_networks` compiles of a network's update."""
    if isinstance(network, RewardEndModel):
        return [network.encoder]
    return [network.stages] if isinstance(network, ActorCritic) else [network]


@dataclass(frozen=True)
class Footprint:
    """Bytes of a GPU that a training takes."""

    kept: int
    """Weights and the optimisers' moments."""
    updates: dict[NetworkName, int]
    """The most that an update of each network takes besides, gradients that stay with others included."""

    @property
    def total(self) -> int:
        """As torch's allocator reserves them, about."""
        return self.of(max(self.updates, key=lambda name: self.updates[name]))

    def of(self, name: NetworkName) -> int:
        """Of a training of all networks while that one is updated."""
        return round((self.kept + self.updates[name]) * (1 + FRAGMENTS)) + WORKSPACE

    def __str__(self) -> str:
        busiest = max(self.updates, key=lambda name: self.updates[name])
        return (
            f"about {in_words(self.total)}, of which weights and moments {in_words(self.kept)} and an update of the "
            f"{busiest} {in_words(self.updates[busiest])}"
        )


def way_on_a_gpu(precision: str, compile: str) -> Way:
    """How a run with those settings computes on a GPU that knows bfloat16."""
    return Way("cuda", torch.float32 if precision == "float32" else torch.bfloat16, compile != "off")


@dataclass(frozen=True)
class Rehearsal:
    """A training whose updates are gone through on shapes alone."""

    config: Config
    spec: GameSpec
    way: Way

    @cached_property
    def footprint(self) -> Footprint:
        """What the training takes of a GPU. Its dreams, which keep nothing for a way back, are left out: they take less
        than their networks took to learn."""
        with META:
            networks = dict(build_networks(self.config, self.spec, META).items())
        needed = {name: self._update(name, network) for name, network in networks.items()}
        weights = {name: sum(p.nbytes for p in network.parameters()) for name, network in networks.items()}
        recorded = {name for name in networks if self._recorded(name)}  # their gradients stay
        updates = {name: most + sum(weights[x] for x in recorded - {name}) for name, most in needed.items()}
        return Footprint(3 * sum(weights.values()), updates)

    def fitting(self, limit: int) -> str:
        """What to change for the training to fit into `limit` bytes; empty where it fits.

        Smaller batches, more of them: their losses are summed, so the clip grows with their number.
        """
        said = []
        for name in self.footprint.updates:
            if self.footprint.of(name) <= limit:
                continue
            changed = self._smaller(name, limit)
            option = f"--{name.replace('_', '-')}"
            if changed is None:
                return f"{option}.channels with smaller numbers"
            said.append(
                f"{option}-updates.batch-size {changed.batch_size} {option}-updates.accumulate {changed.accumulate} "
                f"{option}-updates.clip {changed.clip:g}"
            )
        return " ".join(said)

    def _recorded(self, name: NetworkName) -> bool:
        """Whether an update is a CUDA graph; see `Trainer.record`."""
        can = self.way.device == "cuda" and self.way.compiled
        return can and name != "actor_critic" and self.config.updates(name).accumulate == 1

    def _update(self, name: NetworkName, network: nn.Module) -> int:
        updates, steps, factor, spec = self.config.updates(name), self.config.steps(name), self.config.factor, self.spec
        if name == "actor_critic":  # acts on frames as they are made small
            spec, factor = replace(spec, height=spec.height // factor, width=spec.width // factor), 1

        def of_batch(each: Callable[[Tensor], None] | None) -> Tensor:
            return loss(network, spec, updates.batch_size, steps, factor, each)

        stepwise = isinstance(network, Denoiser) and steps > 1
        return update_bytes(network, of_batch, stepwise, updates.accumulate, self.way)

    def _smaller(self, name: NetworkName, limit: int) -> UpdateConfig | None:
        """Batches of a network so small that they fit, as many more of them; None where no batch does."""
        updates = self.config.updates(name)
        sizes = [size for size in range(updates.batch_size - 1, 0, -1) if updates.batch_size % size == 0]
        for size in sizes:
            times = updates.batch_size // size
            changed = replace(
                updates, batch_size=size, accumulate=updates.accumulate * times, clip=updates.clip * times
            )
            config = replace(self.config, **{f"{name}_updates": changed})  # type: ignore[arg-type]
            if replace(self, config=config).footprint.of(name) <= limit:
                return changed
        return None
