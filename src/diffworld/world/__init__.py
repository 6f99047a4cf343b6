"""World models: what a dream is stepped in. State is passed and never hidden; noise is a row's own."""

from diffworld.world.frame_stack import FrameStack, FrameStackState
from diffworld.world.imagination import Imagination, ImaginationState, Outcome
from diffworld.world.noise import KeyedGenerators, StepKey, draw_index, row_noise
from diffworld.world.two_stages import TwoStages, TwoStageState
from diffworld.world.world_model import (
    DreamState,
    Lesson,
    Prediction,
    Samplers,
    WorldModel,
    restarted,
    tensors_of,
    with_tensors,
)
