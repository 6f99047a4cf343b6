"""Runs: their folders and checkpoints, and what was trained in them, loaded."""

from diffworld.runs.folder import Checkpoint, RunFolder
from diffworld.runs.loading import Model, load, pack
from diffworld.runs.starts import Starts, Window, make_window, window_tensors
