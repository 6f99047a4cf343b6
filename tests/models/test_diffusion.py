"""The diffusion formulas as identities, and the grid of 8 bits."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffworld.models.diffusion import (
    SIGMA_DATA,
    LogNormalSigma,
    add_noise,
    expand,
    precondition,
    to_byte_grid,
)
from diffworld.runtime.frames import frames_from_bytes, frames_to_bytes

LEVEL = 2 / 255
ALL_LEVELS = torch.arange(256, dtype=torch.uint8)


def seeded(seed: int = 0) -> Callable[[tuple[int, ...]], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


@given(st.floats(1e-3, 50), st.floats(0, 1))
def test_preconditioning_identities(sigma: float, offset: float) -> None:
    c = precondition(torch.tensor([sigma], dtype=torch.float64), offset)
    c_in, c_skip, c_out, c_noise = (value.item() for value in (c.c_in, c.c_skip, c.c_out, c.c_noise))
    data, noise = SIGMA_DATA**2, sigma**2 + offset**2
    assert c_in**2 * (data + noise) == pytest.approx(1), "the network's input has variance 1"
    # The network's target (x - c_skip y) / c_out has variance 1 too, and c_skip makes c_out smallest.
    assert (1 - c_skip) ** 2 * data + c_skip**2 * noise == pytest.approx(c_out**2)
    assert c_skip == pytest.approx(data * c_in**2)
    assert math.exp(4 * c_noise) == pytest.approx(math.sqrt(noise))


def test_preconditioning_is_row_by_row() -> None:
    sigma = torch.tensor([0.1, 1.0, 10.0])
    c = precondition(sigma, 0.3)
    for row in range(3):
        alone = precondition(sigma[row : row + 1], 0.3)
        assert c.c_out[row] == alone.c_out[0] and c.c_noise[row] == alone.c_noise[0]
    assert expand(c.c_in).shape == (3, 1, 1, 1)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=64))
def test_byte_grid_clamps_and_truncates(values: list[float]) -> None:
    x = torch.tensor(values)
    grid = to_byte_grid(x)
    clamped = x.clamp(-1, 1)
    assert (grid >= -1).all() and (grid <= 1).all()
    levels = (grid + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    below = clamped - grid
    assert (below > -1e-6).all(), "down, never up"
    assert (below < LEVEL + 1e-6).all(), "and by less than a level"


def test_byte_grid_at_the_edges() -> None:
    just_below = 1 - 1e-6
    x = torch.tensor([-5.0, -1.0, just_below, 1.0, 7.0])
    torch.testing.assert_close(to_byte_grid(x), torch.tensor([-1.0, -1.0, 1 - LEVEL, 1.0, 1.0]))


def test_truncation_is_for_denoised_frames_and_rounding_for_storing() -> None:
    """A stored frame put on the grid by truncation would darken; what the grid gives is stored as it is."""
    frames = frames_from_bytes(ALL_LEVELS[:, None].expand(256, 3).reshape(16, 16, 3))
    truncated = frames_to_bytes(to_byte_grid(frames)).int()
    lost = frames_to_bytes(frames).int() - truncated
    assert set(lost.unique().tolist()) <= {0, 1}
    x = torch.linspace(-1, 1, 5001)[None, None, :].expand(3, 1, 5001)
    wanted = ((x[0, 0] + 1) / 2 * 255).floor()
    assert torch.equal(frames_to_bytes(to_byte_grid(x))[0, :, 0].float(), wanted)


def test_added_noise_is_offset_then_pixel_noise() -> None:
    draws = [torch.randn(2, 3, 1, 1), torch.randn(2, 3, 4, 5)]
    left = list(draws)

    def randn(shape: tuple[int, ...]) -> Tensor:
        assert shape == left[0].shape
        return left.pop(0)

    x, sigma = torch.randn(2, 3, 4, 5), torch.tensor([0.5, 3.0])
    y = add_noise(x, sigma, 0.3, randn)
    expected = torch.stack([x[i] + 0.3 * draws[0][i] + sigma[i] * draws[1][i] for i in range(2)])
    torch.testing.assert_close(y, expected)
    assert not left


def test_moments_of_the_noise() -> None:
    sigma, offset = 0.4, 0.3
    x = torch.full((400, 3, 16, 16), 0.25)
    noise = add_noise(x, torch.full((400,), sigma), offset, seeded()) - x
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    channel_means = noise.mean(dim=(2, 3))
    assert channel_means.std().item() == pytest.approx(math.sqrt(offset**2 + sigma**2 / 256), rel=0.05)
    within = noise - channel_means[..., None, None]
    assert within.std().item() == pytest.approx(sigma, rel=0.01)


@given(st.floats(-3, 1), st.floats(0, 6), st.lists(st.floats(-6, 6), min_size=1, max_size=8))
def test_noise_levels_are_log_normal_and_clipped(mean: float, std: float, normals: list[float]) -> None:
    levels = LogNormalSigma(mean=mean, std=std)
    drawn = levels.draw(len(normals), lambda shape: torch.tensor(normals).reshape(shape))
    expected = [min(20.0, max(0.002, math.exp(mean + std * z))) for z in normals]
    assert drawn.tolist() == pytest.approx(expected, rel=1e-4)
    assert drawn.min() >= torch.tensor(levels.low) and drawn.max() <= levels.high


def test_median_noise_level() -> None:
    drawn = LogNormalSigma().draw(20_000, seeded())
    assert drawn.median().item() == pytest.approx(math.exp(-0.4), rel=0.05)
    assert drawn.log().std().item() == pytest.approx(1.2, rel=0.05)
