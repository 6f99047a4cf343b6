"""The dream beside the real game, as films of the same length."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffworld.agents.actions import draw_actions
from diffworld.models.actor_critic import ActorCritic
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film, frames_from_bytes, to_numpy
from diffworld.world import WorldModel
from diffworld.world.noise import generator_noise


@dataclass(frozen=True)
class DreamFilms:
    """What really happened, the dream of the same actions, and a dream in which the agent acts (None without one)."""

    real: Film
    same_actions: Film
    own_actions: Film | None


@torch.no_grad()
def dream_beside_real(
    world: WorldModel[Any],
    actor_critic: ActorCritic | None,
    frames: Film,
    actions: NDArray[Any],
    start: int,
    length: int,
    temperature: float = 1.0,
) -> DreamFilms:
    """Dream on from the `start`-th frame of a real game (T, H, W, 3) and its actions (T, ...), up to `length` frames.

    Both dreams begin with the real context frames, which every film shows first. Dreams go on past predicted
    ends, as the films are to be compared frame by frame. UserError if the game is too short for that.
    """
    n, device = world.context_frames, world.device
    start = max(start, n - 1)
    length = min(length, len(frames) - 1 - start)
    if length < 1:
        raise UserError(f"the game has {len(frames)} frames, too few to dream on from {n} of them")
    generator = torch.Generator(device).manual_seed(0)
    window = slice(start - n + 1, start + 1)
    context = frames_from_bytes(torch.from_numpy(frames[window]).to(device))[None]
    past = torch.from_numpy(actions[window]).to(device)[None]
    rows = 1 if actor_critic is None else 2  # row 0 repeats the real actions, row 1 is the agent's own
    context = context.expand(rows, *context.shape[1:])
    state = world.start(context, past.expand(rows, *past.shape[1:]))
    policy = None if actor_critic is None else actor_critic.burn_in(context[1:, :-1])
    dreamt = [to_numpy(context[:, t]) for t in range(n)]
    for t in range(start, start + length):
        chosen = torch.from_numpy(actions[t : t + 1]).to(device)
        if actor_critic is not None and policy is not None:
            logits, _, policy = actor_critic(state.frame[1:], policy)
            own = draw_actions(actor_critic.actions, logits, temperature, generator)
            chosen = torch.cat([chosen, own])
        state, prediction = world.step(state, chosen, generator_noise(generator))
        dreamt.append(to_numpy(prediction.frames))
    films = np.stack(dreamt, axis=1)
    return DreamFilms(frames[start - n + 1 : start + length + 1], films[0], films[1] if rows > 1 else None)
