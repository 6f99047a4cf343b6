"""Dreams of the real actions, whatever draws the next frame, and how fast it is drawn."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffworld.evaluation.fidelity.starts import Film, Starts
from diffworld.models.denoiser import Denoiser
from diffworld.models.diffusion import Randn, frames_from_bytes, frames_to_bytes
from diffworld.models.sampler import SamplerConfig

NextFrame = Callable[[Tensor, Tensor, Randn], Tensor]
"""(context frames (B, n, 3, H, W) in [-1, 1], their actions (B, n), noise) -> next frames (B, 3, H, W).

All its random numbers come from the noise: what it is given is all that a frame depends on.
"""


def denoiser_frames(denoiser: Denoiser, sampler: SamplerConfig) -> NextFrame:
    """Next frames as the imagination draws them."""
    return lambda frames, actions, randn: denoiser.sample(frames, actions, sampler, randn)[0]


def step_noise(seed: int, step: int, device: torch.device) -> Randn:
    """Noise of one step. Samplers differ in how much they draw, but at each step all begin with the same."""
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + step)
    return lambda shape: torch.randn(shape, generator=generator, device=device)


@torch.no_grad()
def roll_out(
    next_frame: NextFrame,
    starts: Starts,
    device: torch.device,
    *,
    seed: int = 0,
    advance: Callable[[int], None] = lambda frames: None,
) -> Film:
    """Dream the real actions on from each start: a film uint8 (B, T, H, W, 3) like `starts.truth`.

    Dreams see their own frames only, go on past predicted ends, and stop where the row's real steps do: from
    there on the film is 0. `advance` is told the frames drawn at each step. `starts.truth` is not read.
    """
    n = starts.context_frames
    context = frames_from_bytes(torch.from_numpy(starts.context).to(device))
    actions = torch.from_numpy(starts.actions).to(device)
    film = np.zeros_like(starts.truth)
    for step, rows in enumerate(starts.rows.tolist()):
        context = context[:rows]  # rows are ordered by length: those that ended are the last
        frames = next_frame(context, actions[:rows, step : step + n], step_noise(seed, step, device))
        context = torch.cat([context[:, 1:], frames[:, None].to(context.dtype)], dim=1)
        film[:rows, step] = frames_to_bytes(frames).cpu().numpy()
        advance(rows)
    return film


@torch.no_grad()
def frames_per_second(
    next_frame: NextFrame, starts: Starts, device: torch.device, rows: int, seconds: float = 1.0
) -> float:
    """Frames drawn a second with `rows` dreams side by side, over about `seconds` after two calls of warm-up.

    Drawing the frame alone: not the reward/end model, not the copy to memory.
    """
    n = starts.context_frames
    context = frames_from_bytes(torch.from_numpy(starts.context[:rows]).to(device))
    actions = torch.from_numpy(starts.actions[:rows, :n]).to(device)
    randn = step_noise(0, 0, device)

    def draw(times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            frames = next_frame(context, actions, randn)
        frames.flatten()[0].item()  # waits until the device has drawn it
        return time.perf_counter() - begun

    draw(1)
    calls = min(1000, max(3, round(seconds / draw(1))))
    return len(context) * calls / draw(calls)
