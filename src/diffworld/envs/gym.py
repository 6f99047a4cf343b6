"""Any registered Gymnasium environment whose actions are choices, keys or bounded numbers, seen through its pixels."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from diffworld.envs.base import EnvironmentConfig, area_resize
from diffworld.envs.serial import Game, Played, SerialEnv
from diffworld.game import ActionSpace, Encoded, GameSpec, Keys
from diffworld.game.gym_spaces import from_gymnasium, to_gym_action
from diffworld.runtime.errors import UserError

IMPORT = "install the module, or name the folder it lies in in PYTHONPATH"
KNOWN = "a game of your own is gym/<module>:<Id>, and importing the module must register the Id"
MEND = "mend the environment, or choose another"
RESET = "reset(seed=..., options=...) must return (observation, info)"
STEP = "step(action) must return (observation, reward, terminated, truncated, info), reward a finite number"
FRAME = "a frame must be a uint8 image (H, W, 3) in RGB or (H, W) in grey, and all of one size"

_NOT_THEIRS = re.compile(rf"^<|{re.escape(__file__)}|/(gymnasium|importlib)/")


class GymGame(Game):
    """One Gymnasium environment. Frames are its observations where those are images, else what it renders.

    UserError for whatever it does wrong.
    """

    def __init__(
        self, name: str, env: gymnasium.Env[Any, Any], actions: ActionSpace, frame_size: tuple[int, int]
    ) -> None:
        self._name, self._env, self._actions, self._frame_size = name, env, actions, frame_size
        self._sees_pixels = _is_image(env.observation_space)
        self._shape: tuple[int, ...] | None = None  # of the first image, and so of all

    def reset(self, seed: int) -> NDArray[np.uint8]:
        with _telling(f"{self._name}: reset", RESET):
            observation, _ = _values(self._env.reset(seed=seed), 2)
        return self._frame("reset", observation)

    def step(self, action: Encoded) -> Played:
        with _telling(f"{self._name}: step", STEP):
            played = to_gym_action(self._actions, action, self._env.action_space)
            observation, *numbers, _ = _values(self._env.step(played), 5)
            names = ("reward", "terminated", "truncated")
            reward, terminated, truncated = map(_number, names, numbers)
        return Played(self._frame("step", observation), reward, bool(terminated), bool(truncated))

    def close(self) -> None:
        _close(self._env)

    def _frame(self, method: str, observation: Any) -> NDArray[np.uint8]:
        method = method if self._sees_pixels else "render"
        with _telling(f"{self._name}: {method}", FRAME):
            seen = observation if self._sees_pixels else self._env.render()
            image = np.asarray(seen)
            if image.ndim == 2:
                image = image[..., None]
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3) or not image.size:
                raise _FaultError("gave None" if seen is None else f"gave {image.dtype} {image.shape}")
            if image.shape != (self._shape or image.shape):
                raise _FaultError(f"gave an image of {image.shape} after one of {self._shape}")
            self._shape = image.shape
        return area_resize(np.broadcast_to(image, (*image.shape[:2], 3)), self._frame_size)


def make(gym_id: str, num_envs: int, settings: EnvironmentConfig) -> SerialEnv:
    """N rows of the Gymnasium environment registered as `gym_id`. Replays are exact if it is deterministic.

    "module:Id" imports the module first. One step is played, to see whether the environment keeps to Gymnasium's rules.

    Raises UserError where it cannot be made or drawn, breaks the rules, or its actions are neither choices nor keys.
    """
    name, size = f"gym/{gym_id}", (settings.height, settings.width)
    actions, speed, options = _described(name, gym_id)
    games: list[GymGame] = []
    with ExitStack() as broken:
        for _ in range(num_envs):
            games.append(GymGame(name, _made(name, gym_id, **options), actions, size))
            broken.callback(games[-1].close)
        games[0].reset(0)
        games[0].step(actions.idle)
        broken.pop_all()
    keys = default_keys(actions)
    spec = GameSpec(name, *size, actions, steps_per_second=speed, keys=keys, presented=asdict(settings))
    return SerialEnv(spec, games, settings)


PAIRS = (("ArrowLeft", "ArrowRight"), ("ArrowDown", "ArrowUp"), ("KeyA", "KeyD"), ("KeyS", "KeyW"), ("KeyJ", "KeyL"))
ROWS = tuple(tuple(f"Key{letter}" for letter in row) for row in ("QWERTYUIOP", "ASDFGHJKL", "ZXCVBNM"))


def default_keys(actions: ActionSpace) -> dict[str, str]:
    """A key of the keyboard for each value of a choice beside others, which has none by itself.

    Of an axis that rests in its middle two keys are its ends; of another choice every value but that of doing nothing
    has a key, while there are any.
    """
    if actions.is_discrete and actions.idle == 0:
        return {}
    found, pairs, rows = dict[str, str](), iter(PAIRS), iter(ROWS)
    idle = actions.decode(actions.idle)
    for part, rest in zip(actions.parts, idle, strict=True):
        if isinstance(part, Keys):
            continue
        called = [value if actions.is_discrete else f"{part.name} {value}" for value in part.values]
        if 0 < rest < part.size - 1:
            found |= dict(zip((called[0], called[-1]), next(pairs, ()), strict=False))
        else:
            found |= dict(zip((name for i, name in enumerate(called) if i != rest), next(rows, ()), strict=False))
    return found


def _described(name: str, gym_id: str) -> tuple[ActionSpace, float, dict[str, Any]]:
    """An environment's actions, its steps a second, and what it must be made with in order to be seen."""
    env = _made(name, gym_id)
    try:
        with _telling(name, MEND):
            space, metadata, options = env.observation_space, env.metadata, dict[str, Any]()
            actions, rate = from_gymnasium(env.action_space), metadata.get("render_fps")
            if not _is_image(space):
                if "rgb_array" not in metadata.get("render_modes", []):
                    raise _FaultError(f"observes {_brief(space)}, no uint8 image (H, W, 3), and cannot draw rgb_array")
                options["render_mode"] = "rgb_array"  # else it may take no render_mode, not even None
    finally:
        _close(env)
    return actions, float(rate) if isinstance(rate, int | float) and 0 < rate < 1000 else 15.0, options


