"""Both ways of the speed benchmark do the same work, and each row has what its reader looks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.measuring import random_data
from benchmarks.speed import draw, measure, our_way, published_way, rows
from diffworld.config import Config
from diffworld.training.trainer import Trainer


@pytest.fixture
def trainers(tmp_path: Path, small: Config) -> Iterator[tuple[Trainer, Trainer]]:
    with random_data(small, tmp_path) as dataset:
        yield published_way(small, dataset), our_way(small, dataset)


def test_both_ways_draw_the_same_frames(trainers: tuple[Trainer, Trainer]) -> None:
    published, ours = trainers
    for parameter in published.networks.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours.networks.denoiser.load_state_dict(published.networks.denoiser.state_dict())
    drawn = []
    for trainer in trainers:
        torch.manual_seed(1)
        drawn.append(draw(trainer, trainer.networks.denoiser, 3))
    assert drawn[0].shape == (3, 3, 12, 12)
    torch.testing.assert_close(*drawn, rtol=0, atol=2.1 / 255)  # a level of 8 bits, where rounding falls otherwise


def test_a_row_is_measured_both_ways(small: Config) -> None:
    result = measure(small, 2, repetitions=1)
    assert "player" in result["name"]
    assert result["ratio"] == pytest.approx(result["published_s"] / result["ours_s"])
    assert result["published_s"] > 0 and result["peak_share"] > 0
    assert result["machine"]["matrix_product_gflops"] > 0
    assert result["machine"]["published"] == "float32, not compiled"


def test_every_row_is_work_that_either_way_does(trainers: tuple[Trainer, Trainer], small: Config) -> None:
    named = [row.name for row in rows(small)]
    for word, name in zip(("denoiser", "imagin", "player", "reward", "actor"), named, strict=True):
        assert word in name
    for row in rows(small):
        for trainer in trainers:
            row.work(trainer)
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
