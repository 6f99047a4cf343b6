"""CUDA graphs: the kernels of a function recorded once, and started all together from then on.

An update is thousands of kernels of some microseconds each. Started one by one from Python they keep the processor
busy and the GPU waiting (docs/performance.md); a recording is started at once. It repeats the same kernels on the same
memory, so what it records must not depend on values, only on shapes.
"""

import sys
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor, nn

from diffworld.runtime.errors import one_line

Function = Callable[..., dict[str, Tensor]]
"""Named tensors from tensors."""

_WARM_UPS = 3
"""Runs before a recording, in which libraries choose their kernels and the compiler does its work."""


class GraphedCallable:
    """Stands in for `function(*tensors)`: on a GPU recorded for each set of shapes, plain elsewhere.

    The function may draw random numbers from torch's own generator of the GPU, and may leave gradients in
    `parameters`, which must have none when it is called. Where recording fails it says so once and stays plain.
    """

    def __init__(
        self,
        name: str,
        function: Function,
        parameters: Iterable[nn.Parameter] = (),
        *,
        warm_ups: int = _WARM_UPS,
        shared: bool = False,
    ) -> None:
        """`warm_ups`: runs before a recording; 0 for what changes more than its outputs. `shared`: its recordings work
        in the memory of all others that are, in one thread, and gradients are used up before another one is replayed.
        """
        self.name, self.function, self.parameters = name, function, list(parameters)
        self.warm_ups, self.shared = warm_ups, shared
        self.recordings: dict[tuple[torch.Size, ...], Recording] = {}
        self.plain = False

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        if self.plain or not inputs[0].is_cuda:
            return self.function(*inputs)
        shapes = tuple(x.shape for x in inputs)
        with torch.cuda.device(inputs[0].device):  # streams and recordings are those of the current one
            if shapes not in self.recordings and not self._record(shapes, inputs):
                return self.function(*inputs)
            return self.recordings[shapes].replay(inputs)

    def _record(self, shapes: tuple[torch.Size, ...], inputs: tuple[Tensor, ...]) -> bool:
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        clean = generator.clone_state()
        try:
            self.recordings[shapes] = Recording(self.function, inputs, self.parameters, self.warm_ups, self.shared)
        except RuntimeError as error:
            self.plain = True
            _drop_gradients(self.parameters)
            generator.graphsafe_set_state(clean)  # its own still waits for the end of the recording
            print(f"{self.name} runs without CUDA graphs: {one_line(error)}", file=sys.stderr)
        return not self.plain


class Recording:
    """One CUDA graph with the memory of its inputs, outputs and gradients."""

    def __init__(
        self,
        function: Function,
        inputs: tuple[Tensor, ...],
        parameters: list[nn.Parameter],
        warm_ups: int,
        shared: bool,
    ) -> None:
        self.inputs, self.parameters = [x.clone() for x in inputs], parameters
        random_state = torch.cuda.get_rng_state()  # put back, so that recording changes no later draw
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(warm_ups):
                function(*self.inputs)
                _drop_gradients(parameters)
        torch.cuda.current_stream().wait_stream(stream)
        torch.clear_autocast_cache()  # or weights cast before it would be missing from the recording
        self.graph = torch.cuda.CUDAGraph()
        pool = _keeper(torch.cuda.current_device()).pool() if shared else None
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.outputs = function(*self.inputs)
        torch.clear_autocast_cache()
        self.gradients = [p.grad for p in parameters]
        torch.cuda.set_rng_state(random_state)

    def replay(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """What the function gives for `inputs`, its gradients in the parameters."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return {name: x.clone() for name, x in self.outputs.items()}  # the next replay writes over its own


@cache
def _keeper(device: int) -> torch.cuda.CUDAGraph:
    """A recording of next to nothing, whose memory others of a GPU share: an update of one network works where that of
    the one before did, instead of in a place of its own. The memory is there as long as it is."""
    keeper = torch.cuda.CUDAGraph()
    with torch.cuda.graph(keeper, capture_error_mode="thread_local"):
        torch.zeros(1, device=f"cuda:{device}")
    return keeper


def _drop_gradients(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
