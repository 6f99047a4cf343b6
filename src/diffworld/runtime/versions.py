"""What produced a result: our version and commit, libraries, machine."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import diffworld


def installed() -> dict[str, str]:
    """What all machines must have alike that work together: our version and commit, Python, libraries.

    The libraries are not loaded for it.
    """
    libraries = {name: metadata.version(name) for name in ("torch", "numpy")}
    return {"diffworld": diffworld.__version__, "commit": _commit(), "python": platform.python_version(), **libraries}


def versions() -> dict[str, str | int]:
    """What produced a run: what is installed, the machine, and the threads it computes with."""
    import torch

    return {**installed(), "machine": f"{platform.system()} {platform.machine()}", "threads": torch.get_num_threads()}


def differing(first: dict[str, str], other: dict[str, str], whose: str) -> str:
    """In words, how what is installed elsewhere differs from the first's, which is called `whose`; empty if not."""
    name = next((name for name in first if first[name] != other[name]), "")
    return name and f"has {name} {other[name]}, and {whose} {first[name]}: install the same everywhere"


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
