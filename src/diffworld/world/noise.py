"""Random numbers that depend on nothing but a seed and a place, so that every step can be taken again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from diffworld.models.diffusion import Randn

Purpose = Literal["frame", "reward_end", "action"]
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True)
class StepKey:
    """Which random numbers belong to a step: a seed, the episode and the step in it."""

    seed: int
    episode: int
    step: int


class KeyedGenerators:
    """Generators that are set anew for each step, one kind for each purpose, so that no draw shifts another."""

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device)

    def at(self, key: StepKey, purpose: Purpose) -> torch.Generator:
        """The generator for a purpose at a step; valid until the next call."""
        entropy = (key.seed, key.episode, key.step, _PURPOSES.index(purpose))
        return self._generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def noise(self, key: StepKey) -> Randn:
        """Normal numbers for the frame of a step; valid until the next call."""
        return generator_noise(self.at(key, "frame"))


def generator_noise(generator: torch.Generator) -> Randn:
    """Standard normal numbers of a generator, on its device."""
    return lambda shape: torch.randn(shape, generator=generator, device=generator.device)


def row_noise(rows: Sequence[Randn]) -> Randn:
    """Noise whose every row comes from its own source, as that source gives it to a dream alone."""
    return lambda shape: torch.cat([randn((1, *shape[1:])) for randn in rows])


def draw_index(probabilities: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """An index (...) drawn for each row of probabilities (..., K), as torch.multinomial draws it.

    Unlike that function it never makes the processor wait for a GPU, so it can be part of a CUDA graph.
    """
    return (probabilities / torch.empty_like(probabilities).exponential_(generator=generator)).argmax(-1)
