"""Figures show what was measured; a film is as long as its longest part."""

import contextlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_fidelity import some_starts, tiny_world

from diffworld.evaluation.fidelity.figures import draw_curves, draw_strip, pooled, write_film
from diffworld.evaluation.fidelity.reward_end import Judge
from diffworld.evaluation.fidelity.study import sampled_dreams, study_dreams


def nothing(name: str, unit: str, total: int) -> Any:
    return contextlib.nullcontext(lambda done: None)


def colours(path: Path) -> int:
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((pixels.max(-1) - pixels.min(-1) > 40).sum())


@pytest.mark.thorough
def test_more_dreams_mean_more_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.study.SPEED_SECONDS", 0.01)
    starts, (world, reward_end) = some_starts(20, 8, horizon=10), tiny_world()
    inks = []
    for counts in ((1,), (1, 2, 3)):
        dreams = sampled_dreams(world, counts, torch.float32)
        study = study_dreams(dreams, starts, Judge(reward_end), None, device=torch.device("cpu"), bar=nothing)
        draw_curves(study.record, tmp_path / "curves.png")
        inks.append(colours(tmp_path / "curves.png"))
        assert set(study.shown) == {"real game", "last frame repeated", *dreams}
    assert inks[1] > inks[0] * 1.2


@pytest.mark.thorough
def test_a_world_that_knows_no_rewards_has_no_panels_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.study.SPEED_SECONDS", 0.01)
    starts, (world, reward_end) = some_starts(20, 8, horizon=10), tiny_world()
    dreams, heights = sampled_dreams(world, [1], torch.float32), []
    for judge in (Judge(reward_end), None):
        study = study_dreams(dreams, starts, judge, None, device=torch.device("cpu"), bar=nothing)
        draw_curves(study.record, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            heights.append(image.height)
    assert heights[1] < 0.6 * heights[0]
    for film in study.record["films"].values():
        assert "by_step" in film and "reward" not in film and "end" not in film


def test_one_step_can_be_drawn_too(tmp_path: Path) -> None:
    starts, (_, reward_end) = some_starts(20, horizon=1, count=1), tiny_world()
    study = study_dreams({}, starts, Judge(reward_end), None, device=torch.device("cpu"), bar=nothing)
    draw_curves(study.record, tmp_path / "curves.png")
    draw_strip(study.shown, tmp_path / "strip.png")
    assert colours(tmp_path / "strip.png") > 0


def test_strip_and_film_take_films_of_different_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shown = {name: rng.integers(0, 256, (length, 16, 16, 3), dtype=np.uint8) for name, length in (("a", 7), ("b", 4))}
    draw_strip(shown, tmp_path / "strip.png")
    write_film(shown, tmp_path / "film.mp4")
    assert colours(tmp_path / "strip.png") > 1000
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert len(list(film.decode(video=0))) == 7


@given(st.lists(st.one_of(st.none(), st.floats(-5, 5)), max_size=700))
def test_pooling_keeps_the_first_steps_and_stays_within_the_values(values: list[float | None]) -> None:
    steps, means = pooled(values)
    numbers = [value for value in values if value is not None]
    assert len(steps) == len(means) <= len(numbers) and (np.diff(steps) > 0).all()
    if numbers:
        assert min(numbers) - 1e-9 <= means.min() and means.max() <= max(numbers) + 1e-9
    for i, value in enumerate(values[:12]):
        if value is not None:
            assert means[steps == i + 1] == pytest.approx(value)
