"""MinAtar's five games (Young and Tian 2019, arXiv 1903.03176), their channels drawn in colour."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig
from diffworld.envs.serial import Game, Played, SerialEnv
from diffworld.game import ActionSpace, Encoded, GameSpec
from diffworld.runtime.errors import UserError

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")

COLOURS = np.array(
    [
        (16, 16, 24),
        (60, 250, 40),
        (250, 220, 200),
        (120, 60, 70),
        (230, 220, 20),
        (200, 30, 20),
        (50, 100, 230),
        (150, 80, 230),
        (40, 250, 250),
        (180, 200, 130),
        (190, 150, 170),
    ],
    np.float32,
)
"""RGB of the background, then of each channel in the game's own order: the player is always channel 0.

Chosen so that in every game all cells that look different in its channels are 35 levels or more apart, mixed ones too.
"""
_ACTION_NAMES = {"n": "NOOP", "l": "LEFT", "u": "UP", "r": "RIGHT", "d": "DOWN", "f": "FIRE"}


class MinAtarGame(Game):
    """One MinAtar game with its minimal action set and growing difficulty."""

    def __init__(self, game: str, frame_size: tuple[int, int]) -> None:
        self._env = _load_game(game).Env(ramping=True)
        self._action_set: list[int] = self._env.minimal_action_set()
        self._rows = np.arange(frame_size[0]) * 10 // frame_size[0]
        self._columns = np.arange(frame_size[1]) * 10 // frame_size[1]

    @property
    def action_names(self) -> list[str]:
        """The minimal actions' names, NOOP first."""
        return [_ACTION_NAMES[self._env.action_map[action]] for action in self._action_set]

    def reset(self, seed: int) -> NDArray[np.uint8]:
        self._env.random = np.random.RandomState(seed)  # the kind of generator the games call
        self._env.reset()
        return self._frame()

    def step(self, action: Encoded) -> Played:
        reward, terminated = self._env.act(self._action_set[int(action)])
        return Played(self._frame(), float(reward), bool(terminated), False)

    def _frame(self) -> NDArray[np.uint8]:
        """The channels, bool (10, 10, C), as colours, mixed where several share a cell: nothing hides anything."""
        state = self._env.state().astype(np.float32)
        count = state.sum(axis=-1, keepdims=True)
        mixed = state @ COLOURS[1 : 1 + state.shape[-1]] / np.maximum(count, 1)
        cells = np.where(count, mixed, COLOURS[0]).round().astype(np.uint8)
        return cells[self._rows][:, self._columns]


def make(game: str, num_envs: int, settings: EnvironmentConfig) -> SerialEnv:
    """N rows of a MinAtar game; without sticky actions unless asked for (MinAtar's own default is 0.1).

    Raises UserError on an unknown game, a frame smaller than its 10x10 cells, or without the package MinAtar.
    """
    if game not in MINATAR_GAMES:
        raise UserError(f"no MinAtar game {game!r}; use one of {', '.join(MINATAR_GAMES)}")
    size = settings.height, settings.width
    if min(size) < 10:
        raise UserError(f"MinAtar draws 10x10 cells: frames must be at least 10x10, got {size}")
    games = [MinAtarGame(game, size) for _ in range(num_envs)]
    actions = ActionSpace.discrete(games[0].action_names)
    return SerialEnv(GameSpec(f"minatar/{game}", *size, actions, 10.0, presented=asdict(settings)), games, settings)


@cache
def _load_game(game: str) -> Any:
    """The game's module, without the package around it: that one imports plotting libraries for a window, and
    logs a warning where they are missing.
    """
    package = find_spec("minatar")
    if package is None or not package.submodule_search_locations:
        raise UserError('MinAtar is not installed; pip install "diffworld[minatar]"')
    path = Path(package.submodule_search_locations[0]) / "environments" / f"{game}.py"
    spec = spec_from_file_location(f"minatar.environments.{game}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
