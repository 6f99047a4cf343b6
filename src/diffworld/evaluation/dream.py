"""The agent in its dream beside the real game, as films of the same length."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.agent.rollout import draw_actions
from diffworld.config import Config
from diffworld.networks import Networks
from diffworld.world_model.diffusion import frames_from_bytes, frames_to_bytes
from diffworld.world_model.imagination import Imagination

Film = NDArray[np.uint8]  # (T, H, W, 3)


@dataclass(frozen=True)
class DreamFilms:
    """What really happened, the dream of the same actions, and a dream in which the agent acts."""

    real: Film
    same_actions: Film
    own_actions: Film


@torch.no_grad()
def dream_beside_real(
    config: Config, networks: Networks, frames: Film, actions: list[int], start: int, length: int
) -> DreamFilms:
    """Dream on from the `start`-th frame of a real game (T, H, W, 3), for up to `length` frames.

    Both dreams begin with the real context frames, which every film shows first. Dreams go on past predicted
    ends, as the films are to be compared frame by frame.
    """
    n = config.denoiser.context_frames
    start = min(max(start, n - 1), len(frames) - 1)
    length = min(length, len(frames) - 1 - start)
    device = next(networks.denoiser.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    window = slice(start - n + 1, start + 1)
    context = frames_from_bytes(torch.from_numpy(frames[window]).to(device))[None]
    past = torch.tensor(actions[window], device=device)[None]
    imagination = Imagination(
        networks.denoiser,
        networks.reward_end,
        config.sampler,
        horizon=length + 1,
        draw_starts=lambda rows: (context.expand(rows, *context.shape[1:]), past.expand(rows, n)),
        randn=lambda shape: torch.randn(shape, generator=generator, device=device),
    )
    state = imagination.start(2)  # row 0 repeats the real actions, row 1 is the agent's own
    policy = networks.actor_critic.burn_in(state.frames[1:, :-1])
    dreamt = [frames_to_bytes(state.frames[:, t]).cpu().numpy() for t in range(n)]
    for t in range(start, start + length):
        logits, _, policy = networks.actor_critic(state.frames[1:, -1], policy)
        own = draw_actions(logits, config.evaluation.temperature, generator)
        chosen = torch.cat([torch.tensor([actions[t]], device=device), own])
        next_frames, _, _, state = imagination.predict(state, chosen)
        dreamt.append(frames_to_bytes(next_frames).cpu().numpy())
    both = np.stack(dreamt)
    return DreamFilms(frames[start - n + 1 : start + length + 1], both[:, 0], both[:, 1])
