"""The configuration of a run, and the presets that fill it."""

from diffworld.config.config import (
    NETWORKS,
    CollectionConfig,
    Config,
    EvaluationConfig,
    NetworkName,
    UpdateConfig,
    config_from,
    differences,
    read_config,
)
from diffworld.config.presets import PRESETS, preset
