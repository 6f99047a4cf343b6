"""Compiled drawing for a model that is already being played: made beside the players, then swapped in."""

import copy
import threading
from dataclasses import replace

import torch

from diffworld.device import in_precision
from diffworld.nn.compiling import compile_forward
from diffworld.play.dreaming import use_threads
from diffworld.play.sources import Model


def compile_in_background(model: Model, backend: str = "inductor") -> threading.Thread:
    """Begin to compile the drawing of one dream's frame; players go on uncompiled until it is ready.

    The compiled network is a copy, so that nothing a player is using changes under them. Where compiling fails it
    says so, and the copy draws uncompiled too.
    """
    thread = threading.Thread(target=_compile, args=(model, backend), name="compile", daemon=True)
    thread.start()
    return thread


def _compile(model: Model, backend: str) -> None:
    torch._inductor.config.cpp.dynamic_threads = True  # the thread that draws has more than this one
    use_threads(1)
    denoiser = copy.deepcopy(model.networks.denoiser)
    compile_forward("denoiser", denoiser.network, {1}, backend)
    n, (height, width) = model.config.denoiser.context_frames, model.frame_size
    frames = torch.zeros(1, n, height, width, 3, device=model.device).movedim(-1, -3)
    actions = torch.zeros(1, n, dtype=torch.int64, device=model.device)
    once = replace(model.config.sampler, denoising_steps=1)
    sample_frame = in_precision(denoiser.sample, model.device, model.precision)
    sample_frame(frames, actions, once, lambda shape: torch.zeros(shape, device=model.device))
    model.dreamer.sample_frame = sample_frame
