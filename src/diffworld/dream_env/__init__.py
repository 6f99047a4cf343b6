"""The dream as a Gymnasium environment, alone and as a vector of dreams: `diffworld/Dream-v0`."""

from diffworld.dream_env.batch import DreamSettings, DreamsState
from diffworld.dream_env.env import DreamEnv, DreamVectorEnv
