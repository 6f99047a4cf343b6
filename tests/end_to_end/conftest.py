"""One finished run for all files of this folder, whichever process tests them."""

from pathlib import Path

import pytest
from filelock import FileLock
from tiny import train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A run trained without interruption; tests only read it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # all workers of one call have the same parent
    out = shared / "finished" / "whole"
    with FileLock(shared / "finished.lock"):
        if not (out / "summary.json").exists():
            done = train(out)
            assert done.returncode == 0, done.stderr
            assert all(f"  {who} " in done.stdout for who in ("random", "blind mixture", "agent"))
    return out
