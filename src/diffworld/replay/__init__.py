"""Replay: data sets of episodes on disk, and windows sampled from them."""

from diffworld.replay.dataset import Dataset
from diffworld.replay.episodes import Episode, Episodes
from diffworld.replay.format import Format
from diffworld.replay.sampling import (
    Windows,
    episode_weights,
    episode_windows,
    reward_bias,
    sample_around,
    sample_ending_near,
)

__all__ = [
    "Dataset",
    "Episode",
    "Episodes",
    "Format",
    "Windows",
    "episode_weights",
    "episode_windows",
    "reward_bias",
    "sample_around",
    "sample_ending_near",
]
