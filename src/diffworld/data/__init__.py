"""Data: episodes on disk, written step by step, and windows and batches drawn from them."""

from diffworld.data.batches import FrameBatch, TransitionBatch, frame_batch, transition_batch
from diffworld.data.dataset import Dataset
from diffworld.data.episodes import Episode, Episodes
from diffworld.data.frames import Compress, Packed, read_frames
from diffworld.data.links import Links
from diffworld.data.schema import DatasetSchema
from diffworld.data.windows import (
    Windows,
    episode_weights,
    episode_windows,
    every_tenth,
    held_out_episodes,
    sample_context_windows,
    sample_transition_windows,
)
from diffworld.data.writer import EpisodeWriter, GameStep
