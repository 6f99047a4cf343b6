"""Where the networks run, with how many threads, and in which number format."""

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from diffworld.runtime.errors import UserError
from diffworld.runtime.ranks import Ranks

_PLAIN = contextlib.nullcontext()
CORES = torch.get_num_threads()
"""Threads that torch takes by itself: OMP_NUM_THREADS, else a thread for each core it may run on."""


def resolve_device(name: str) -> torch.device:
    """The device called `name`; auto takes cuda, then mps, then cpu. UserError if it is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(n for n in ("cuda", "mps", "cpu") if available[n]))
    known = re.fullmatch(r"(cpu|cuda|mps)(:(0|[1-9][0-9]?))?", name)
    if known is None:
        raise UserError(f"unknown device '{name}': choose auto, cpu, cuda or mps")
    if not available[known[1]]:
        raise UserError(f"device '{name}' is not available on this machine: use --device auto or cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not available on this machine: it has {torch.cuda.device_count()}")
    return device


def missing_cuda(name: str) -> bool:
    """Whether that is the name of a GPU of NVIDIA's, and none is here."""
    return bool(re.fullmatch(r"cuda(:[0-9]+)?", name)) and not torch.cuda.is_available()


def device_of_rank(name: str, ranks: Ranks) -> str:
    """The device called `name` of this one of several ranks, each of which has a GPU of its own."""
    if not ranks.several or resolve_device(name).type != "cuda":
        return name
    if ":" in name:
        raise UserError(f"device '{name}' would be that of all {ranks.count} ranks: give --device cuda, a GPU for each")
    if ranks.local >= torch.cuda.device_count():
        raise UserError(
            f"this machine has {torch.cuda.device_count()} GPUs for {ranks.local_count} ranks: start no more of them "
            "(torchrun --nproc-per-node), or give --device cpu"
        )
    return f"cuda:{ranks.local}"


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; auto takes bfloat16 only where the processor computes in it natively."""
    if name == "auto":
        return torch.bfloat16 if native_bfloat16(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def resolve_threads(small: bool, begun_with: int = 0, side_by_side: int = 1) -> int:
    """How many threads networks compute with on a CPU, of which `side_by_side` programs of ours share the cores.

    OMP_NUM_THREADS decides where it is set. Else a run goes on with as many as it was `begun_with`, where there are so
    many cores, for with others its sums come out otherwise. Else small networks get one, since a second one gains them
    little and costs much beside other programs (docs/performance.md), and large ones get one for each core.
    """
    share = max(1, CORES // side_by_side)
    if os.environ.get("OMP_NUM_THREADS"):
        return share
    if 0 < begun_with <= CORES:
        return begun_with
    return 1 if small else share


def use_threads(count: int) -> None:
    """Let torch compute with so many threads where the calling thread asks.

    More than one is for a single thread of the process: where two have helpers, and so more run than there are cores,
    OpenMP puts them all to sleep between two operations, and each frame takes twice as long.
    """
    torch.get_num_threads()  # else the first operation would take over what another thread set last
    torch.set_num_threads(count)


@contextlib.contextmanager
def computing_with(count: int) -> Iterator[None]:
    """`use_threads`, as before again afterwards."""
    before = torch.get_num_threads()
    use_threads(count)
    try:
        yield
    finally:
        use_threads(before)


def resolve_compile(name: str, device: torch.device) -> bool:
    """Whether to compile in training; auto does so on CUDA only: on CPUs it gains a few percent for minutes."""
    return device.type == "cuda" if name == "auto" else name == "on"


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Arithmetic in `dtype` (weights and losses stay float32)."""
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else _PLAIN
    return torch.autocast(device.type, dtype)
