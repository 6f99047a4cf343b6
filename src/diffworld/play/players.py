"""Who plays: a human, the agent, chance or a recording; and what the agent thinks, whoever plays."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffworld.agents.actions import draw_actions, random_actions
from diffworld.game import MOUSE_X, MOUSE_Y, ActionSpace, Choice, Encoded
from diffworld.models.actor_critic import PolicyState

Player = Literal["human", "agent", "random", "replay", "recording"]
"""replay: what was done in the data from a dream's start on. recording: a recorded episode, frames and all."""


@dataclass(frozen=True, eq=False)
class PolicyOutput:
    """What the agent makes of the current frame."""

    logits: Tensor
    """(1, A), before any temperature."""
    probs: NDArray[np.float32]
    """(A,) its policy at temperature 1: of each value of a choice, and of each key's being down."""
    value: float
    entropy: float
    """Of the policy, in nats."""
    state: PolicyState
    """The LSTM after this frame."""


class HeldKeys:
    """The action that a human holds; a key that is down for less than a step still counts for one.

    Where the mouse moves, its way over a step counts, to the nearest bin; a held key of the same axis goes before it. A
    way too short for any bin is not lost: it counts on.
    """

    def __init__(self, space: ActionSpace) -> None:
        self._space = space
        self._way = {MOUSE_X: 0.0, MOUSE_Y: 0.0}
        self._idle = self._held = self._tapped = space.decode(space.idle)

    def hold(self, action: Any) -> None:
        """Another action is held from now on; UserError if it is none."""
        self._held = self._space.decode(action)
        self._tapped = self._with_taps()

    def look(self, right: float, down: float) -> None:
        """The mouse has moved so far on, in what its bins count in."""
        self._way[MOUSE_X] += right
        self._way[MOUSE_Y] += down

    def take(self) -> Encoded:
        """The action of the next step."""
        values, self._tapped = self._with_taps(), self._idle
        for axis, part in self._space.mouse.items():
            place = self._space.parts.index(part)
            nearest = int(np.abs(np.array(part.numbers) - self._way[axis]).argmin())
            if values[place] == self._idle[place]:
                values[place] = nearest
            if nearest != self._idle[place]:
                self._way[axis] = 0.0
        return self._space.encode(values)

    def _with_taps(self) -> list[Any]:
        parts = zip(self._space.parts, self._held, self._tapped, self._idle, strict=True)
        return [
            (tapped if held == idle else held) if isinstance(part, Choice) else held | tapped
            for part, held, tapped, idle in parts
        ]


@torch.inference_mode()
def choose_action(
    player: Player,
    space: ActionSpace,
    pressed: Any,
    thinks: PolicyOutput | None,
    temperature: float,
    generator: torch.Generator,
) -> Encoded:
    """The action of whoever plays; a human's is `pressed`. UserError if that is none."""
    if player == "agent" and thinks is not None:
        return space.check(draw_actions(space, thinks.logits, temperature, generator)[0].cpu().numpy())
    if player == "random":
        return space.check(random_actions(space, 1, generator.device, generator)[0].cpu().numpy())
    return space.encode(space.decode(pressed))
