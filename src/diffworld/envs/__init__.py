"""Real environments behind one small interface: Atari, MinAtar, any Gymnasium id."""

from diffworld.envs.base import GameHistory, StepResult, VectorEnv, area_resize
from diffworld.envs.make import ATARI_100K_GAMES, list_envs, make_env

__all__ = [
    "ATARI_100K_GAMES",
    "GameHistory",
    "StepResult",
    "VectorEnv",
    "area_resize",
    "list_envs",
    "make_env",
]
