"""Compiled graphs for the batch sizes that repeat, and plain execution for everything else.

torch.compile (Ansel et al. 2024) makes one program of a network for one shape. Dreams restart in ragged
groups and tests play any number of games, so only the sizes a run keeps coming back to are worth its time.
"""

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffworld.runtime.errors import one_line


@dataclass
class Compiled:
    """Stands in for a module's `forward(x, ...)`: compiled where x has one of `batch_sizes` rows.

    The first call with a size compiles, which takes up to minutes; torch keeps the result on disk for the next
    process. Where compiling fails, such as without a C++ compiler, it says so once and stays eager.
    """

    name: str
    eager: Callable[..., Any]
    compiled: Callable[..., Any]
    batch_sizes: frozenset[int]
    frozen: bool
    seen: set[tuple[int, bool]] = field(default_factory=set)

    def __call__(self, x: Tensor, *args: Any) -> Any:
        if torch.compiler.is_compiling() or len(x) not in self.batch_sizes:  # part of something larger, or rare
            return self.eager(x, *args)
        kind = (len(x), torch.is_grad_enabled())
        return self.compiled(x, *args) if kind in self.seen else self._first_call(kind, x, *args)

    def _first_call(self, kind: tuple[int, bool], x: Tensor, *args: Any) -> Any:
        started = time.perf_counter()
        try:
            with torch._inductor.config.patch(freezing=self.frozen):
                result = self.compiled(x, *args)
        except Exception as error:  # the compiler's own errors have no common type below this
            result = self.eager(x, *args)  # a mistake of ours shows here again, as itself
            self.batch_sizes = frozenset()
            print(f"{self.name} runs uncompiled: {one_line(error)}", file=sys.stderr)
            return result
        self.seen.add(kind)
        seconds = time.perf_counter() - started
        print(f"compiled the {self.name} for {len(x)} rows in {seconds:.0f} s", file=sys.stderr)
        return result


def compile_forward(
    name: str, module: nn.Module, batch_sizes: Collection[int], backend: str = "inductor", *, frozen: bool = False
) -> None:
    """Replace a module's forward by its compiled self; weights, names and results stay as they are.

    `frozen` weights never change again: they are compiled in, in the number and memory format that suits each layer,
    where no gradients are wanted.
    """
    compiled = torch.compile(module.forward, dynamic=False, backend=backend)
    module.forward = Compiled(name, module.forward, compiled, frozenset(batch_sizes), frozen)
