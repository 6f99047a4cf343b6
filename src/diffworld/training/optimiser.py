"""One network's optimiser: AdamW with linear warm-up, gradient clipping and accumulation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffworld.config import UpdateConfig
from diffworld.recipes import Losses
from diffworld.runtime.cuda_graphs import GraphedCallable
from diffworld.runtime.ranks import ALONE, GradientAverage, Ranks


def descend(losses: Callable[..., Losses], descended: bool = False) -> Callable[..., Losses]:
    """The same function, which also leaves the gradients of its 'loss' in the network; what it returns has none.

    `descended`: it has left them already, share by share.
    """

    def gradients(*inputs: Tensor) -> Losses:
        values = losses(*inputs)
        if not descended:
            values["loss"].backward()
        return {name: value.detach() for name, value in values.items()}

    return gradients


class Optimiser:
    """Updates a network, with the mean of its gradients over ranks; `steps` counts the updates done.

    With `shard` each rank keeps AdamW's moments of a part of the weights alone (ZeRO, Rajbhandari et al. 2020).
    `overlap` sends gradients on their way while others are still computed; not for gradients that a replay leaves.
    The gradients of a batch add up in so many `ways_back`.
    """

    def __init__(
        self,
        module: nn.Module,
        config: UpdateConfig,
        ranks: Ranks = ALONE,
        shard: bool = False,
        ways_back: int = 1,
    ) -> None:
        self.module, self.config, self.steps, self.ranks = module, config, 0, ranks
        self.average, self.overlap = GradientAverage(list(module.parameters()), ranks), ranks.several
        self.ways_back = ways_back
        self._source: GraphedCallable | None = None
        self._graphed = GraphedCallable("the optimiser", self._apply, warm_ups=0, shared=True)
        self._gradients: list[Tensor | None] = []
        decay, no_decay = split_parameters(module)
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
        how: dict[str, Any] = {"lr": config.learning_rate, "eps": 1e-8, "fused": True}
        self.adamw: Any
        self.sharded = shard and ranks.several
        if self.sharded:
            from torch.distributed.optim import ZeroRedundancyOptimizer  # seconds, and only few want it

            self.adamw = ZeroRedundancyOptimizer(groups, torch.optim.AdamW, **how)
        else:
            self.adamw = torch.optim.AdamW(groups, **how)

    def update(self, gradients: Callable[[], Losses]) -> dict[str, Tensor]:
        """One update from as many batches as are accumulated, their losses summed; returns what to log.

        `gradients` adds those of one batch to the network (see `descend`) and returns its losses.
        """
        logged: dict[str, Tensor] = {}
        for batch in range(self.config.accumulate):
            if self.overlap and batch == self.config.accumulate - 1:
                self.average.begin(self.ways_back)
            for name, value in gradients().items():
                logged[name] = logged.get(name, 0) + value / self.config.accumulate
        self.average.finish()
        warmth = min(1.0, self.steps / self.config.warmup) if self.config.warmup else 1.0
        for group in self.adamw.param_groups:
            group["lr"] = self.config.learning_rate * warmth
        logged |= self._step(self.config.learning_rate * warmth)
        self.adamw.zero_grad(set_to_none=True)
        self.steps += 1
        return logged

    def record(self, gradients: GraphedCallable) -> None:
        """Clip and step as a CUDA graph too, as soon as `gradients` come from one; not where ranks average them."""
        self._source = None if self.ranks.several else gradients

    def _step(self, rate: float) -> Losses:
        """Clip the gradients and step down them; their norm."""
        if self._source is None or self._source.plain or not self._source.recordings:
            return self._apply()
        found = [parameter.grad for parameter in self.module.parameters()]
        if [*map(id, found)] != [*map(id, self._gradients)]:  # the first time, which also makes AdamW's state
            self._gradients = found
            self._graphed.recordings.clear()
            return self._apply()
        logged = self._graphed(torch.full((), rate, device=self.adamw.param_groups[0]["params"][0].device))
        for group in self.adamw.param_groups:
            group["lr"], group["capturable"] = rate, False
        return logged

    def _apply(self, rate: Tensor | None = None) -> Losses:
        """The same, one kernel after another; in a recording at a `rate` () that replays look up."""
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip)
        if rate is not None:
            for group in self.adamw.param_groups:
                group["lr"], group["capturable"] = rate, True
        self.adamw.step()
        return {"grad_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on; of moments that are shared out, in rank 0 alone."""
        if self.sharded:
            self.adamw.consolidate_state_dict()
            if not self.ranks.first:
                return {}
        return {"adamw": self.adamw.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back."""
        adamw = state["adamw"]
        self.adamw.load_state_dict({**adamw, "state": dict(adamw["state"])})  # a copy: shared out, it is taken apart
        self._gradients = []  # moments lie elsewhere now
        if self.sharded:  # torch leaves on the processor what AdamW wants beside the weights
            for parameter, own in self.adamw.optim.state.items():
                own["step"] = own["step"].to(parameter.device)
        self.steps = state["steps"]


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with and without weight decay: none on biases, norms and embeddings."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    decay: list[nn.Parameter] = []
    no_decay: list[nn.Parameter] = []
    for p in module.parameters():
        (decay if p.ndim >= 2 and id(p) not in embeddings else no_decay).append(p)
    return decay, no_decay
