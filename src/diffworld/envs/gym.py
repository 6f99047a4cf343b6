"""Any registered Gymnasium environment whose actions are choices or keys, seen through its pixels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig, area_resize
from diffworld.envs.serial import Game, Played, SerialEnv
from diffworld.runtime.errors import UserError
from diffworld.spec import ActionSpace, Encoded, GameSpec


class GymGame(Game):
    """One Gymnasium environment. Frames are its observations where those are images, else what it renders."""

    def __init__(self, env: gymnasium.Env[Any, Any], actions: ActionSpace, frame_size: tuple[int, int]) -> None:
        self._env, self._actions, self._frame_size = env, actions, frame_size
        self._sees_pixels = _is_image(env.observation_space)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        observation, _ = self._env.reset(seed=seed)
        return self._frame(observation)

    def step(self, action: Encoded) -> Played:
        played = self._actions.to_gym_action(action, self._env.action_space)
        observation, reward, terminated, truncated, _ = self._env.step(played)
        return Played(self._frame(observation), float(reward), terminated, truncated)

    def close(self) -> None:
        self._env.close()

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        image = np.asarray(observation if self._sees_pixels else self._env.render())
        if image.ndim == 2:
            image = image[..., None]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise UserError(f"the environment drew {image.dtype} {image.shape}; use one that draws uint8 RGB")
        return area_resize(np.broadcast_to(image, (*image.shape[:2], 3)), self._frame_size)


def make(gym_id: str, num_envs: int, settings: EnvironmentConfig) -> SerialEnv:
    """N rows of the Gymnasium environment registered as `gym_id`. Replays are exact if it is deterministic.

    Raises UserError where it cannot be made or drawn, or its actions are neither choices nor keys.
    """
    env = _make(gym_id)
    try:
        actions = ActionSpace.from_gymnasium(env.action_space)
        render_mode = None
        if not _is_image(env.observation_space):
            if "rgb_array" not in env.metadata.get("render_modes", []):
                raise UserError("it has no image observations and no rgb_array rendering; use another")
            render_mode = "rgb_array"
    except UserError as error:
        raise UserError(f"gym/{gym_id}: {error}") from None
    finally:
        env.close()
    size = settings.height, settings.width
    games = [GymGame(_make(gym_id, render_mode), actions, size) for _ in range(num_envs)]
    try:
        games[0].reset(0)  # drawing may need a package that making does not
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"gym/{gym_id} cannot be drawn: {_one_line(error)}") from error
    rate = env.metadata.get("render_fps")
    speed = float(rate) if isinstance(rate, int | float) and 0 < rate < 1000 else 15.0
    spec = GameSpec(f"gym/{gym_id}", *size, actions, steps_per_second=speed, presented=asdict(settings))
    return SerialEnv(spec, games, settings)


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
