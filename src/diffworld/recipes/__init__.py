"""Recipes: what is trained, on what, and in which order. One file tells one method."""

from collections.abc import Callable

from diffworld.config import Config
from diffworld.recipes.diamond import Diamond
from diffworld.recipes.model_free import ModelFree
from diffworld.recipes.networks import (
    Networks,
    build_networks,
    build_world,
    compile_networks,
    network_names,
    small_size,
)
from diffworld.recipes.recipe import COLLECT, TEST, Losses, Materials, Part, Recipe
from diffworld.recipes.shooter import Shooter
from diffworld.recipes.world import World

RECIPES: dict[str, Callable[[Config, Materials], Recipe]] = {
    "diamond": Diamond,
    "world": World,
    "shooter": Shooter,
    "model_free": ModelFree,
}
"""By the name that `Config.recipe` has."""
