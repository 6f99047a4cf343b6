"""Our batched PSNR and SSIM are scikit-image's; FLIP is NVIDIA's, on the display that the docs name."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.evaluation.fidelity import frame_metrics as metrics
from diffworld.runtime.errors import UserError


def pair(seed: int, count: int, height: int, width: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images and noisy ones."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, width) * rng.random((count, height, 1))
    true = np.stack([ramp, ramp[:, ::-1], 255 - ramp], axis=-1) * rng.random((count, 1, 1, 3))
    test = true + rng.normal(0, noise, true.shape)
    return (np.clip(x, 0, 255).round().astype(np.uint8) for x in (test, true))  # type: ignore[return-value]


sides = st.integers(1, 40)


@settings(max_examples=25)
@given(st.integers(0, 99), st.integers(11, 40), st.integers(11, 40), st.floats(0.6, 80))
def test_psnr_and_ssim_are_those_of_scikit_image(seed: int, height: int, width: int, noise: float) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # here: it takes two seconds

    test, true = pair(seed, 3, height, width, noise)
    psnr, ssim = (f(torch.from_numpy(test), torch.from_numpy(true)) for f in (metrics.psnr, metrics.ssim))
    for i in range(3):
        expected = peak_signal_noise_ratio(true[i], test[i], data_range=255)
        assert psnr[i].item() == pytest.approx(min(expected, metrics.PSNR_MAX), abs=1e-3)
        expected = structural_similarity(
            true[i],
            test[i],
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ssim[i].item() == pytest.approx(expected, abs=2e-4)


@given(sides, sides)
def test_the_ssim_window_is_odd_and_the_largest_that_fits(height: int, width: int) -> None:
    side = metrics.ssim_window(height, width)
    assert side % 2 == 1 and side <= min(11, height, width)
    assert side == 11 or side + 2 > min(height, width)


@given(sides, sides)
def test_equal_frames_of_any_size_are_as_close_as_can_be(height: int, width: int) -> None:
    frames = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    assert metrics.psnr(frames, frames) == pytest.approx(metrics.PSNR_MAX, abs=1e-4)
    assert metrics.ssim(frames, frames) == pytest.approx(1.0, abs=1e-5)


def test_more_noise_is_worse_by_every_measure() -> None:
    rows = []
    for noise in (0, 4, 16, 64):
        test, true = pair(0, 4, 32, 32, noise)
        x, y = torch.from_numpy(test), torch.from_numpy(true)
        rows.append([metrics.psnr(x, y).mean(), -metrics.flip(test, true).mean(), metrics.ssim(x, y).mean()])
    assert (np.diff(np.array(rows), axis=0) < 0).all()


def test_flip_of_equal_frames_is_0_and_of_black_and_white_near_1() -> None:
    black = np.zeros((1, 64, 64, 3), np.uint8)
    assert metrics.flip(black, black) == pytest.approx(0)
    assert metrics.flip(black, black + 255) > 0.9


@pytest.mark.parametrize(("height", "times"), [(64, 4), (32, 8), (30, 9), (256, 1), (300, 1)])
def test_flip_takes_frames_to_be_shown_at_least_256_pixels_high(height: int, times: int) -> None:
    assert metrics.flip_enlargement(height) == times
    assert metrics.flip_ppd(height) == pytest.approx(67 / times)


def test_flip_is_close_to_that_of_the_frame_really_enlarged() -> None:
    import flip_evaluator

    test, true = pair(3, 1, 32, 32, 20)
    big = [np.kron(x[0], np.ones((8, 8, 1))).astype(np.float32) / 255 for x in (true, test)]
    expected = flip_evaluator.evaluate(*big, "LDR", True, False, True, {"ppd": 67.0})[1]
    assert metrics.flip(test, true)[0] == pytest.approx(expected, rel=0.25)


def test_a_missing_flip_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.require_flip()
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    with pytest.raises(UserError, match=r"pip install 'diffworld\[fidelity\]'"):
        metrics.require_flip()
