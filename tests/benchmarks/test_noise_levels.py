"""The benchmark of noise levels: what its errors count, and that all ways are measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import fill
from PIL import Image

from benchmarks import noise_levels
from diffworld.config import Config
from diffworld.presets import preset
from diffworld.replay import Dataset


def test_errors_are_0_for_the_truth_and_1_where_all_that_moves_is_gone() -> None:
    truth = np.full((2, 9, 4, 4, 3), 50, np.uint8)
    for t in range(9):
        truth[:, t, t % 4, t // 4 % 4] = 200  # one pixel wanders over a still ground
    still = np.full_like(truth, 50)
    halfway = ((truth.astype(int) + still) // 2).astype(np.uint8)
    wrong_ground = np.where(truth == 50, 90, truth).astype(np.uint8)
    for film, moving, elsewhere in (
        (truth, 0.0, 0.0),
        (still, 1.0, 0.0),
        (halfway, 0.25, 0.0),
        (wrong_ground, 0.0, 15 * 40**2 / 150**2),  # 15 pixels of the ground for one that moves
    ):
        errors = noise_levels.dream_errors(film, truth)
        assert errors["moving"] == pytest.approx(np.full(9, moving))
        assert errors["elsewhere"] == pytest.approx(np.full(9, elsewhere))
    assert np.isnan(noise_levels.dream_errors(still, still)["moving"]).all()


def test_the_preset_learns_near_the_level_it_draws_with() -> None:
    config = preset("cpu")
    levels, first = config.denoiser.noise_levels, np.log(config.sampler.sigma_max)
    assert config.sampler.denoising_steps == 1
    assert abs(levels.mean - first) < levels.std
    assert levels.high > 2 * config.sampler.sigma_max  # nothing to speak of is clipped


def test_all_ways_are_measured(small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, held = fill(tmp_path / "train", 60), fill(tmp_path / "held", 40)
    options = noise_levels.Options(train, held, tmp_path, updates=2, seeds=2, starts=4, horizon=3)
    sized = replace(small, environment=replace(small.environment, height=16, width=16))
    with Dataset.open(train) as dataset, Dataset.open(held) as held_out:
        for updates, same in ((0, True), (2, False)):
            first, *others = (
                noise_levels.learn(sized, way, dataset, updates).networks.denoiser.state_dict()
                for way in noise_levels.WAYS.values()
            )
            for other in others:
                assert all(torch.equal(first[k], other[k]) for k in first) == same
        noise_levels.report(small, dataset, held_out, options)
    record = json.loads((tmp_path / "noise_levels.json").read_text())
    assert len(record["seeds"]) == 2
    for seed in record["seeds"]:
        for way in noise_levels.WAYS:
            assert len(seed[way]["moving"]) == 3
            assert all(error > 0 for error in seed[way]["moving"])
    assert "seed 1, around 80, drawn from 80: error where something moves" in capsys.readouterr().out
    for name in ("noise_levels.png", "noise_levels_strip.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 300


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(fill(tmp_path / "train", 40))
    assert noise_levels.main(["--data", data, "--held-out", data, "--out", str(tmp_path / "out")]) == 2
    assert "--held-out is --data itself" in capsys.readouterr().err
    assert noise_levels.main(["--data", data, "--held-out", data, "--out", str(tmp_path), "--seeds", "0"]) == 2
    assert "--seeds is 0" in capsys.readouterr().err
