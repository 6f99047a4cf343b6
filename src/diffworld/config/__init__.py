"""The configuration of a run, and the presets that fill it."""

from diffworld.config.config import (
    NETWORKS,
    CollectionConfig,
    Config,
    EvaluationConfig,
    NetworkName,
    UpdateConfig,
    differences,
    read_config,
)
from diffworld.config.presets import PRESETS, preset
