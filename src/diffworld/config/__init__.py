"""The configuration of a run, and the presets that fill it."""

from diffworld.config.config import (
    NETWORKS,
    OF_DATA,
    RECIPE_NETWORKS,
    CollectionConfig,
    Config,
    EvaluationConfig,
    NetworkName,
    RecipeName,
    UpdateConfig,
    config_from,
    differences,
    read_config,
)
from diffworld.config.presets import PRESETS, preset
