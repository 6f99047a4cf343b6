"""Both ways of the speed benchmark do the same work, and each row has what its reader looks for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measuring import random_data
from benchmarks.speed import benchmarked, compile_predictions, draw, epoch, measure, our_way, published_way, rows
from diffworld.config import Config, preset
from diffworld.training.trainer import Trainer


@pytest.fixture
def trainers(tmp_path: Path, small: Config) -> Iterator[tuple[Trainer, Trainer]]:
    with random_data(small, tmp_path) as dataset:
        yield published_way(small, dataset), our_way(small, dataset)


@pytest.fixture
def shooter(small: Config) -> Config:
    """The benchmark's shooter with small networks and frames."""
    _, full = benchmarked("off", "float32", quick=True)
    sizes = {"denoiser": replace(small.denoiser, autoregressive_steps=1), "upsampler": small.upsampler}
    return replace(full, device="cpu", environment=small.environment, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [None, (1, 1), (3, 4)])
def test_both_ways_draw_the_same_frames(
    tmp_path: Path, small: Config, shooter: Config, steps: tuple[int, int] | None
) -> None:
    config, drawn = shooter if steps else small, []
    with random_data(config, tmp_path) as dataset:
        published, ours = published_way(config, dataset), our_way(config, dataset)
        for _, network in published.networks.items():
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        ours.networks.load(published.networks.tensors())
        for trainer in (published, ours):
            torch.manual_seed(1)
            world = trainer.recipe.world
            assert world is not None
            if steps:
                each = zip(world.samplers, steps, strict=True)
                world = world.with_samplers(tuple(replace(s, denoising_steps=n) for s, n in each))
            drawn.append(draw(trainer, world, 3))
    assert drawn[0].shape == (3, 3, 12, 12) and drawn[0].std() > 0.01
    torch.testing.assert_close(*drawn, rtol=0, atol=2.1 / 255)  # a level of 8 bits, where rounding falls otherwise


def test_compiled_predictions_are_those_of_the_published_way(trainers: tuple[Trainer, Trainer]) -> None:
    """With a compiler that counts in place of torch's, which takes minutes: dreams go through it, updates do not."""
    trainer, called = trainers[0], [0]

    def compiler(function: Any) -> Any:
        def counting(*inputs: Any) -> Any:
            called[0] += 1
            return function(*inputs)

        return counting

    def learnt() -> float:
        torch.manual_seed(3)
        trainer.update("actor_critic")
        return float(trainer.averages.sums.pop("actor_critic/imagined_return"))

    networks, weights = trainer.networks, {k: v.clone() for k, v in trainer.networks.tensors().items()}
    rng = trainer.given.rng.bit_generator.state
    plain = learnt()
    networks.load(weights)
    trainer.given.rng.bit_generator.state, trainer.recipe.agent.state = rng, None  # type: ignore[attr-defined]
    assert networks.denoiser is not None and networks.reward_end is not None
    networks.denoiser.compiled.clear()  # type: ignore[attr-defined]
    compile_predictions(networks, compiler)
    assert learnt() == plain and called[0] >= 2 * 2, "both predictions of two steps"
    before = called[0]
    trainer.update("reward_end")
    trainer.update("denoiser")
    assert called[0] == before


def test_updates_of_an_epoch_are_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("denoiser update", "imagined frame", "reward/end update", "actor-critic update, 15 imagined steps")
    found = [{"name": name, "published_s": 1.0, "ours_s": 0.25} for name in names]
    (row,) = epoch(preset("atari100k"), found)
    assert (row["published_s"], row["ours_s"], row["ratio"]) == (1200, 300, 4) and "4.00x" in capsys.readouterr().out
    assert epoch(preset("atari100k"), found[:3]) == []


@pytest.mark.thorough
def test_a_row_is_measured_both_ways(small: Config) -> None:
    result = measure((small, small), 2, repetitions=1)
    assert "player" in result["name"]
    assert result["ratio"] == pytest.approx(result["published_s"] / result["ours_s"])
    assert result["published_s"] > 0 and result["peak_share"] > 0
    assert result["machine"]["matrix_product_gflops"] > 0
    assert result["machine"]["published"] == "float32, not compiled"


def test_every_row_is_work_that_either_way_does(
    trainers: tuple[Trainer, Trainer], small: Config, shooter: Config, tmp_path: Path
) -> None:
    named = [row.name for row in rows(small, shooter)]
    words = ("denoiser", "imagin", "player", "reward", "actor", "fast", "quality")
    for word, name in zip(words, named, strict=True):
        assert word in name
    for row in rows(small, shooter)[:-2]:
        for trainer in trainers:
            row.work(trainer)
    for row in rows(small, shooter)[-2:]:
        with random_data(shooter, tmp_path / row.name[:20]) as dataset:
            for way in (published_way, our_way):
                row.work(way(shooter, dataset))
    for trainer in trainers:
        assert trainer.averages.counts.keys() >= {"denoiser/loss", "reward_end/loss", "actor_critic/loss"}


def test_dreams_of_untrained_networks_end_as_often_as_in_real_runs(trainers: tuple[Trainer, Trainer]) -> None:
    world = trainers[1].recipe.world
    assert world is not None
    state = world.start(
        torch.rand(5, world.context_frames, 3, 12, 12) * 2 - 1, torch.zeros(5, world.context_frames).long()
    )
    _, prediction = world.step(state, torch.zeros(5).long(), torch.randn)
    assert prediction.end_logits is not None
    torch.testing.assert_close(prediction.end_logits.softmax(-1)[:, 1], torch.full((5,), 1 / 50), rtol=0.2, atol=0)
