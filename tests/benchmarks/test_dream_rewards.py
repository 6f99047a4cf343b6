"""The benchmark of rewards in dreams: all ways share a denoiser, and the area is that under the ROC curve."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise import fill
from PIL import Image

from benchmarks import dream_rewards
from diffworld.config import Config
from diffworld.replay import Dataset


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1))
def test_area_is_the_chance_that_a_positive_scores_higher(positive: list[int], negative: list[int]) -> None:
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    scores = np.array(positive + negative, np.float32)
    labels = np.arange(len(scores)) < len(positive)
    assert dream_rewards.roc_area(scores, labels) == pytest.approx(np.mean(wins))


def test_all_ways_are_judged(small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, held = fill(tmp_path / "train", 60), fill(tmp_path / "held", 40)
    options = dream_rewards.Options(
        train, held, tmp_path, denoiser_updates=1, updates=1, further=2, seeds=2, windows=64
    )
    with Dataset.open(train) as dataset, Dataset.open(held) as held_out:
        config = replace(small, seed=3)
        trainers = dream_rewards.learn(config_of(config), dataset, options)
        denoisers, models = (
            [getattr(trainers[way].networks, part).state_dict() for way in dream_rewards.WAYS]
            for part in ("denoiser", "reward_end")
        )
        assert all(torch.equal(denoisers[0][k], denoisers[1][k]) for k in denoisers[0])
        for one, other in ((0, 1), (1, 2)):
            assert not all(torch.equal(models[one][k], models[other][k]) for k in models[0])
        dream_rewards.report(config, dataset, held_out, options)
    record = json.loads((tmp_path / "dream_rewards.json").read_text())
    for seed in record["seeds"]:
        for way in dream_rewards.WAYS:
            for shown in dream_rewards.SHOWN:
                assert 0 <= seed[way][shown]["roc_area"] <= 1
    assert "seed 1, half about rewards, half drawn" in capsys.readouterr().out
    with Image.open(tmp_path / "dream_rewards.png") as picture:
        assert picture.size[0] > 800


def config_of(config: Config) -> Config:
    """For the frames that `fill` writes."""
    return replace(config, environment=replace(config.environment, height=16, width=16))


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(fill(tmp_path / "train", 40))
    assert dream_rewards.main(["--data", data, "--held-out", data, "--out", str(tmp_path / "out")]) == 2
    assert "--held-out is --data itself" in capsys.readouterr().err
    assert dream_rewards.main(["--data", data, "--held-out", data, "--out", str(tmp_path), "--seeds", "0"]) == 2
    assert "--seeds is 0" in capsys.readouterr().err
