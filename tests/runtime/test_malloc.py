"""The process keeps the memory it frees: large tensors come without a page fault for each of their pages."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource
import sys
import torch
from diffworld.runtime.malloc import keep_memory
if "keep" in sys.argv:
    assert keep_memory()
torch.ones(24 * 2**20)  # 96 MiB, above anything that glibc keeps by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    return int(subprocess.run([sys.executable, "-c", COUNT_FAULTS, *arguments], check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc to tell")
@pytest.mark.thorough
def test_a_tensor_takes_the_memory_of_a_larger_one_before() -> None:
    assert faults("keep") < 100 < faults()
