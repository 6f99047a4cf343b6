"""Compiled drawing for a model that is already being played: made beside the players, then swapped in."""

import copy
import sys
import threading
from dataclasses import replace

import numpy as np
import torch

from diffworld.models.denoiser import Denoiser
from diffworld.play.drawing import Dreamer, DreamRequest
from diffworld.runs import Model, make_window
from diffworld.runtime.compiling import compile_forward
from diffworld.world import StepKey

SWITCH_SECONDS = 0.0005
"""How long the compiler may hold Python's lock while players wait for it: a tenth of Python's own choice."""


def compiling_pays(model: Model) -> bool:
    """Whether compiled drawing is worth its making: for networks that are not small and run in bfloat16."""
    return not model.config.small and model.world is not None and model.world.dtype == torch.bfloat16


def compiled_copy(name: str, denoiser: Denoiser, backend: str = "inductor") -> Denoiser:
    """A copy that never learns again, and whose drawing of one frame is compiled at its first use."""
    copied = copy.deepcopy(denoiser).eval().requires_grad_(False)
    compile_forward(name, copied.network, {1}, backend, frozen=True)
    return copied


def compile_in_background(dreamer: Dreamer, backend: str = "inductor") -> threading.Thread:
    """Begin to compile the drawing of one dream's frame; players go on uncompiled until it is ready.

    The compiled network is a copy, so that nothing a player is using changes under them. Where compiling fails it
    says so, and the copy draws uncompiled too. Frames drawn in a batch of several stay uncompiled.
    """
    thread = threading.Thread(target=_compile, args=(dreamer, backend), name="compile", daemon=True)
    thread.start()
    return thread


def _compile(dreamer: Dreamer, backend: str) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    plain = dreamer.model.require_world()
    rehearsing = Dreamer(dreamer.model)
    rehearsing.world = plain.with_denoisers(lambda name, denoiser: compiled_copy(name, denoiser, backend))
    if plain.device.type == "cuda":
        rehearsing.world.record()
    try:
        _rehearse(rehearsing)
    finally:
        rehearsing.step.close()  # its thread's helpers would slow the others down
    dreamer.world = rehearsing.world


def _rehearse(dreamer: Dreamer) -> None:
    """Dream a little just as a player does: in any other thread, mode or memory layout it would compile again later."""
    spec, own = dreamer.model.spec, dreamer.model.require_world().samplers
    n, idle = dreamer.model.context_frames, spec.actions.idle
    samplers = tuple(replace(sampler, denoising_steps=max(2, sampler.denoising_steps)) for sampler in own)
    frames = [np.zeros(spec.frame_shape, np.uint8)] * n
    state = dreamer.start(make_window(spec.actions, frames, [idle] * (n - 1), n))
    for step in range(2):
        state, _ = dreamer.step(DreamRequest(state, idle, samplers, 2, StepKey(0, 0, step)))
