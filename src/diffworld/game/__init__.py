"""A game is described here, once: `GameSpec`, with its `ActionSpace`.

The description stands in every data set and every run. Networks, players, the page and environments go by it, so that
nobody counts actions in a weight's shape or opens a game to ask.
"""

from diffworld.game.actions import MAX_ACTIONS, MOUSE_X, MOUSE_Y, ActionSpace, Choice, Encoded, Keys, numbered
from diffworld.game.spec import GameSpec

__all__ = ["MAX_ACTIONS", "MOUSE_X", "MOUSE_Y", "ActionSpace", "Choice", "Encoded", "GameSpec", "Keys", "numbered"]
