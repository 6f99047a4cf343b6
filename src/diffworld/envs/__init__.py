"""Real environments behind one small interface, and the one loop that plays them."""

from diffworld.envs.base import EnvironmentConfig, GameHistory, StepResult, VectorEnv, area_resize
from diffworld.envs.driver import (
    ActionCounter,
    BlindPolicy,
    Driver,
    EpisodeResult,
    FilmRecorder,
    Policy,
    RandomPolicy,
    play_episodes,
)
from diffworld.envs.make import ATARI_100K_GAMES, list_envs, make_env, usual_settings
