"""diffworld: reinforcement learning inside a diffusion world model.

Importing it registers `diffworld/Dream-v0` with Gymnasium; what needs torch is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register, registry

if TYPE_CHECKING:
    from diffworld.game import ActionSpace, GameSpec
    from diffworld.runs import Model, load

__version__ = "0.1.0"
__all__ = ["ActionSpace", "GameSpec", "Model", "__version__", "load"]

_HOMES = {"load": "runs", "Model": "runs", "ActionSpace": "game", "GameSpec": "game"}

if "diffworld/Dream-v0" not in registry:  # a reloaded module would be warned of
    register(
        "diffworld/Dream-v0",
        entry_point="diffworld.dream_env:DreamEnv",
        vector_entry_point="diffworld.dream_env:DreamVectorEnv",
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diffworld' has no attribute '{name}'")
    return getattr(import_module(f"diffworld.{_HOMES[name]}"), name)
