"""Who plays: a human, the agent, chance or a recording; and what the agent thinks, whoever plays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.agents.rollout import draw_actions
from diffworld.models.actor_critic import ActorCritic, PolicyState
from diffworld.runtime.errors import UserError

Player = Literal["human", "agent", "random", "recording"]


@dataclass(frozen=True, eq=False)
class PolicyOutput:
    """What the agent makes of the current frame."""

    logits: Tensor
    """(1, A), before any temperature."""
    probs: NDArray[np.float32]
    """(A,) its policy at temperature 1."""
    value: float
    entropy: float
    """Of the policy, in nats."""
    state: PolicyState
    """The LSTM after this frame."""


@torch.inference_mode()
def opinion(logits: Tensor, value: Tensor, state: PolicyState) -> PolicyOutput:
    """What the agent's answer to one more frame says: logits (1, A), value (1,), and the state after it."""
    log_probs = logits[0].log_softmax(-1).cpu().numpy()
    probs = np.exp(log_probs)
    return PolicyOutput(logits, probs, float(value), float(-(probs * log_probs).sum()), state)


@torch.inference_mode()
def burned_in(actor_critic: ActorCritic, frames: Tensor) -> PolicyState:
    """The agent's memory after the frames (1, n, 3, H, W) before the current one, as where dreams restart."""
    return actor_critic.burn_in(frames[:, :-1])


def choose_action(
    player: Player,
    num_actions: int,
    generator: torch.Generator,
    *,
    pressed: int,
    recorded: int | None = None,
    thinks: PolicyOutput | None = None,
    temperature: float = 1.0,
) -> int:
    """The action of whoever plays. `pressed` is the human's, `recorded` the recording's, `thinks` the agent's.

    UserError if a human presses what is no action.
    """
    if player == "recording" and recorded is not None:
        return recorded
    if player == "agent" and thinks is not None:
        with torch.inference_mode():
            return int(draw_actions(thinks.logits, temperature, generator))
    if player == "random":
        return int(torch.randint(num_actions, (1,), generator=generator, device=generator.device))
    if not 0 <= pressed < num_actions:
        raise UserError(f"there is no action {pressed}: choose one of 0..{num_actions - 1}")
    return pressed
