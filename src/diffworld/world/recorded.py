"""Drawing as CUDA graphs, while noise comes from anywhere."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffworld.models.diffusion import Randn
from diffworld.models.sampler import SamplerConfig
from diffworld.runtime.cuda_graphs import GraphedCallable

Drawn = tuple[dict[str, Tensor], list[Tensor]]
"""Named tensors with a row a dream, and the denoising trajectory."""
Draw = Callable[..., Drawn]
"""From noise (`Randn`) and tensors with a row a dream."""
MOST_RECORDED = 8
"""Ways of drawing whose recordings are kept: each holds memory of the GPU."""


class RecordedDrawing:
    """A way of drawing as a CUDA graph; noise is drawn before, each caller's own, and handed in."""

    def __init__(self, name: str, draw: Draw) -> None:
        self.draw = draw
        self.shapes: list[tuple[int, ...]] = []
        """Of the noise of a row; known after the first time, which is taken plainly."""
        self.graphed = GraphedCallable(name, self._drawn)

    def __call__(self, randn: Randn, *tensors: Tensor) -> Drawn:
        """As `draw`."""
        if not self.shapes:

            def drawn(shape: tuple[int, ...]) -> Tensor:
                self.shapes.append(shape[1:])
                return randn(shape)

            return self.draw(drawn, *tensors)
        noise = [randn((len(tensors[0]), *shape)) for shape in self.shapes]
        out = self.graphed(*tensors, *noise)
        return out, [*out.pop("trajectory")]

    def _drawn(self, *given: Tensor) -> dict[str, Tensor]:
        tensors, noise = given[: -len(self.shapes)], iter(given[-len(self.shapes) :])
        out, trajectory = self.draw(lambda shape: next(noise), *tensors)
        return out | {"trajectory": torch.stack(trajectory)}


class Recordings:
    """Recordings of one network's drawing, by how it draws; off until they are wanted."""

    def __init__(self, name: str) -> None:
        self.name, self.on = name, False
        self._kept: dict[SamplerConfig, RecordedDrawing] = {}

    def of(self, sampler: SamplerConfig, draw: Draw) -> Draw:
        """`draw`, which draws that way, recorded where recordings are on."""
        if not self.on:
            return draw
        if sampler not in self._kept:
            if len(self._kept) == MOST_RECORDED:
                del self._kept[next(iter(self._kept))]
            self._kept[sampler] = RecordedDrawing(self.name, draw)
        return self._kept[sampler]
