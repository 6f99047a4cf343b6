"""The samplers against what can be computed by hand: schedules, an exact solution, counted draws."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffworld.models.sampler import SamplerConfig, karras_schedule, sample

Call = tuple[Tensor, float, int]


class Recording:
    """A denoise callable that keeps what it was asked; `answer` is D(x, sigma)."""

    def __init__(self, answer: Callable[[Tensor, float], Tensor]) -> None:
        self.answer, self.calls = answer, list[Call]()

    def __call__(self, x: Tensor, sigma: float, step: int) -> Tensor:
        self.calls.append((x, sigma, step))
        return self.answer(x, sigma)


class Noise:
    """Standard normal draws from a seed, kept."""

    def __init__(self) -> None:
        self.generator, self.drawn = torch.Generator().manual_seed(5), list[Tensor]()

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        self.drawn.append(torch.randn(shape, generator=self.generator))
        return self.drawn[-1]


def no_noise(shape: tuple[int, ...]) -> Tensor:
    raise AssertionError("nothing should be drawn")


@given(st.integers(2, 30), st.floats(0.001, 0.1), st.floats(0.5, 80), st.floats(1, 10))
def test_schedule(steps: int, low: float, high: float, rho: float) -> None:
    sigmas = karras_schedule(SamplerConfig(denoising_steps=steps, sigma_min=low, sigma_max=high, rho=rho))
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(high, rel=1e-4)
    assert sigmas[-2] == pytest.approx(low, rel=1e-2)
    assert sigmas[-1] == 0
    assert all(a > b for a, b in zip(sigmas[:-1], sigmas[1:], strict=True))
    roots = [sigma ** (1 / rho) for sigma in sigmas[:-1]]
    steps_between = [a - b for a, b in zip(roots[:-1], roots[1:], strict=True)]
    wanted = (high ** (1 / rho) - low ** (1 / rho)) / (steps - 1)
    assert steps_between == pytest.approx([wanted] * (steps - 1), rel=1e-2, abs=1e-5), "evenly spaced as roots"


def test_schedule_of_the_default_and_of_one_step() -> None:
    assert karras_schedule(SamplerConfig()) == pytest.approx([5, 0.283085, 0.002, 0], rel=1e-3)
    assert karras_schedule(SamplerConfig(denoising_steps=1)) == pytest.approx([5, 0])


@given(st.integers(1, 6), st.sampled_from([1, 2]), st.sampled_from([0.0, 2.0]), st.integers(0, 99))
def test_a_constant_target_is_reached(steps: int, order: int, churn: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target, start = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    config = SamplerConfig(denoising_steps=steps, order=order, churn=churn)
    denoise = Recording(lambda x, sigma: target)
    x, trajectory = sample(denoise, start, config, lambda shape: torch.randn(shape, generator=generator))
    torch.testing.assert_close(x, target)
    assert len(trajectory) == steps + 1 and trajectory[-1] is x


def test_start_is_not_scaled() -> None:
    start = torch.randn(1, 3, 4, 4)
    denoise = Recording(lambda x, sigma: x * 0.5)
    _, trajectory = sample(denoise, start, SamplerConfig(), no_noise)
    assert torch.equal(trajectory[0], start)
    assert torch.equal(denoise.calls[0][0], start)


def happens(initial_noise: float, steps: int) -> float:
    """How often a thing is drawn that comes once in ten frames, by a denoiser that knows exactly that."""

    def expected(x: Tensor, sigma: float) -> Tensor:
        """The mean of 0 (nine in ten) and 1 (one in ten), given x = either + sigma z."""
        return torch.sigmoid((2 * x - 1) / (2 * sigma**2) - math.log(9))

    start = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    config = SamplerConfig(denoising_steps=steps, sigma_max=5.0, initial_noise=initial_noise)
    drawn, _ = sample(Recording(expected), start, config, no_noise)
    assert ((drawn < 1e-6) | (drawn > 1 - 1e-6)).all()
    return (drawn > 0.5).double().mean().item()


@pytest.mark.parametrize(("steps", "often"), [(3, 0.026), (5, 0.054), (10, 0.07), (20, 0.086)])
def test_chance_is_drawn_from_as_much_noise_as_the_first_step_expects(steps: int, often: float) -> None:
    """The published start is five times quieter: the rare thing never comes."""
    assert happens(5.0, steps) == pytest.approx(often, abs=0.01)
    assert happens(1.0, steps) == 0


def test_one_euler_step_by_hand() -> None:
    start, config = torch.full((1, 3, 1, 1), 0.8), SamplerConfig(denoising_steps=2, sigma_max=4, sigma_min=1)
    _, trajectory = sample(Recording(lambda x, sigma: torch.zeros_like(x)), start, config, no_noise)
    # d = 0.8 / 4; from 4 to 1 is a step of -3
    assert trajectory[1].flatten().tolist() == pytest.approx([0.8 - 3 * 0.2] * 3, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_evaluations(steps: int) -> None:
    """Euler asks once a step; Heun twice, but for the last step, which is Euler."""
    sigmas = karras_schedule(SamplerConfig(denoising_steps=steps))
    start = torch.randn(1, 3, 2, 2)
    euler, heun = (Recording(lambda x, sigma: 0.5 * x) for _ in range(2))
    sample(euler, start, SamplerConfig(denoising_steps=steps), no_noise)
    assert [(sigma, step) for _, sigma, step in euler.calls] == [(sigmas[i], i) for i in range(steps)]
    sample(heun, start, SamplerConfig(denoising_steps=steps, order=2), no_noise)
    expected = []
    for i in range(steps):
        expected += [(sigmas[i], i)] + ([(sigmas[i + 1], i)] if i + 1 < steps else [])
    assert [(sigma, step) for _, sigma, step in heun.calls] == expected
    assert len(heun.calls) == 2 * steps - 1


def error_at_sigma_min(steps: int, order: int) -> float:
    """Distance from the exact solution, for the ideal denoiser of data ~ N(0, 0.5^2).

    D(x, sigma) = x s^2 / (s^2 + sigma^2), so dx/dsigma = x sigma / (s^2 + sigma^2) and
    x(sigma) is proportional to sqrt(s^2 + sigma^2).
    """
    data = 0.25
    config = SamplerConfig(denoising_steps=steps, order=order, sigma_min=0.1, sigma_max=5)
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    denoise = Recording(lambda x, sigma: x * data / (data + sigma**2))
    _, trajectory = sample(denoise, start, config, no_noise)
    sigmas = karras_schedule(config)
    exact = math.sqrt((data + sigmas[-2] ** 2) / (data + sigmas[0] ** 2))
    return abs(trajectory[-2].item() - exact)


def test_order_of_convergence() -> None:
    for steps in (16, 32, 64):
        assert error_at_sigma_min(steps, 2) < 0.2 * error_at_sigma_min(steps, 1)
    assert error_at_sigma_min(64, 1) / error_at_sigma_min(128, 1) == pytest.approx(2, rel=0.15)
    assert error_at_sigma_min(64, 2) / error_at_sigma_min(128, 2) == pytest.approx(4, rel=0.3)


def test_churn_draws_only_inside_its_range() -> None:
    config = SamplerConfig(denoising_steps=6, churn=3.0, churn_min=0.01, churn_max=2.0)
    inside = [0.01 <= sigma <= 2.0 for sigma in karras_schedule(config)[:-1]]
    assert 0 < sum(inside) < 6
    noise = Noise()
    sample(Recording(lambda x, sigma: 0 * x), torch.randn(2, 3, 4, 4), config, noise)
    assert [tuple(z.shape) for z in noise.drawn] == [(2, 3, 4, 4)] * sum(inside)


@pytest.mark.parametrize("churn", [0.6, 1.2, 100.0])
def test_churn_by_hand(churn: float) -> None:
    """Noise up to sigma_hat, D evaluated at sigma, the step taken from sigma_hat."""
    config = SamplerConfig(denoising_steps=3, churn=churn, churn_noise=0.9)
    start, noise = torch.randn(1, 3, 2, 2), Noise()
    denoise = Recording(lambda x, sigma: 0.3 * x)
    _, trajectory = sample(denoise, start, config, noise)
    gamma = min(churn / 3, math.sqrt(2) - 1)
    x = start
    for i, (sigma, following) in enumerate(zip(karras_schedule(config)[:-1], karras_schedule(config)[1:], strict=True)):
        raised = sigma * (1 + gamma)
        x = x + 0.9 * math.sqrt(raised**2 - sigma**2) * noise.drawn[i]
        torch.testing.assert_close(denoise.calls[i][0], x)
        assert denoise.calls[i][1] == sigma
        x = x + (x - 0.3 * x) / raised * (following - raised)
        torch.testing.assert_close(trajectory[i + 1], x)
    assert len(noise.drawn) == 3
