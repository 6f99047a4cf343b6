"""Counter-Strike as it was published: what one can do in it, and how fast it goes."""

import itertools

from diffworld.game.actions import MOUSE_X, MOUSE_Y, ActionSpace, Choice, Keys
from diffworld.game.spec import GameSpec

KEYS = ("w", "a", "s", "d", "space", "ctrl", "shift", "1", "2", "3", "r", "left click", "right click")
WEAPONS = ("1", "2", "3")
ACTIONS = ActionSpace(
    (
        Keys(KEYS, (("w", "s"), ("a", "d"), *itertools.combinations(WEAPONS, 2))),
        *(
            Choice(axis, tuple(map(str, [*(-way for way in reversed(ways)), 0, *ways])))
            for axis, ways in (
                (MOUSE_X, (2, 4, 10, 20, 30, 60, 100, 200, 300, 500, 1000)),
                (MOUSE_Y, (2, 4, 10, 20, 50, 100, 200)),
            )
        ),
    )
)
"""51 numbers."""
ARROWS = {
    f"{MOUSE_X} -60": "ArrowLeft",
    f"{MOUSE_X} 60": "ArrowRight",
    f"{MOUSE_Y} -50": "ArrowUp",
    f"{MOUSE_Y} 50": "ArrowDown",
}
STEPS_PER_SECOND = 16.0
FRAME_SIZE = 150, 280
"""(height, width) of the published frames."""


def counter_strike(height: int = FRAME_SIZE[0], width: int = FRAME_SIZE[1]) -> GameSpec:
    """The game with frames of that size, as recordings of it are described."""
    return GameSpec("counter-strike", height, width, ACTIONS, STEPS_PER_SECOND, keys=ARROWS, rewards=False, ends=False)
