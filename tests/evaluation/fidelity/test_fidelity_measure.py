"""Measures land at the step they belong to, and means are over the rows that are left."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_fidelity import some_starts

from diffworld.evaluation.fidelity import frame_metrics
from diffworld.evaluation.fidelity import measure as measuring
from diffworld.evaluation.fidelity.drift import KnownColours
from diffworld.evaluation.fidelity.measure import by_step, flip_steps, measure

CPU = torch.device("cpu")


@given(st.integers(1, 5000))
def test_flip_is_measured_from_the_first_step_to_the_last(horizon: int) -> None:
    steps = flip_steps(horizon)
    assert steps[0] == 1 and steps[-1] == horizon and len(steps) <= 40
    assert all(a < b for a, b in zip(steps[:-1], steps[1:], strict=True))
    assert max(np.diff(np.log(steps)), default=0) < 0.7  # no factor of two left out


@pytest.mark.parametrize("chunk", [5, 256])
def test_every_number_is_that_of_its_own_frame(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_CHUNK", chunk)
    starts = some_starts(60, 9, 70, horizon=50)
    film = np.where(np.random.default_rng(0).random(starts.truth.shape) < 0.5, starts.truth, 40).astype(np.uint8)
    known = KnownColours([starts.truth[0]], CPU)
    seen = []
    values = measure(film, starts, known, CPU, advance=seen.append)
    assert sum(seen) == starts.valid.sum() == starts.lengths.sum()
    for name, numbers in values.items():
        wanted = starts.valid.copy()
        if name == "flip":
            wanted &= np.isin(np.arange(50) + 1, flip_steps(50))
            assert wanted.sum() < starts.valid.sum()
        assert (np.isnan(numbers) == ~wanted).all(), name
    for row, step in ((0, 0), (1, 30), (2, 3)):
        x, y = (torch.from_numpy(frames[row, step][None]) for frames in (film, starts.truth))
        assert values["psnr"][row, step] == pytest.approx(frame_metrics.psnr(x, y).item())
        assert values["ssim"][row, step] == pytest.approx(frame_metrics.ssim(x, y).item(), abs=1e-6)
        assert values["brightness"][row, step] == pytest.approx(film[row, step].mean(), rel=1e-5)
        error = abs(film[row, step].mean() - starts.truth[row, step].mean())
        assert values["brightness_error"][row, step] == pytest.approx(error, abs=1e-3)
        assert values["unseen_here"][row, step] == pytest.approx(known.unseen(x)[0].item())
    assert values["flip"][0, 0] == pytest.approx(frame_metrics.flip(film[:1, 0], starts.truth[:1, 0])[0])
    assert (values["unseen_anywhere"][starts.valid] <= values["unseen_here"][starts.valid]).all()


def test_the_truth_is_only_looked_at() -> None:
    starts = some_starts()
    assert measure(starts.truth, starts, None, CPU).keys() == {"brightness", "contrast"}


def test_a_perfect_film_has_the_best_of_everything() -> None:
    starts = some_starts()
    curves = {name: by_step(values) for name, values in measure(starts.truth.copy(), starts, None, CPU).items()}
    assert curves["psnr"]["mean"] == pytest.approx([frame_metrics.PSNR_MAX] * 12, abs=1e-3)
    assert curves["ssim"]["mean"] == pytest.approx([1] * 12, abs=1e-5)
    assert [v for v in curves["flip"]["mean"] if v is not None] == pytest.approx([0] * len(flip_steps(12)))
    assert curves["brightness_error"]["mean"] == [0] * 12


def test_means_and_deviations_are_over_the_rows_that_are_there() -> None:
    values = np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan]])
    assert by_step(values) == {"mean": [2.0, 5.0, None], "sd": [1.0, 0.0, None]}
