"""A recorded function gives what the plain one gives: on a GPU by replay, elsewhere because it is the plain one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffworld.config import RECIPE_NETWORKS, Config
from diffworld.runtime.cuda_graphs import GraphedCallable
from diffworld.training.optimiser import descend
from tests.noise_data import fill
from tests.tiny_training import world_trainer

THREE = RECIPE_NETWORKS["world"]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def noisy_square(x: Tensor) -> dict[str, Tensor]:
    return {"y": x.square() + torch.randn(x.shape, device=x.device)}


def test_on_the_cpu_it_is_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = GraphedCallable("square", noisy_square)
    torch.manual_seed(1)
    y = recorded(torch.ones(3))["y"]
    torch.manual_seed(1)
    assert torch.equal(y, noisy_square(torch.ones(3))["y"])
    assert not recorded.recordings and not capsys.readouterr().err


@on_gpu
def test_replays_see_new_inputs_and_go_on_drawing() -> None:
    recorded = GraphedCallable("square", noisy_square)
    inputs = [torch.randn(4, device="cuda") for _ in range(3)] + [torch.randn(5, device="cuda")]
    torch.manual_seed(1)
    plain = [noisy_square(x)["y"] for x in inputs]
    torch.manual_seed(1)
    replayed = [recorded(x)["y"] for x in inputs]
    for ours, theirs in zip(replayed, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(recorded.recordings) == 2, "one for each shape"


@on_gpu
def test_gradients_follow_the_weights() -> None:
    layer = nn.Linear(4, 2).cuda()
    gradients = descend(lambda x: {"loss": layer(x).square().sum()})
    recorded = GraphedCallable("layer", gradients, layer.parameters())
    for _ in range(3):
        x = torch.randn(3, 4, device="cuda")
        losses = recorded(x)
        found = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
        layer.zero_grad(set_to_none=True)
        expected = gradients(x)
        torch.testing.assert_close(losses, expected)
        torch.testing.assert_close(found, [p.grad for p in layer.parameters()])
        layer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for p in layer.parameters():
                p.mul_(1.5)


@on_gpu
def test_what_looks_at_values_runs_plain(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = GraphedCallable("sum", lambda x: {"y": x * x.sum().item()})
    for _ in range(2):
        assert torch.equal(recorded(torch.ones(2, device="cuda"))["y"], torch.full((2,), 2.0, device="cuda"))
    assert capsys.readouterr().err.count("sum runs without CUDA graphs") == 1


@on_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_trainer_with_graphs_learns_as_one_without(small: Config, tmp_path: Path, precision: str) -> None:
    """The same losses over some updates of each network, from the same seed."""
    config = replace(small, device="cuda", precision=precision, networks=THREE, compile="off")
    data = fill(tmp_path / "data", 64, height=12, width=12)
    means: dict[str, dict[str, float]] = {}
    for graphs in ("off", "on"):
        with world_trainer(config, data) as trainer:
            if graphs == "on":
                trainer.record()
            for name in THREE:
                for _ in range(4):
                    trainer.update(name)
            for name in ("denoiser", "reward_end") if graphs == "on" else ():
                assert trainer.optimisers[name]._graphed.recordings and not trainer.optimisers[name]._graphed.plain
            means[graphs] = trainer.averages.means()
    for name, value in means["off"].items():
        assert means["on"][name] == pytest.approx(value, rel=0.05, abs=0.02), name
