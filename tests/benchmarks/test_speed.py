"""Both ways of the speed benchmark do the same work, and each row has what its reader looks for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.measuring import random_data, untrained
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


def test_every_row_is_measured(small: Config) -> None:
    results = [measure(small, number, repetitions=1) for number in range(len(rows(small)))]
    for word, result in zip(("denoiser", "imagin", "player", "reward", "actor"), results, strict=True):
        assert word in result["name"]
        assert result["ratio"] == pytest.approx(result["published_s"] / result["ours_s"])
        assert result["published_s"] > 0 and result["peak_share"] > 0
        assert result["machine"]["matrix_product_gflops"] > 0
        assert result["machine"]["published"] == "float32, not compiled"


def test_dreams_of_untrained_networks_hardly_ever_end(small: Config, tmp_path: Path) -> None:
    config = replace(small, horizon=20)
    with random_data(config, tmp_path) as dataset:
        trainer = untrained(config, dataset)
        trainer.update("actor_critic")
    assert trainer.averages.means()["actor_critic/imagined_end"] == 0
