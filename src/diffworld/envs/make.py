"""From an environment's id to the environment."""

from __future__ import annotations

from diffworld.envs.base import VectorEnv
from diffworld.errors import UserError

ATARI_100K_GAMES = (
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "BankHeist",
    "BattleZone",
    "Boxing",
    "Breakout",
    "ChopperCommand",
    "CrazyClimber",
    "DemonAttack",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Hero",
    "Jamesbond",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MsPacman",
    "Pong",
    "PrivateEye",
    "Qbert",
    "RoadRunner",
    "Seaquest",
    "UpNDown",
)
"""The 26 games of the Atari 100k benchmark (Kaiser et al. 2020, arXiv 1903.00374)."""


def make_env(
    env_id: str,
    num_envs: int = 1,
    *,
    frame_size: tuple[int, int] = (64, 64),
    life_loss_ends: bool = False,
    frame_skip: int = 4,
    noop_max: int = 30,
    max_pool: bool = True,
    sticky_actions: float = 0.0,
    max_steps: int | None = None,
) -> VectorEnv:
    """Makes `num_envs` rows of an environment; reset every row before its first step.

    env_id: "atari/<Game>" (camel case, as in ATARI_100K_GAMES), "minatar/<game>", or "gym/<id>" for any
        registered Gymnasium id with discrete actions ("gym/my_package:MyEnv-v0" imports my_package first).
    frame_size: (height, width) of the frames, in pixels.
    life_loss_ends: a lost life is `terminated` (Atari only; the others have no lives).
    frame_skip: frames an action is held for (Atari only).
    noop_max: a reset plays 0 to noop_max - 1 no-op frames (Atari only).
    max_pool: frames are the per-pixel maximum of the last two (Atari only).
    sticky_actions: probability that the previous action is played again (Atari: drawn at each frame).
    max_steps: truncates a game after so many steps; an Atari game also ends at 108,000 emulator frames.

    Raises UserError where the environment cannot be made.
    """
    if num_envs < 1 or frame_skip < 1 or noop_max < 0 or (max_steps is not None and max_steps < 1):
        raise UserError("num_envs, frame_skip and max_steps must be at least 1, and noop_max at least 0")
    if len(frame_size) != 2 or min(frame_size) < 1:
        raise UserError(f"frame_size must be (height, width), each at least 1, got {frame_size}")
    if not 0 <= sticky_actions <= 1:
        raise UserError(f"sticky_actions is a probability, between 0 and 1, got {sticky_actions}")
    family, _, name = env_id.partition("/")
    # Imported on demand: each family brings libraries the others do without.
    if family == "atari" and name:
        from diffworld.envs.atari import AtariEnv

        return AtariEnv(
            name,
            num_envs,
            frame_size=frame_size,
            life_loss_ends=life_loss_ends,
            frame_skip=frame_skip,
            noop_max=noop_max,
            max_pool=max_pool,
            sticky_actions=sticky_actions,
            max_steps=max_steps,
        )
    if family == "gym" and name:
        from diffworld.envs.gym import make_gym_env

        return make_gym_env(name, num_envs, frame_size=frame_size, sticky_actions=sticky_actions, max_steps=max_steps)
    if family == "minatar" and name:
        from diffworld.envs.minatar import make_minatar_env

        return make_minatar_env(
            name, num_envs, frame_size=frame_size, sticky_actions=sticky_actions, max_steps=max_steps
        )
    raise UserError(
        f"unknown environment {env_id!r}; use atari/<Game>, minatar/<game> or gym/<registered Gymnasium id>"
    )


def list_envs() -> list[str]:
    """The ids of every Atari and MinAtar game; "gym/<id>" stands for too many to list."""
    from diffworld.envs.atari import atari_games
    from diffworld.envs.minatar import MINATAR_GAMES

    return [f"atari/{name}" for name in sorted(atari_games())] + [f"minatar/{name}" for name in MINATAR_GAMES]
