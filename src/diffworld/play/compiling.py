"""Compiled drawing for a model that is already being played: made beside the players, then swapped in."""

import copy
import sys
import threading
from dataclasses import replace

import numpy as np

from diffworld.models.denoiser import Denoiser
from diffworld.play.dreaming import Dreamer
from diffworld.play.worlds import DreamWorld, StepKey
from diffworld.runs.loading import Model
from diffworld.runs.starts import make_window
from diffworld.runtime.compiling import compile_forward
from diffworld.runtime.device import in_precision, native_bfloat16

SWITCH_SECONDS = 0.0005
"""How long the compiler may hold Python's lock while players wait for it: a tenth of Python's own choice."""


def compiling_pays(model: Model) -> bool:
    """Whether compiled drawing is worth its making: for networks that are not small, where they run in bfloat16."""
    return not model.small and native_bfloat16(model.device)


def compiled_copy(denoiser: Denoiser, backend: str = "inductor") -> Denoiser:
    """A copy that never learns again, and whose drawing of one frame is compiled at its first use."""
    copied = copy.deepcopy(denoiser).eval().requires_grad_(False)
    compile_forward("denoiser", copied.network, {1}, backend, frozen=True)
    return copied


def compile_in_background(model: Model, backend: str = "inductor") -> threading.Thread:
    """Begin to compile the drawing of one dream's frame; players go on uncompiled until it is ready.

    The compiled network is a copy, so that nothing a player is using changes under them. Where compiling fails it
    says so, and the copy draws uncompiled too. Frames drawn in a batch of several stay uncompiled.
    """
    thread = threading.Thread(target=_compile, args=(model, backend), name="compile", daemon=True)
    thread.start()
    return thread


def _compile(model: Model, backend: str) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    own, denoiser = model.dreamer, compiled_copy(model.networks.denoiser, backend)
    sample_frame = in_precision(denoiser.sample, model.device, model.precision)
    dreamer = Dreamer(sample_frame, own.predict_reward_end, own.act, own.threads)
    try:
        _rehearse(replace(model, dreamer=dreamer))
    finally:
        dreamer.step.close()  # its thread's helpers would slow the others down
    own.sample_frame = sample_frame


def _rehearse(model: Model) -> None:
    """Dream a little just as a player does: in any other thread, mode or memory layout it would compile again later."""
    n = model.config.denoiser.context_frames
    frame = np.zeros((*model.frame_size, 3), np.uint8)
    world, steps = DreamWorld(model), max(2, model.config.sampler.denoising_steps)
    state = world.start(make_window([frame] * n, [0] * (n - 1), n))
    for step in range(2):
        sampler = replace(model.config.sampler, denoising_steps=steps)
        state, _ = world.step(state, 0, sampler, 2, StepKey(0, 0, step))
