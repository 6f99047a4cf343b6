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
from tiny_fidelity import some_starts, tiny_networks

from diffworld.evaluation.fidelity.figures import draw_curves, draw_strip, pooled, write_film
from diffworld.evaluation.fidelity.rollouts import denoiser_frames
from diffworld.evaluation.fidelity.study import Dream, study_dreams
from diffworld.models.sampler import SamplerConfig


def nothing(name: str, unit: str, total: int) -> Any:
    return contextlib.nullcontext(lambda done: None)


def colours(path: Path) -> int:
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((pixels.max(-1) - pixels.min(-1) > 40).sum())


def test_more_dreams_mean_more_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.fidelity.study.SPEED_SECONDS", 0.01)
    starts, networks = some_starts(20, 8, horizon=10), tiny_networks()
    inks = []
    for counts in ((1,), (1, 2, 3)):
        dreams = {f"{n} steps": Dream(denoiser_frames(networks.denoiser, SamplerConfig(n))) for n in counts}
        study = study_dreams(dreams, starts, networks.reward_end, None, device=torch.device("cpu"), bar=nothing)
        draw_curves(study.record, tmp_path / "curves.png")
        inks.append(colours(tmp_path / "curves.png"))
        assert set(study.shown) == {"real game", "last frame repeated", *dreams}
    assert inks[1] > inks[0] * 1.2


def test_one_step_can_be_drawn_too(tmp_path: Path) -> None:
    starts, networks = some_starts(20, horizon=1, count=1), tiny_networks()
    study = study_dreams({}, starts, networks.reward_end, None, device=torch.device("cpu"), bar=nothing)
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
