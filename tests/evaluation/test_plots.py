"""The figure shows what the record has and does without what it has not."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffworld.evaluation.plots import CURVES, learning_curves, points, running_mean
from diffworld.evaluation.statistics import Interval


def ink(path: Path) -> int:
    """How many pixels of a figure are not grey, that is, belong to curves."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        colours = np.asarray(image.convert("RGB")).astype(int)
    return int((colours.max(axis=-1) - colours.min(axis=-1) > 40).sum())


def full_record(epochs: int) -> list[dict[str, Any]]:
    names = [curve.name for curve in CURVES if not curve.name.startswith("upsampler")]
    return [
        {
            "epoch": epoch,
            "env_steps": 100 * epoch,
            "denoiser_gradient_steps": 400 * epoch,
            **{name: math.sin(epoch / 9 + len(name)) + 1.5 for name in names},
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [{"epoch": 1}],
        [{"epoch": 1, "denoiser/loss": None}],
        [{"epoch": 1, "denoiser/loss": math.nan, "env_steps": None}],
    ],
)
def test_a_record_without_curves_still_gives_a_figure(tmp_path: Path, metrics: list[dict[str, Any]]) -> None:
    learning_curves(metrics, tmp_path / "curves.png")
    assert ink(tmp_path / "curves.png") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.thorough
def test_every_metric_adds_to_the_figure(tmp_path: Path) -> None:
    record = full_record(60)
    band = Interval(1.0, 0.5, 1.5)
    learning_curves(record, tmp_path / "all.png", dict.fromkeys(("random", "always $^", "blind", "agent"), band))
    learning_curves(record[:1], tmp_path / "one.png")
    some = [{k: v for k, v in entry.items() if not k.startswith("actor_critic/")} for entry in record]
    learning_curves(some, tmp_path / "some.png")
    assert ink(tmp_path / "all.png") > ink(tmp_path / "some.png") > ink(tmp_path / "one.png") > 0


def test_losses_of_zero_do_not_break_a_logarithmic_axis(tmp_path: Path) -> None:
    record = [{"epoch": epoch, "denoiser/loss": 0.0 if epoch == 2 else 1.0} for epoch in range(4)]
    learning_curves(record, tmp_path / "curves.png")
    assert ink(tmp_path / "curves.png") > 0


def test_the_random_band_is_drawn(tmp_path: Path) -> None:
    band = Interval(5.0, 4.0, 6.0)
    learning_curves([], tmp_path / "without.png")
    learning_curves([], tmp_path / "with.png", {"random": band})
    without, with_band = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ["without", "with"])
    changed = (without != with_band).any(axis=-1)
    assert changed.mean() > 0.05


def test_a_run_without_an_agent_has_no_empty_panels(tmp_path: Path) -> None:
    record = [{"epoch": epoch, "denoiser/loss": 1.0, "reward_end/loss_end": 0.5} for epoch in range(4)]
    learning_curves(record, tmp_path / "two.png")
    learning_curves(full_record(4), tmp_path / "six.png")
    with Image.open(tmp_path / "two.png") as two, Image.open(tmp_path / "six.png") as six:
        assert two.width / six.width == pytest.approx(2 / 3, abs=0.01)
        assert two.height / six.height == pytest.approx(1 / 2, abs=0.01)


def test_points_leave_out_what_was_not_measured() -> None:
    record: list[dict[str, Any]] = [
        {"epoch": 1, "x": 1.0},
        {"epoch": 2},
        {"epoch": 3, "x": None},
        {"epoch": 4, "x": math.nan},
        {"epoch": 5, "x": 2},
    ]
    np.testing.assert_array_equal(points(record, "epoch", "x"), [[1, 5], [1, 2]])
    assert points([], "epoch", "x").shape == (2, 0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 10))
def test_running_mean_is_the_mean_of_the_neighbours(values: list[float], width: int) -> None:
    expected = [np.mean(values[max(0, i - width) : i + width + 1]) for i in range(len(values))]
    np.testing.assert_allclose(running_mean(np.array(values), width), expected, atol=1e-9)
