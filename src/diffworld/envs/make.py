"""From an environment's id to the environment."""

from __future__ import annotations

from importlib import import_module

from diffworld.envs.base import EnvironmentConfig, VectorEnv
from diffworld.game import GameSpec
from diffworld.runtime.checked import checked, read_as
from diffworld.runtime.errors import UserError

ATARI_100K_GAMES = tuple(
    """
    Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand CrazyClimber DemonAttack
    Freeway Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster MsPacman Pong PrivateEye Qbert RoadRunner
    Seaquest UpNDown
    """.split()
)
"""The 26 games of the Atari 100k benchmark (Kaiser et al. 2020, arXiv 1903.00374)."""


def make_env(env_id: str, settings: EnvironmentConfig, num_envs: int = 1) -> VectorEnv:
    """Makes `num_envs` rows of an environment; reset every row before its first step.

    env_id: "atari/<Game>" (camel case, as in ATARI_100K_GAMES), "minatar/<game>", "vizdoom/<scenario>", or
        "gym/<id>" for any
        registered Gymnasium id ("gym/my_package:MyEnv-v0" imports my_package first).

    Raises UserError where the environment cannot be made.
    """
    checked(settings)
    if num_envs < 1:
        raise UserError(f"num_envs is {num_envs}; it must be at least 1")
    family, _, name = env_id.partition("/")
    if not name or family not in ("atari", "gym", "minatar", "vizdoom"):
        raise UserError(
            f"unknown environment {env_id!r}; use atari/<Game>, minatar/<game>, vizdoom/<scenario>, gym/<registered "
            "Gymnasium id> or, for a game of your own, gym/<module>:<Id>, whose module registers the Id"
        )
    # Imported on demand: each family brings libraries the others do without.
    env: VectorEnv = import_module(f"diffworld.envs.{family}").make(name, num_envs, settings)
    return env


def usual_settings(env_id: str) -> EnvironmentConfig:
    """How a game is presented where nobody says: MinAtar's in its own 10x10 cells."""
    return EnvironmentConfig(height=10, width=10) if env_id.startswith("minatar/") else EnvironmentConfig()


def list_envs() -> list[str]:
    """The ids of every Atari and MinAtar game; "gym/<id>" stands for too many to list."""
    from diffworld.envs.atari import atari_games
    from diffworld.envs.minatar import MINATAR_GAMES

    return [f"atari/{name}" for name in sorted(atari_games())] + [f"minatar/{name}" for name in MINATAR_GAMES]


def make_game(spec: GameSpec, num_envs: int = 1) -> VectorEnv:
    """The real game that a run or a data set is of, `num_envs` times, presented as there.

    Raises: UserError if it cannot be made here, or is another game now.
    """
    if not spec.name or not spec.presented:
        raise UserError(f"{spec.name or 'the data set'} is a recording: there is no game behind it to play")
    env = make_env(spec.name, read_as(EnvironmentConfig, dict(spec.presented), "the game's settings"), num_envs)
    if changed := spec.differences(env.spec):
        env.close()
        raise UserError(f"{spec.name} is not what it was: {', '.join(changed)}")
    return env
