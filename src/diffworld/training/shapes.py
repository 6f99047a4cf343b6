"""Updates on torch's device meta, where tensors have shapes and no numbers: what is alive is counted.

Two things a GPU does otherwise are put in: its number formats and its attention (`AsOn`), and what the compiler keeps
for the way back (`_Stand`), which its own partitioner says.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from diffworld.runtime.device import autocast

META = torch.device("meta")

_NARROW = {
    F.conv2d,
    F.linear,
    F.scaled_dot_product_attention,
    Tensor.__matmul__,
    torch.lstm,
    torch.lstm_cell,
}
_WIDE_ON_CUDA = {F.group_norm}


class AsOn(TorchFunctionMode):
    """On the device meta, what an update keeps on another device: autocast's number formats (the operations that these
    networks have), weights cast once, and attention."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.device, self.dtype, self.cast = device, dtype, WeakIdKeyDictionary()
        self.said: Any = autocast(
            torch.device("cpu"), dtype
        )  # does nothing on this device; layers ask whether it is on

    def __enter__(self) -> AsOn:
        self.said.__enter__()
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self.said.__exit__(*error)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.dtype != torch.float32 and function in _NARROW:
            args, kwargs = tree_map(self._narrow, (args, kwargs))
        elif self.dtype != torch.float32 and self.device == "cuda" and function in _WIDE_ON_CUDA:
            args = tree_map(lambda x: x.float() if isinstance(x, Tensor) else x, args)
        if function is F.scaled_dot_product_attention:
            return self._attend(*args)
        return function(*args, **kwargs)

    def _narrow(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(self.dtype)
        if value not in self.cast:
            self.cast[value] = value.to(self.dtype)
        return self.cast[value]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.device == "cpu" and q.shape[-2] < 256:  # see nn/blocks.py: attend
            return self._narrow(((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)).softmax(-1)) @ v
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
        return out


class Live(TorchDispatchMode):
    """Counts the bytes that are alive of what is made inside, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.most, self.known = 0, 0, WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.known:
                self.known[storage] = size = storage.nbytes()
                self.now += size
                weakref.finalize(storage, self._freed, size)
        self.reach(self.now)
        return out

    def reach(self, size: int) -> None:
        """So many bytes are alive for a moment."""
        self.most = max(self.most, size)

    def _freed(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class Graphs:
    """What the two compiled graphs of a function take."""

    outputs: list[Tensor]
    """As they would be."""
    saved: int
    """Bytes kept from the way there for the way back."""
    forward: int
    """The most bytes that are alive on the way there, outputs included."""
    backward: int
    """The same of the way back, with what was saved and the gradients."""


class _Stand(torch.autograd.Function):
    """Takes the memory that compiled graphs would take."""

    @staticmethod
    def forward(ctx: Any, graphs: Graphs, live: Live | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.graphs, ctx.live = graphs, live
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        if live:
            live.reach(live.now + graphs.forward)
        ctx.kept = torch.empty(graphs.saved, dtype=torch.uint8, device=META)
        outputs = tuple(torch.empty_like(output) for output in graphs.outputs)
        ctx.mark_non_differentiable(*(x for x, y in zip(outputs, graphs.outputs, strict=True) if not y.requires_grad))
        return outputs

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Any, ...]:
        if ctx.live:
            ctx.live.reach(ctx.live.now - ctx.graphs.saved + ctx.graphs.backward)
        ctx.kept = None
        gradients = (torch.empty_like(x) if x.requires_grad else None for x in ctx.saved_tensors)
        return (None, None, *gradients)


_take: Callable[..., tuple[Tensor, ...]] = _Stand.apply


class AsCompiled:
    """Stands in for a module's forward on the device meta: takes what it would take if it were compiled."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.plain, self.live = module, module.forward, None
        self.graphs: Graphs | None = None
        module.forward = self

    live: Live | None

    def __call__(self, *args: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        self.graphs = self.graphs or self._cut(args)
        outputs = _take(self.graphs, self.live, *self.module.parameters(), *(x for x in args if x is not None))
        return outputs if len(outputs) > 1 else outputs[0]

    def _cut(self, args: Sequence[Tensor | None]) -> Graphs:
        """Trace both ways, and cut them apart as the compiler does."""
        parameters = dict(self.module.named_parameters())
        self.module.forward = self.plain

        def function(tensors: dict[str, Tensor], buffers: dict[str, Tensor], given: list[Tensor]) -> Any:
            following = iter(given)
            filled = [None if x is None else next(following) for x in args]
            return functional_call(self.module, {**tensors, **buffers}, tuple(filled))

        outputs = self.plain(*args)
        outputs = [outputs] if isinstance(outputs, Tensor) else [*outputs]
        given = [x for x in args if x is not None]
        try:
            there, back = partitioned(function, len(parameters), parameters, dict(self.module.named_buffers()), given)
        finally:
            self.module.forward = self
        results = _results(there)
        saved = {_base(node) for node in results[len(outputs) :]}
        made = sum(_size(node) for node in saved if node.op != "placeholder")
        return Graphs(outputs, made, most_alive(there), most_alive(back))


class _Cut(Exception):
    """The graphs are there: no more is wanted of the compiler."""


def partitioned(function: Callable[..., Any], static: int, *args: Any) -> tuple[fx.GraphModule, fx.GraphModule]:
    """The graphs of the way there and back of a function, cut apart and decomposed as torch.compile does it.

    The first `static` tensors are weights, which cost nothing to keep.
    """
    from torch._functorch.aot_autograd import aot_function  # seconds, and few want them
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    found: list[tuple[fx.GraphModule, fx.GraphModule]] = []

    def cut(joint: fx.GraphModule, inputs: Any, *, num_fwd_outputs: int, **_: Any) -> Any:
        weights = [*range(static)]
        found.append(
            min_cut_rematerialization_partition(
                joint, inputs, num_fwd_outputs=num_fwd_outputs, static_lifetime_input_indices=weights
            )
        )
        raise _Cut

    def never(gm: fx.GraphModule, example_inputs: Any) -> Any:
        return gm.forward

    try:
        aot_function(function, never, never, cut, decompositions=select_decomp_table())(*args)
    except _Cut:
        return found[0]
    raise ValueError("nothing in it has a gradient")


def _results(module: fx.GraphModule) -> list[fx.Node]:
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return [node for node in tree_leaves(output.args) if isinstance(node, fx.Node)]


def _kinds() -> Any:
    from torch._functorch.partitioners import get_default_op_list

    return get_default_op_list()


def _is_view(node: fx.Node) -> bool:
    return node.op == "call_function" and (_kinds().is_view(node) or getattr(node.target, "__name__", "") == "getitem")


def _base(node: fx.Node) -> fx.Node:
    """What a chain of views looks at."""
    while node.op == "call_function" and _kinds().is_view(node):
        node = node.all_input_nodes[0]
    return node


def _size(node: fx.Node) -> int:
    values = tree_leaves(node.meta.get("val"))
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def most_alive(module: fx.GraphModule) -> int:
    """The most bytes alive at a time, besides inputs that outlive the graph, where pointwise work is fused.

    What only fused operations read is never written; what it was made from is read again instead.
    """
    kinds, nodes = _kinds(), [*module.graph.nodes]
    results = {_base(node) for node in _results(module)}
    backward = any(node.name.startswith("tangents") for node in nodes)

    def readers(node: fx.Node) -> Iterable[fx.Node]:
        for user in node.users:
            yield from readers(user) if _is_view(user) else (user,)

    def written(node: fx.Node) -> bool:
        if node.op == "placeholder":
            return backward and not node.name.startswith("primals")
        if node.op != "call_function" or _is_view(node):
            return False
        return not kinds.is_fusible(node) or node in results or not all(map(kinds.is_fusible, readers(node)))

    reads: dict[fx.Node, set[fx.Node]] = {}
    last: dict[fx.Node, int] = {}
    for place, node in enumerate(nodes):
        sources = set().union(*(reads[x] for x in node.all_input_nodes))
        if written(node) or node.op == "output":
            last |= {source: len(nodes) if node.op == "output" else place for source in sources}
            sources = {node}
        reads[node] = sources
    now = most = sum(_size(node) for node in nodes if node.op == "placeholder" and written(node))
    ending: dict[int, int] = {}
    for node, place in last.items():
        ending[place] = ending.get(place, 0) + _size(node)
    for place, node in enumerate(nodes):
        if node.op == "call_function" and reads[node] == {node}:
            now += _size(node)
            most = max(most, now)
        now -= ending.get(place, 0)
    return most
