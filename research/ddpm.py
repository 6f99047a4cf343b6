"""A DDPM around the denoiser's own network: training loss and sampler as pure functions, and both in a `Denoiser`.

Ho et al. 2020 (arXiv:2006.11239) with the settings that DIAMOND's authors compare EDM with (Alonso et al. 2024,
section 5.1, and their published variant): 1000 diffusion steps, linear betas from 1e-4 to 0.02, the network predicts
the noise, neither its input nor its context is scaled, it is told c_noise = t / 1000, and frames are put on the
8-bit grid at the very end only. Steps are counted from 1 to 1000 here, so that t = 0 is the clean frame
and alpha_bar_0 = 1. (Counted from 0, c_noise is (t + 1) / 1000.)

**Offset noise.** The noise is eps = w z_channel + z_pixel, w = 0.3, with one z_channel per frame and channel. It is
not white, but it is Gaussian with one covariance C (1 + w^2 on the diagonal, w^2 between pixels of a channel), the
same at every t. Multiplying by the square root of C commutes with all of the forward process. So every coefficient
of the posterior q(x_s | x_t, x_0) is as for white noise, and only C takes the place of I. The sampler therefore
draws its start, and what it adds between steps, as eps is drawn in training. Noise that is only white would be a
sample of another process. The authors say, in a thread of their public repository,
that the paper's own comparison had no offset noise in either method: that is w = 0.

**Ancestral or DDIM.** Ho et al. sample from the posterior one step at a time. With few denoising steps the same
posterior is taken from t straight to an earlier s. Song et al. 2021 (DDIM, arXiv:2010.02502, equations 12 and 16)
write it with a factor eta on its standard deviation: eta = 1 is the DDPM's posterior, with the lower of the two
variances of Ho et al. (section 3.2), and the default here, for DDPM is what is to be compared. eta = 0 adds no noise
(DDIM), as EDM's Euler steps add none. With one denoising step there is no difference.

**Time steps.** N evenly spaced numbers from T down to 1, rounded, after Nichol and Dhariwal 2021 (arXiv:2102.09672,
section 4). As EDM's schedule does, they begin at the most noise and end at next to none. For N = 1 that rule gives no
number; t = 1000 would do nothing, since there the best guess at the noise is the input itself, so t = 500 is taken,
as the authors do. As with EDM, the input then is pure noise, less of it than the network has seen at that t.
"""

import math

import torch
from torch import Tensor

from diffworld.models.denoiser import Context, Denoiser, DenoiserNetwork
from diffworld.models.diffusion import SIGMA_DATA, Randn, expand, to_byte_grid
from diffworld.models.sampler import SamplerConfig

TIME_STEPS = 1000
BETA_FIRST, BETA_LAST = 1e-4, 0.02
ONE_STEP = 500
"""Where a frame is drawn from in one denoising step."""


def alpha_bars() -> Tensor:
    """Share of the frame in x_t's variance, alpha_bar_t, for t = 0 to 1000; float64 (1001,)."""
    betas = torch.linspace(BETA_FIRST, BETA_LAST, TIME_STEPS, dtype=torch.float64)
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def draw_noise(shape: tuple[int, ...], offset: float, randn: Randn) -> Tensor:
    """eps = offset z_channel + z_pixel for frames (B, C, H, W); z_pixel is drawn first."""
    pixel = randn(shape)
    return pixel if offset == 0 else pixel + offset * randn((*shape[:2], 1, 1))


