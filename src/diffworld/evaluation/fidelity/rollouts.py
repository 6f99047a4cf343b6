"""Dreams of the real actions in any world model, and how fast it draws."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from diffworld.evaluation.fidelity.starts import Starts
from diffworld.models.diffusion import Randn
from diffworld.runtime.frames import Film, frames_from_bytes, to_numpy
from diffworld.world import DreamState, WorldModel
from diffworld.world.noise import generator_noise


def step_noise(seed: int, step: int, device: torch.device) -> Randn:
    """Noise of one step. Samplers differ in how much they draw, but at each step all begin with the same."""
    return generator_noise(torch.Generator(device).manual_seed(seed * 1_000_003 + step))


def begin(world: WorldModel[Any], starts: Starts, device: torch.device, rows: int) -> DreamState:
    """The first `rows` dreams, at their starts."""
    context = frames_from_bytes(torch.from_numpy(starts.context[:rows]).to(device))
    actions = torch.from_numpy(starts.actions[:rows, : starts.context_frames]).to(device)
    state: DreamState = world.start(context, actions)
    return state


@torch.no_grad()
def roll_out(
    world: WorldModel[Any],
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
    actions = torch.from_numpy(starts.actions[:, starts.context_frames - 1 :]).to(device)
    state, film = begin(world, starts, device, len(starts.lengths)), np.zeros_like(starts.truth)
    for step, rows in enumerate(starts.rows.tolist()):
        state = state.rows(slice(0, rows))  # rows are ordered by length: those that ended are the last
        state, prediction = world.step(state, actions[:rows, step], step_noise(seed, step, device))
        film[:rows, step] = to_numpy(prediction.frames)
        advance(rows)
    return film


@torch.no_grad()
def frames_per_second(
    world: WorldModel[Any], starts: Starts, device: torch.device, rows: int, seconds: float = 1.0
) -> float:
    """Frames drawn a second with `rows` dreams side by side, over about `seconds` after a step of warm-up.

    Steps of the world model alone: frames are not copied to memory.
    """
    state = begin(world, starts, device, rows)
    action = torch.from_numpy(starts.actions[:rows, starts.context_frames - 1]).to(device)
    randn = step_noise(0, 0, device)

    def draw(times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            _, prediction = world.step(state, action, randn)
        prediction.frames.flatten()[0].item()  # waits until the device has drawn it
        return time.perf_counter() - begun

    draw(1)
    calls = min(1000, max(3, round(seconds / draw(1))))
    return len(action) * calls / draw(calls)
