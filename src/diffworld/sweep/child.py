"""Become `diffworld ...`, asked to stop as soon as the process that started it is gone, where the system tells (Linux).

So a run saves, and gives up its lock, when the sweep or a cluster's worker that it belongs to is killed.
"""

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1  # of <sys/prctl.h>

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a worker of Ray lets its children inherit blocked signals
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, "-m", "diffworld.cli", *sys.argv[1:]])
