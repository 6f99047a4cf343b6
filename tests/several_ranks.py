"""Several ranks of one training, each in a process of its own, as torchrun would start them on one machine.

They are forked from a process that has imported everything once.
"""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.several_ranks", "diffworld.training.run", "diffworld.commands.train", "torch._dynamo", "tyro", "gymnasium"]
)
LIMIT = 600
"""Seconds; only to end what hangs."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


class Started:
    """Ranks at work: `work(*arguments)` in each, with arguments of its own; what they print is kept in `folder`.

    They meet at a store of this process, as they do at torchrun's; given a `port`, rank 0 has to make it there.
    """

    def __init__(
        self, work: Callable[..., int | None], arguments: Sequence[Sequence[Any]], folder: Path, port: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = None if port else TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        count, port = len(arguments), port or (self.store.port if self.store else 0)
        self.outputs = [folder / f"rank-{rank}" for rank in range(count)]
        self.processes = [
            CONTEXT.Process(
                target=_rank,
                args=(_places(rank, count, port, bool(self.store)), self.outputs[rank], work, tuple(arguments[rank])),
            )
            for rank in range(count)
        ]
        for process in self.processes:
            process.start()

    def wait(self) -> list[int]:
        """Wait for all; their exit codes."""
        deadline = time.monotonic() + LIMIT
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        late = [process for process in self.processes if process.exitcode is None]
        for process in late:
            process.kill()
            process.join()
        assert not late, f"{len(late)} ranks did not end: {self.errors()}"
        return [process.exitcode or 0 for process in self.processes]

    def printed(self) -> list[str]:
        """What each rank printed."""
        return [path.with_suffix(".out").read_text() for path in self.outputs]

    def errors(self) -> list[str]:
        """The lines on standard error, of all ranks."""
        files = [path.with_suffix(".err") for path in self.outputs]
        return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def _places(rank: int, count: int, port: int, store: bool) -> dict[str, str]:
    """What torchrun puts into the environment of a rank."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    words = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": str(store)}
    return {name: str(number) for name, number in numbers.items()} | words


def _rank(places: dict[str, str], output: Path, work: Callable[..., int | None], arguments: Any) -> None:
    os.environ |= places
    for stream, suffix in ((sys.stdout, ".out"), (sys.stderr, ".err")):
        with output.with_suffix(suffix).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)
    code = work(*arguments)
    sys.stdout.flush()
    sys.exit(code or 0)
