"""How faithful a dream stays to the game: the same actions in both, compared step by step.

Everything that is compared is a film, uint8 (B, T, H, W, 3): the real game, a dream, a baseline. How a film
came about does not matter to the measures. docs/fidelity.md explains every number.
"""

from collections.abc import Callable

Advance = Callable[[int], None]
"""What is told how many frames are done, with each part of them."""


def unheard(frames: int) -> None:
    """Where nobody asked how far it is."""
