"""Any registered Gymnasium environment with discrete actions, seen through its pixels."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from diffworld.envs.base import area_resize
from diffworld.envs.serial import Game, GameStep, SerialEnv
from diffworld.errors import UserError


class GymGame(Game):
    """One Gymnasium environment. Frames are its observations where those are images, else what it renders."""

    def __init__(self, env: gymnasium.Env[Any, Any], action_start: int, frame_size: tuple[int, int]) -> None:
        self._env = env
        self._action_start = action_start
        self._frame_size = frame_size
        self._sees_pixels = _is_image(env.observation_space)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        """Resets with the seed; returns the first frame, uint8 (H, W, 3)."""
        observation, _ = self._env.reset(seed=seed)
        return self._frame(observation)

    def step(self, action: int) -> GameStep:
        """Plays action number `action`, counted from 0 whatever the action space starts at."""
        observation, reward, terminated, truncated, _ = self._env.step(self._action_start + action)
        return GameStep(self._frame(observation), float(reward), terminated, truncated)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        image = np.asarray(observation if self._sees_pixels else self._env.render())
        if image.ndim == 2:
            image = image[..., None]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise UserError(f"the environment drew {image.dtype} {image.shape}; use one that draws uint8 RGB")
        return area_resize(np.broadcast_to(image, (*image.shape[:2], 3)), self._frame_size)


def make_gym_env(
    gym_id: str, num_envs: int, *, frame_size: tuple[int, int], sticky_actions: float, max_steps: int | None
) -> SerialEnv:
    """N rows of the Gymnasium environment registered as `gym_id`. Replays are exact if it is deterministic.

    Raises UserError where it cannot be made or drawn, or its actions are not discrete.
    """
    env = _make(gym_id)
    actions = env.action_space
    if not isinstance(actions, Discrete):
        env.close()
        raise UserError(f"gym/{gym_id} has actions {actions}; use one with a Discrete action space")
    render_mode = None
    if not _is_image(env.observation_space):
        if "rgb_array" not in env.metadata.get("render_modes", []):
            env.close()
            raise UserError(f"gym/{gym_id} has no image observations and no rgb_array rendering; use another")
        render_mode = "rgb_array"
    env.close()
    start, count = int(actions.start), int(actions.n)
    games = [GymGame(_make(gym_id, render_mode), start, frame_size) for _ in range(num_envs)]
    try:
        games[0].reset(0)  # drawing may need a package that making does not
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"gym/{gym_id} cannot be drawn: {_one_line(error)}") from error
    names = [str(start + action) for action in range(count)]
    return SerialEnv(f"gym/{gym_id}", games, names, frame_size, sticky_actions=sticky_actions, max_steps=max_steps)


def _make(gym_id: str, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    # An environment that takes no render_mode must not be passed one, not even None.
    options: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gymnasium.make(gym_id, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"gym/{gym_id} cannot be made: {_one_line(error)}") from error


def _is_image(space: gymnasium.Space[Any]) -> bool:
    """Whether observations are uint8 images: (H, W), (H, W, 1) or (H, W, 3)."""
    if not isinstance(space, Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[-1] in (1, 3))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
