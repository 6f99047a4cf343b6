"""A Ray cluster of several nodes on this machine, each with processes of its own, that a test may kill.

Run as a program it takes a JSON line for each order and answers with one. It ends, and all of Ray with it, when its
standard input does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STORE = 80 * 2**20


class Nodes:
    """The cluster's process, seen from a test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def add(self, **options: Any) -> str:
        """Add a node, the first of which is the head; the head's address."""
        return self._order("add", options)

    def kill(self, process: int) -> None:
        """Kill the node that a process belongs to, with all its processes at once, as a power cut would."""
        self._order("kill", process)

    def crash(self, process: int) -> None:
        """Kill Ray's own part alone of the node that a process belongs to."""
        self._order("crash", process)

    def _order(self, what: str, given: Any) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, given]) + "\n")
        self.process.stdin.flush()
        while not (line := self.process.stdout.readline()).startswith("done: "):
            assert line, "the cluster has ended"
        return line.removeprefix("done: ").strip()


def environment(temporary: str) -> dict[str, str]:
    """For all of Ray: our source, one thread, and Ray's own files in a folder (of a short name, for sockets)."""
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": temporary}


@contextmanager
def cluster() -> Iterator[tuple[Nodes, dict[str, str]]]:
    """A cluster without nodes, and the environment to use it in; nothing of it is left afterwards."""
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    pipe = subprocess.PIPE
    command = [sys.executable, str(Path(__file__))]
    process = subprocess.Popen(command, env=environment(temporary), stdin=pipe, stdout=pipe, text=True)
    try:
        yield Nodes(process), environment(temporary)
        process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
        wait_for_end_of(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def wait_for_end_of(temporary: str) -> None:
    """Wait for whatever was started with Ray's files in that folder."""
    marker = f"RAY_TMPDIR={temporary}\0".encode()
    while any(marker in read(place / "environ") and b"Z" not in state(place) for place in processes()):
        time.sleep(0.1)


def processes() -> list[Path]:
    return [place for place in Path("/proc").glob("[0-9]*") if int(place.name) != os.getpid()]


def read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def state(place: Path) -> bytes:
    return (read(place / "stat").rpartition(b")")[2].split() or [b"Z"])[0]


def below(process: int) -> list[int]:
    """A process and all that came of it, parents first."""
    parents = {int(p.name): int((read(p / "stat").rpartition(b")")[2].split() or [0, 0])[1]) for p in processes()}
    found = [process]
    for parent in found:
        found += [child for child in parents if parents[child] == parent]
    return found


def main() -> None:
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    for line in sys.stdin:
        what, given = json.loads(line)
        if what == "add":
            options = {"include_dashboard": False} if nodes.head_node is None else {}
            nodes.add_node(**options, object_store_memory=STORE, **given)
        else:
            raylets = {node: node.all_processes["raylet"][0].process.pid for node in nodes.worker_nodes}
            node = next(node for node, raylet in raylets.items() if given in below(raylet))
            for process in below(raylets[node])[:: -1 if what == "kill" else 1][: None if what == "kill" else 1]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            if what == "kill":
                nodes.remove_node(node, allow_graceful=False)
        print(f"done: {nodes.address}", flush=True)
    nodes.shutdown()


if __name__ == "__main__":
    main()
