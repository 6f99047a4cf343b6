"""How much memory this process may take, and what it looks like when there is no more."""

import errno
import os
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffworld.runtime.errors import UserError

GIB = 2**30
LEAST = GIB // 2
"""Bytes of memory that torch and the other libraries need for themselves, about."""

_SAID = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # torch on CPUs
    "cannot allocate memory",  # the system
    "bad_alloc",  # C++
    "could not create a primitive",  # oneDNN
    "failed to map segment",  # a library that does not fit
    "can't start new thread",
)


def memory_error(error: BaseException) -> BaseException | None:
    """The error that says that no memory is left, of this one and those that it came from; None if none does.

    Each library has words of its own for that, and what comes of it may look like a damaged file or a missing package.
    """
    found: BaseException | None = error
    while found is not None and not _ran_out(found):
        found = found.__context__
    return found


def _ran_out(error: BaseException) -> bool:
    no_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return no_memory or any(words in str(error).lower() for words in _SAID)


@contextmanager
def lowering(settings: str) -> Iterator[None]:
    """Where memory runs out inside, the error is noted which settings to lower."""
    try:
        yield
    except Exception as error:
        if no_memory := memory_error(error):
            no_memory.add_note(f"lower {settings}")
        raise


def out_of_memory(error: BaseException) -> str:
    """What to say where memory ran out, with the innermost advice; what the failed work still held is freed first."""
    traceback.clear_frames(error.__traceback__)
    advice = "".join(f"{note}, or " for note in getattr(error, "__notes__", [])[:1])
    words = " ".join(str(error).split())[:160]
    return f"out of memory{f' ({words})' if words else ''}, of which {memory_limit()}: {advice}let it have more"


def check_room() -> None:
    """UserError where there is too little memory to load the libraries, some of which would abort."""
    if (limit := memory_limit()).left < LEAST:
        raise UserError(f"the program alone needs {in_words(LEAST)} more than it has, and {limit}: let it have more")


@dataclass(frozen=True, order=True)
class Limit:
    """Memory that this process may still take, in bytes, and the limit that this follows from."""

    left: int
    size: int
    whose: str
    """In words, such as "this machine has"."""

    def __str__(self) -> str:
        return f"{self.whose} {in_words(self.size)}"


def in_words(size: int) -> str:
    """Bytes in words."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.0f} MiB"


def memory_limit() -> Limit:
    """The narrowest limit of this process."""
    address_space, resident = _taken()
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [Limit(machine - resident, machine, "this machine has")]
    for text in _control_group("memory.max"):
        if text.isdigit():
            limits.append(Limit(int(text) - resident, int(text), "the control group allows"))
    for kind, option, taken in ((resource.RLIMIT_AS, "-v", address_space), (resource.RLIMIT_DATA, "-d", resident)):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(Limit(soft - taken, soft, f"ulimit {option} allows"))
    return min(limits)


def _taken() -> tuple[int, int]:
    """Bytes of address space and of memory that this process has; 0 where there is no /proc."""
    try:
        address_space, resident, *_ = map(int, Path("/proc/self/statm").read_text().split())
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return page * address_space, page * resident


def _control_group(file: str) -> Iterator[str]:
    """What files of that name say in the control groups that this process is in, its own first (Linux, version 2)."""
    root = Path("/sys/fs/cgroup")
    try:
        own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    group = root / own.removeprefix("0::").lstrip("/")
    for folder in (group, *group.parents):
        if (folder / file).is_file():
            yield (folder / file).read_text().strip()
        if folder == root:
            return
