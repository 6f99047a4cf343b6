"""What OpenMP is told, before torch loads it."""

import os


def sleep_when_waiting() -> None:
    """Let the threads of this process and its children, which wait for one another between two operations, soon sleep.

    GNU's OpenMP, which torch brings on Linux, lets them spin for milliseconds: on a busy machine on the very core that
    the thread they wait for needs (docs/performance.md). What the user has set is left alone.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"  # rounds, together some microseconds
