"""N ranks that share a batch make the same updates as one process that has all of it, to rounding."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from diffworld.config import NETWORKS, Config, NetworkName
from diffworld.data import Dataset, frame_batch, sample_context_windows, sample_transition_windows, transition_batch
from diffworld.recipes import Materials, Part
from diffworld.runtime import ranks as ranks_module
from diffworld.runtime.ranks import GradientAverage, Ranks, joined
from diffworld.training.run import make_trainer
from diffworld.training.trainer import Trainer
from tests.noise_data import noise_spec
from tests.several_ranks import Started
from tests.tiny_training import noise_of, updates

ROWS, RATE = 6, 1e-2
EPS = 1e-3
"""Of AdamW, here: so gradients that are 0 but for rounding move nothing."""


@dataclass(frozen=True)
class Case:
    """One network's updates, and in which way they are made."""

    network: NetworkName
    updates: int = 4
    accumulate: int = 1
    record: bool = False
    """Gradients are averaged after the way back, as where a CUDA graph leaves them."""
    shard: bool = False
    uneven: bool = True
    """The means take into account that more rows count in one rank than in another. Where they do not, updates must
    differ: so the comparison can see it."""

    @property
    def recipe(self) -> str:
        return "shooter" if self.network == "upsampler" else "world"


NETWORKS_ALONE = {name: Case(name, updates=20) for name in NETWORKS}
CASES: dict[str, Case] = {
    **NETWORKS_ALONE,
    "accumulating": Case("denoiser", accumulate=2),
    "recorded": Case("denoiser", record=True),
    "sharded": Case("reward_end", shard=True),
    "careless denoiser": Case("denoiser", uneven=False),
    "careless reward/end": Case("reward_end", uneven=False),
}


