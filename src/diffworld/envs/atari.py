"""Atari 2600 games through ale-py's C++ vector environment."""

from __future__ import annotations

import os
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import numpy as np
from ale_py import ALEInterface, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig, StepResult, VectorEnv
from diffworld.game import ActionSpace, GameSpec
from diffworld.runtime.errors import UserError

GAME_FRAMES_LIMIT = 108_000
"""ALE's customary limit on a game: 30 minutes at 60 frames a second."""

_NO_LIMIT = 2**30


class AtariEnv(VectorEnv):
    """N rows of an Atari game, played on the machine's cores in parallel.

    An action (of the game's minimal set) is held for `frame_skip` frames; the frame seen is the per-pixel
    maximum of the last two, resized by area averaging. A reset plays 0 to noop_max - 1 no-op frames (uniform,
    from the seed) and presses nothing for the player. A game is truncated at 108,000 frames or `max_steps`.

    With `life_loss_ends` a lost life is `terminated`, and the game plays on. `sticky_actions` is the probability, at
    each frame, that the emulator repeats the previous action instead.

    Where the game itself ends, ale-py stops at once and draws no more (like Gymnasium's AtariPreprocessing):
    the last frame of a game may repeat the one before. A lost life's frame is always its own.
    """

    def __init__(self, game: str, num_envs: int, settings: EnvironmentConfig) -> None:
        self._vector = AtariVectorEnv(
            _find_rom(game),
            num_envs,
            num_threads=0,  # as many as rows or cores, whichever are fewer
            # Every reset is ours: a row that ended is reset before ale-py would do so at its next step. The
            # limit of length is kept by the base class: ale-py's own would leave the last frame half drawn.
            autoreset_mode=AutoresetMode.NEXT_STEP,
            max_num_frames_per_episode=_NO_LIMIT,
            repeat_action_probability=settings.sticky_actions,
            img_height=settings.height,
            img_width=settings.width,
            grayscale=False,
            stack_num=1,
            frameskip=settings.frame_skip,
            maxpool=True,
            noop_max=settings.noop_max,
            # ale-py does not count the last life; lives are compared here instead.
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=False,
        )
        names = [action.name for action in self._vector.ale.get_action_set()]
        limit = -(-GAME_FRAMES_LIMIT // settings.frame_skip)
        spec = GameSpec(
            f"atari/{game}",
            settings.height,
            settings.width,
            ActionSpace.discrete(names),
            steps_per_second=60 / settings.frame_skip,
            presented=asdict(settings),
        )
        super().__init__(spec, num_envs, min(limit, settings.max_steps or limit))
        self._life_loss_ends = settings.life_loss_ends
        self._lives: NDArray[np.int32] | None = None  # (N,); None before the first reset

    def _reset_rows(self, rows: list[int], seeds: list[int]) -> NDArray[np.uint8]:
        # ale-py's first reset must be of every row.
        row_seeds = dict.fromkeys(range(self.num_envs), 0) if self._lives is None else {}
        row_seeds |= dict(zip(rows, seeds, strict=True))
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[list(row_seeds)] = True
        in_order = np.array([row_seeds[row] for row in sorted(row_seeds)])
        frames, info = self._vector.reset(seed=in_order, options={"reset_mask": mask})
        self._lives = info["lives"]
        return frames.reshape(self.num_envs, *self.spec.frame_shape)[rows]

    def _step(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> StepResult:
        frames, rewards, game_over, _, info = self._vector.step(actions)
        life_lost = info["lives"] < self._lives
        self._lives = info["lives"]
        return StepResult(
            frames=frames.reshape(self.num_envs, *self.spec.frame_shape),
            rewards=rewards.astype(np.float32),
            terminated=game_over | life_lost if self._life_loss_ends else game_over,
            truncated=np.zeros_like(game_over),
            needs_reset=game_over.copy(),
        )

    def close(self) -> None:
        if hasattr(self, "_vector"):
            del self._vector


make = AtariEnv


@cache
def atari_games() -> dict[str, str]:
    """The games ale-py can play here: camel-case name -> name of the ROM, as in MsPacman -> ms_pacman."""
    found = {}
    for rom in roms.get_all_rom_ids():
        path = Path(os.environ.get("ALE_ROMS_DIR") or Path(roms.__file__).parent) / f"{rom}.bin"
        # ale-py ends the process on a ROM it knows but cannot play (four games for two players).
        if path.exists() and ALEInterface.isSupportedROM(path):
            found[rom.title().replace("_", "")] = rom
    return found


def _find_rom(game: str) -> str:
    games = atari_games()
    if game in games:
        return games[game]
    by_lower_name = {name.lower(): name for name in games}
    close = get_close_matches(game.lower().replace("_", ""), by_lower_name, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(f'atari/{by_lower_name[name]}' for name in close)}?" if close else ""
    raise UserError(
        f"no Atari game {game!r}; {hint or 'use a name such as atari/Breakout (diffworld.envs.list_envs() has all)'}"
    )
