"""The actor-critic as a player of real frames, with its recurrent state."""

import numpy as np
import torch
from torch import Tensor

from diffworld.agents.actions import draw_actions, random_actions
from diffworld.models.actor_critic import ActorCritic, PolicyState
from diffworld.runtime.frames import frames_from_bytes


class ActorCriticPolicy:
    """Acts on frames as the game gives them; `state` may be saved and put back."""

    def __init__(
        self,
        actor_critic: ActorCritic,
        rows: int,
        *,
        temperature: float = 1.0,
        epsilon: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """`epsilon` is the share of uniformly random actions, `temperature` divides the logits.

        Draws come from `generator` (of the network's device), or from torch's own.
        """
        self.actor_critic, self.temperature, self.epsilon = actor_critic, temperature, epsilon
        self.generator = generator
        self.state: PolicyState = actor_critic.zero_state(rows)

    @torch.no_grad()
    def act(self, frames: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Actions (N,), or (N, A), for frames (N, H, W, 3) uint8; rows marked in `fresh` (N,) begin an episode."""
        logits, space = self.see(frames, fresh), self.actor_critic.actions
        actions = draw_actions(space, logits, self.temperature, self.generator)
        if self.epsilon > 0:
            explore = torch.rand(len(actions), generator=self.generator, device=logits.device) < self.epsilon
            other = random_actions(space, len(actions), logits.device, self.generator)
            actions = torch.where(explore if space.is_discrete else explore[:, None], other, actions)
        return actions.cpu().numpy()

    @torch.no_grad()
    def see(self, frames: np.ndarray, fresh: np.ndarray) -> Tensor:
        """Logits (N, A) for what `act` is given, which is remembered."""
        device = self.state[0].device
        keep = torch.from_numpy(~fresh).to(device)[:, None]
        x = frames_from_bytes(torch.from_numpy(frames).to(device))
        state = (self.state[0] * keep, self.state[1] * keep)
        logits: Tensor
        logits, _, self.state = self.actor_critic(x, state)
        return logits