def add_noise(frames: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (equation 4 of Ho et al.), t int64 (B,)."""
    a = alpha_bars().to(t.device)[t]
    return expand(a.sqrt().to(frames.dtype)) * frames + expand((1 - a).sqrt().to(frames.dtype)) * noise


def encode(network: DenoiserNetwork, frames: Tensor, actions: Tensor) -> Context:
    """Context from frames (B, n, 3, H, W) as they are, and actions (B, n)."""
    return network.encode(frames.flatten(1, 2) * SIGMA_DATA, actions, None)  # the network divides by SIGMA_DATA


def predict_noise(network: DenoiserNetwork, noisy: Tensor, t: Tensor, context: Context) -> Tensor:
    """The network's eps for x_t (B, 3, H, W) and t (B,), in float32 whatever the autocast."""
    modulated = network.modulate(t.to(noisy.dtype) / TIME_STEPS, context.condition)
    output: Tensor = network(noisy, context.features, modulated)
    return output.float()


def loss(
    network: DenoiserNetwork, frames: Tensor, actions: Tensor, mask: Tensor, t: Tensor, randn: Randn, offset: float
) -> Tensor:
    """Mean square error of the predicted noise (equation 14 of Ho et al.) over windows whose last frame is real.

    frames (B, n + 1, 3, H, W) in [-1, 1], the last to be predicted; actions (B, n + 1) int64; mask (B, n + 1);
    t (B,) int64 in 1 to 1000, drawn uniformly by the caller.
    """
    target = frames[:, -1]
    noise = draw_noise(tuple(target.shape), offset, randn)
    context = encode(network, frames[:, :-1], actions[:, :-1])
    output = predict_noise(network, add_noise(target, t, noise), t, context)
    row_loss = (output - noise).square().mean(dim=(1, 2, 3))
    return (row_loss * mask[:, -1]).sum() / mask[:, -1].sum().clamp(min=1)


def time_steps(count: int) -> list[int]:
    """The t of each denoising step, falling: 500 alone, or evenly spaced from 1000 to 1."""
    if not 1 <= count <= TIME_STEPS:
        raise ValueError(f"{count} denoising steps: take 1 to {TIME_STEPS}")
    return [ONE_STEP] if count == 1 else torch.linspace(TIME_STEPS, 1, count).round().int().tolist()


def posterior(t: int, s: int, eta: float) -> tuple[float, float, float]:
    """Coefficients (of x_0, of eps, of new noise) of x_s, drawn from q(x_s | x_t, x_0) where eta is 1.

    Equations 12 and 16 of Song et al.; x_0 and eps are one possible pair behind x_t. s = 0 gives x_0 itself.
    """
    a_t, a_s = alpha_bars()[[t, s]].tolist()
    deviation = eta * math.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
    return math.sqrt(a_s), math.sqrt(max(0.0, 1 - a_s - deviation**2)), deviation


@torch.no_grad()
def sample(
    network: DenoiserNetwork,
    frames: Tensor,
    actions: Tensor,
    randn: Randn,
    *,
    denoising_steps: int,
    offset: float,
    eta: float = 1.0,
) -> tuple[Tensor, list[Tensor]]:
    """Draw the frame after the context (B, n, 3, H, W) and actions (B, n).

    Returns it (B, 3, H, W), on the 8-bit grid, and the states before the first and after each step.
    """
    b, _, c, h, w = frames.shape
    context = encode(network, frames, actions)
    x = draw_noise((b, c, h, w), offset, randn)
    steps, trajectory = time_steps(denoising_steps), [x]
    for t, s in zip(steps, [*steps[1:], 0], strict=True):
        eps = predict_noise(network, x, torch.full((b,), t, device=x.device), context)
        a_t = alpha_bars()[t].item()
        x_0 = (x - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
        of_frame, of_eps, of_new = posterior(t, s, eta)
        x = of_frame * x_0 + of_eps * eps
        if of_new > 0:
            x = x + of_new * draw_noise((b, c, h, w), offset, randn)
        trajectory.append(x)
    return to_byte_grid(x), trajectory


class DdpmDenoiser(Denoiser):
    """A denoiser that draws frames as a DDPM; in a `FrameStack` it makes a world model.

    Of the sampler's settings only the number of denoising steps counts. The offset noise is `config.sigma_offset`.
    """

    eta = 1.0
    """Noise added between steps: 1 is DDPM, 0 DDIM."""

    def sample(  # type: ignore[override]
        self, frames: Tensor, actions: Tensor, config: SamplerConfig, randn: Randn
    ) -> tuple[Tensor, list[Tensor]]:
        """Draw the frame after the context; returns it (B, 3, H, W) and the denoising trajectory."""
        steps, offset = config.denoising_steps, self.config.sigma_offset
        return sample(self.network, frames, actions, randn, denoising_steps=steps, offset=offset, eta=self.eta)
