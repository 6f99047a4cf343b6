"""Memory that runs out, in one line, whoever noticed it."""

import errno
import resource
import subprocess
import sys

import pytest

from diffworld.runtime import memory
from diffworld.runtime.errors import UserError
from diffworld.runtime.memory import (
    GIB,
    Limit,
    check_room,
    in_words,
    lowering,
    memory_error,
    memory_limit,
    out_of_memory,
)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert (memory_error(error) is error) == is_one


def test_what_came_of_it_is_traced_back() -> None:
    with pytest.raises(UserError) as raised:
        try:
            raise MemoryError
        except MemoryError:
            raise UserError("the file is damaged")  # noqa: B904
    assert isinstance(memory_error(raised.value), MemoryError)


def test_the_innermost_advice_is_given() -> None:
    with pytest.raises(MemoryError) as raised, lowering("--num-envs"), lowering("--horizon"):
        raise MemoryError("no room for 3 GiB")
    said = out_of_memory(raised.value)
    assert said.startswith("out of memory (no room for 3 GiB), of which ") and "lower --horizon, or let it" in said


def test_limits_of_a_process_are_found() -> None:
    code = "from diffworld.runtime.memory import memory_limit; print(memory_limit())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * GIB, 3 * GIB)),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert run.stdout == "ulimit -v allows 3.0 GiB\n"
    assert 0 < memory_limit().left <= memory_limit().size


def test_a_program_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    check_room()
    monkeypatch.setattr(memory, "memory_limit", lambda: Limit(2**20, GIB, "ulimit -v allows"))
    with pytest.raises(UserError, match=r"needs 512 MiB more than it has, and ulimit -v allows 1.0 GiB"):
        check_room()


def test_bytes_in_words() -> None:
    assert [in_words(n) for n in (3 * 2**20, 5 * GIB // 2, 4000 * GIB)] == ["3 MiB", "2.5 GiB", "4,000.0 GiB"]