def _made(name: str, gym_id: str, **options: Any) -> gymnasium.Env[Any, Any]:
    module, _, registered = gym_id.rpartition(":")
    if module:
        with _telling(f"{name}: importing {module}", IMPORT):
            import_module(module)
    with _telling(f"{name}: making it", MEND if registered in gymnasium.registry else KNOWN):
        return gymnasium.make(registered, disable_env_checker=True, **options)


def _close(env: gymnasium.Env[Any, Any]) -> None:
    with suppress(Exception, SystemExit):  # whatever was wanted of it is done
        env.close()


class _FaultError(Exception):
    """What an environment did that it should not, in words that follow what did it."""


@contextmanager
def _telling(what: str, rule: str) -> Iterator[None]:
    """Turn a fault, and whatever the environment's own code raises, into a UserError, one line that ends in a rule."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    except _FaultError as fault:
        raise UserError(f"{what} {fault}; {rule}") from None
    except (Exception, SystemExit) as error:
        # Only whoever wrote the environment knows its lines; Gymnasium's and Python's own say nothing.
        places = [f for f in traceback.extract_tb(error.__traceback__) if not _NOT_THEIRS.search(f.filename)]
        where = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
        raise UserError(f"{what} raised {type(error).__name__}{where}: {_brief(error, 300)}; {rule}") from error


def _values(returned: Any, count: int) -> tuple[Any, ...]:
    if not isinstance(returned, tuple):
        raise _FaultError(f"returned {type(returned).__name__}")
    if len(returned) != count:
        raise _FaultError(f"returned {len(returned)} values")
    return returned


def _number(name: str, value: Any) -> float:
    """A reward or flag as a number that float32 can hold."""
    number = np.asarray(value)
    if number.ndim or number.dtype.kind not in "biuf" or not abs(number) <= np.finfo(np.float32).max:
        raise _FaultError(f"gave {name} {_brief(repr(value))}")
    return float(number)


def _is_image(space: gymnasium.Space[Any]) -> bool:
    """Whether observations are uint8 images: (H, W), (H, W, 1) or (H, W, 3)."""
    if not isinstance(space, Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[-1] in (1, 3))


def _brief(said: Any, most: int = 80) -> str:
    """The beginning of a text, in one line."""
    words = " ".join(str(said).split())
    return words if len(words) <= most else f"{words[:most]} ..."
