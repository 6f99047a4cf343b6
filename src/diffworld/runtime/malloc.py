"""What the C library is told about memory, before the first large tensor."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor, in this whole process; False where there is no glibc.

    Left alone, it gives every block above 32 MiB back to the kernel, and takes it anew page by page, zeroed. At paper
    size training can spend more than half of its time there (docs/performance.md). In exchange the process keeps the
    memory of its largest moment to its end.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
