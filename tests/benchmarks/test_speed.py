"""Both ways of the speed benchmark do the same work, and each row has what its reader looks for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.speed import NUM_ACTIONS, Workers, draw, measure, published_way, random_data, rows

from diffworld.agent.actor_critic import ActorCriticConfig
from diffworld.config import PARTS, Config, EnvironmentConfig
from diffworld.training.trainer import Trainer
from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.reward_end import RewardEndConfig

LEVELS = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}
CONFIG = Config(
    device="cpu",
    precision="float32",
    compile="off",
    horizon=2,
    reward_end_window=3,
    environment=EnvironmentConfig(height=12, width=12),
    denoiser=DenoiserConfig(cond_channels=8, **LEVELS),  # type: ignore[arg-type]
    reward_end=RewardEndConfig(cond_channels=8, lstm_channels=8, **LEVELS),  # type: ignore[arg-type]
    actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,)),
)
SMALL = replace(CONFIG, **{f"{part}_updates": replace(CONFIG.updates(part), batch_size=2) for part in PARTS})  # type: ignore[arg-type]


@pytest.fixture
def trainers(tmp_path: Path) -> Iterator[tuple[Trainer, Trainer]]:
    with random_data(SMALL, tmp_path) as dataset:
        yield published_way(SMALL, dataset), Trainer(SMALL, NUM_ACTIONS, dataset, None)


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


def test_every_row_is_measured() -> None:
    workers = Workers(SMALL)
    names = [row.name for row in rows(SMALL)]
    results = [measure(workers, number, name, repetitions=1) for number, name in enumerate(names)]
    workers.close()
    for word, result in zip(("denoiser", "imagin", "player", "reward", "actor"), results, strict=True):
        assert word in result["name"]
        assert result["ratio"] == pytest.approx(result["published_s"] / result["ours_s"])
        assert result["published_s"] > 0 and result["peak_share"] > 0
    assert workers.machine["matrix_product_gflops"] > 0
