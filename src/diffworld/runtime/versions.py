"""What produced a result: our version and commit, libraries, machine."""

import platform
import subprocess
from pathlib import Path

import numpy
import torch

import diffworld


def versions() -> dict[str, str | int]:
    """What produced a run: our version and commit, Python, libraries, machine, and the threads it computes with."""
    return {
        "diffworld": diffworld.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    """The commit of a source checkout; empty where the package is installed."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