class Shared:
    """Numbers of all rows, drawn in turn, of which each rank gets its own."""

    def __init__(self, ranks: Ranks) -> None:
        size = ROWS // ranks.count
        self.mine, self.drawn = slice(ranks.rank * size, (ranks.rank + 1) * size), 0

    def generator(self) -> torch.Generator:
        self.drawn += 1
        return torch.Generator().manual_seed(self.drawn)

    def randn(self, materials: Materials, shape: tuple[int, ...]) -> Tensor:
        return torch.randn((ROWS, *shape[1:]), generator=self.generator())[self.mine]

    def draw_index(self, probabilities: Tensor, generator: Any = None) -> Tensor:
        chance = torch.rand((ROWS, probabilities.shape[-1]), generator=self.generator())[self.mine]
        return (probabilities / -chance.log()).argmax(-1)

    def starts(self, dataset: Dataset, length: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Dreams begin in windows of their own; where they begin anew, always in the same one."""
        windows = frame_batch(sample_context_windows(dataset, np.random.default_rng(5), ROWS, length), CPU)
        calls = iter(range(1000))

        def draw(count: int) -> tuple[Tensor, Tensor]:
            first = next(calls) == 0
            rows = torch.arange(ROWS)[self.mine] if first else torch.zeros(count, dtype=torch.int64)
            assert len(rows) == count
            return windows.frames[rows], windows.actions[rows]

        return draw

    def batches(self, part: Part, dataset: Dataset, length: int) -> Callable[[], Any]:
        """Batches of windows, in which padding is not spread evenly over the rows."""
        rng, frames = np.random.default_rng(6), "rewards" not in part.kind._fields
        draw, batch_of = (
            (sample_context_windows, frame_batch) if frames else (sample_transition_windows, transition_batch)
        )

        def batch() -> Any:
            whole = batch_of(draw(dataset, rng, ROWS, length), CPU)
            whole.mask[1, 2:] = False
            whole.mask[0, -2:] = False
            return part.kind(*(tensor[self.mine] for tensor in whole))

        return batch


CPU = torch.device("cpu")


@contextmanager
def trainer_of(case: Case, config: Config, data: Path, ranks: Ranks) -> Iterator[Trainer]:
    """A trainer whose windows, noise and draws are parts of those that all ranks share."""
    config = updates(config, batch_size=ROWS, accumulate=case.accumulate, learning_rate=RATE, clip=1e3)
    actor_critic = replace(config.actor_critic, centre_features=True)
    config = replace(
        config,
        recipe=case.recipe,
        data=str(data),
        env="",
        networks=("denoiser", "upsampler") if case.recipe == "shooter" else ("denoiser", "reward_end", "actor_critic"),
        actor_critic=actor_critic,
        returns=replace(config.returns, scale_advantages=True, entropy_weight=0.1),
    )
    shared = Shared(ranks)
    with ExitStack() as stack:
        for target, own in (
            ("diffworld.recipes.recipe.Materials.randn", lambda given, shape: shared.randn(given, shape)),
            ("diffworld.world.imagination.draw_index", shared.draw_index),
            ("diffworld.agents.actions.draw_index", shared.draw_index),
        ):
            stack.enter_context(mock.patch(target, own))
        stack.enter_context(mock.patch.object(ranks_module, "BUCKET_BYTES", 4096))  # many, of a small network
        dataset = stack.enter_context(Dataset.open(data))
        trainer = make_trainer(config.of_rank(ranks.count), dataset.spec, dataset, None, ranks, case.shard)
        part = trainer.recipe.parts[case.network]
        if agent := getattr(trainer.recipe, "agent", None):
            agent.world.draw_starts = shared.starts(dataset, trainer.recipe.world.context_frames)  # type: ignore[union-attr]
        if case.network != "actor_critic":
            lessons = trainer.recipe.world.lessons  # type: ignore[union-attr]
            length = lessons[case.network].length if case.network in lessons else 4 + config.reward_end.window
            part = replace(part, batch=shared.batches(part, dataset, length))
        if not case.uneven:
            part = replace(part, counts=None)
        trainer.recipe.parts[case.network] = part
        if case.record:
            trainer.record()
        for group in trainer.optimisers[case.network].adamw.param_groups:
            group["eps"] = EPS
        yield trainer


Found = dict[str, Any]


def watch(average: GradientAverage) -> list[int]:
    """For each update, how many buckets are on their way by the time that the way back has ended."""
    early, finish = list[int](), average.finish

    def watched() -> None:
        early.append(len(average.sent))
        finish()

    average.finish = watched  # type: ignore[method-assign]
    return early


def train_each(config: Config, data: Path, results: Path) -> None:
    """The updates of each case; rank 0 keeps weights, logged numbers, and the optimisers' state."""
    with joined() as ranks:
        found: Found = {}
        for name, case in (CASES if ranks.count < 3 else NETWORKS_ALONE).items():
            with trainer_of(case, config, data, ranks) as trainer:
                network = case.network
                early = watch(trainer.optimisers[network].average)
                before = {key: value.clone() for key, value in trainer.networks.tensors().items()}
                logged = []
                for _ in range(case.updates):
                    trainer.update(network)
                    logged.append({key: float(total) for key, total in trainer.averages.sums.items()})
                buckets = len(trainer.optimisers[network].average.buckets)
                on_the_way = ranks.count > 1 and not case.record
                assert buckets > 1 and early == [buckets if on_the_way else 0] * case.updates
                state = trainer.optimisers[network].state_dict()
                if case.shard:  # what was saved in one piece is shared out again
                    trainer.optimisers[network].load_state_dict(ranks.broadcast(state))
                    again = trainer.optimisers[network].state_dict()
                    assert not ranks.first or str(again) == str(state)
                weights = {key: value.clone() for key, value in trainer.networks.tensors().items()}
            everywhere = ranks.all({key: value.numpy().tobytes() for key, value in weights.items()})
            assert all(other == everywhere[0] for other in everywhere), "ranks drift apart"
            found[name] = {"before": before, "weights": weights, "logged": logged, "state": state}
        if ranks.first:
            torch.save(found, results)


def trained(count: int, config: Config, data: Path, folder: Path) -> Found:
    results = folder / f"{count}.pt"
    started = Started(train_each, [(config, data, results)] * count, folder / str(count))
    assert started.wait() == [0] * count, "\n".join(started.errors())
    found: Found = torch.load(results, weights_only=True)
    return found


def apart(a: Found, b: Found) -> float:
    """How far weights are apart, as a share of how far they have come."""
    way = max((a["weights"][key] - a["before"][key]).abs().max().item() for key in a["weights"])
    return max((a["weights"][key] - b["weights"][key]).abs().max().item() for key in a["weights"]) / way


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.cluster)])
def test_ranks_make_the_updates_of_one_process(count: int, small: Config, tmp_path: Path) -> None:
    spec = noise_spec(height=12, width=12)
    data = noise_of(tmp_path / "data", spec, [7, 2, 12, 1, 9, 3])
    alone, many = (trained(ranks, small, data, tmp_path) for ranks in (1, count))
    for name, same in many.items():
        one = alone[name]
        print(f"{name}: {apart(one, same):.1e} of the way apart")
        if not CASES[name].uneven:
            assert apart(one, same) > 0.1, name
            continue
        assert apart(one, same) < 1e-4, name
        for x, y in zip(one["logged"], same["logged"], strict=True):
            assert x.keys() == y.keys()
            assert list(y.values()) == pytest.approx(list(x.values()), rel=1e-3, abs=1e-4), name
    if count == 2:
        sharded, whole = (found["sharded"]["state"]["adamw"] for found in (many, alone))
        assert sharded["param_groups"] == whole["param_groups"] and sharded["state"].keys() == whole["state"].keys()
