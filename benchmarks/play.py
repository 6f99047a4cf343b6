"""Frames a second that each of 1 to 12 players sees.

    python -m benchmarks.play --demo                     # the package's model
    python -m benchmarks.play RUN                        # a run folder's
    python -m benchmarks.play --paper-size --players 1   # networks of the preset atari100k, random weights
    ... --compile on                                     # again, once the compiled drawing has been swapped in

The server runs in a process of its own, as `diffworld play` starts it; the players are plain websocket clients in
this one, which ask for `--fps` frames a second, never pause, and confirm each frame as the page does. The agent
plays. Reported for each number of players: frames a second (the slowest player's, the mean), and the longest that
any player waited between two frames (an ended game is held for a second, which does not count). Players beyond
`--max-players` wait in line, so the server is started with as many places as the largest number asks for.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from websockets.asyncio.client import connect
from websockets.typing import Origin

from benchmarks.measuring import end_at_times
from diffworld.config import preset
from diffworld.envs import make_env
from diffworld.play.protocol import unpack
from diffworld.recipes import build_networks
from diffworld.runs.folder import Checkpoint, RunFolder
from diffworld.runtime.files import write_json

WARM_UP_SECONDS = 2.0
COMPILE_SECONDS = 1800.0
"""How long at most to wait for the compiled drawing."""
START = "import sys; from diffworld.commands.play import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Row:
    """What a number of players saw."""

    drawing: str
    """plain; compiling: plain, while the compiler runs beside it; compiled."""
    players: int
    slowest_fps: float
    mean_fps: float
    longest_wait_ms: float


@dataclass
class Server:
    """A running server, and what it said of the compiler."""

    address: str
    compiled: threading.Event = field(default_factory=threading.Event)
    """Set once the compiler has ended, well or not."""
    failed: bool = False


@contextlib.contextmanager
def serving(arguments: list[str]) -> Iterator[Server]:
    """`diffworld play` on a free port, until the `with` ends; what it says passes through."""
    command = [sys.executable, "-c", START, *arguments, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                sys.exit(f"the server did not start: {process.stderr.read()}")
            server, said = Server(address[0]), process.stderr
            threading.Thread(target=_listen, args=(said, server), daemon=True).start()
            yield server
        finally:
            process.terminate()


def _listen(said: Iterator[str], server: Server) -> None:
    for line in said:
        print(line, end="", file=sys.stderr)
        if "runs uncompiled" in line:
            server.failed = True
        if server.failed or line.startswith("compiled the denoiser"):
            server.compiled.set()


async def play(address: str, fps: int, ready: asyncio.Barrier, seconds: float) -> list[float]:
    """Play, and return the waits between frames, in seconds; not those after an end, which is left to look at."""
    url = address.replace("http", "ws") + "play"
    async with connect(url, origin=Origin(address.rstrip("/")), compression=None, max_size=None) as socket:
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        await socket.send(json.dumps({"type": "pace", "fps": fps}))
        await ready.wait()
        begin = time.perf_counter() + WARM_UP_SECONDS
        last, waits = 0.0, []
        while time.perf_counter() < begin + seconds:
            message = await socket.recv()
            if isinstance(message, bytes):
                header, _ = unpack(message)
                await socket.send(json.dumps({"type": "shown", "number": header["number"]}))
                if last >= begin:
                    waits.append(time.perf_counter() - last)
                last = 0.0 if header["ended"] or header["truncated"] else time.perf_counter()
        return waits


async def measure(address: str, drawing: str, players: int, fps: int, seconds: float) -> Row:
    """Let so many play at once."""
    ready = asyncio.Barrier(players)
    waits = await asyncio.gather(*(play(address, fps, ready, seconds) for _ in range(players)))
    rates = [len(of_one) / sum(of_one) if of_one else 0.0 for of_one in waits]
    longest = max((max(of_one) for of_one in waits if of_one), default=seconds)
    return Row(drawing, players, min(rates), sum(rates) / players, 1000 * longest)


def make_paper_size_run(path: Path) -> Path:
    """A run of the paper's size that was never trained; its dreams do not end."""
    run, config = RunFolder(path), preset("atari100k")
    with contextlib.closing(make_env(config.env, config.environment)) as env:
        spec = env.spec
    networks = build_networks(config, spec, torch.device("cpu"))
    end_at_times(networks.reward_end, 1e-6)
    run.begin(config, spec)
    run.save(1, Checkpoint(networks.tensors(), {}, {}))
    return path


def measure_all(server: Server, options: argparse.Namespace) -> Iterator[Row]:
    """Every number of players, with the plain drawing; then with the compiled one, where it was asked for."""

    def row(drawing: str, players: int) -> Row:
        return asyncio.run(measure(server.address, drawing, players, options.fps, options.seconds))

    if options.compile == "off":
        yield from (row("plain", players) for players in options.players)
        return
    yield from (row("compiling", players) for players in options.players if not server.compiled.is_set())
    if not server.compiled.wait(COMPILE_SECONDS) or server.failed:
        sys.exit("the drawing was not compiled")
    yield from (row("compiled", players) for players in options.players)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("run", nargs="?", help="a run folder")
    what.add_argument("--demo", action="store_true", help="the package's demo model")
    what.add_argument("--paper-size", action="store_true", help="networks of the preset atari100k, random weights")
    parser.add_argument("--players", type=int, nargs="+", default=[1, 2, 4, 8, 12])
    parser.add_argument("--fps", type=int, default=15, help="frames a second each player asks for")
    parser.add_argument("--seconds", type=float, default=10.0, help="time measured for each number of players")
    parser.add_argument("--compile", choices=["off", "on"], default="off", help="also compile the drawing, and measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.paper_size:
            options.run = make_paper_size_run(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "paper-size")
        model = ["--demo"] if options.demo else [str(options.run)]
        places = ["--max-players", str(max(options.players))]
        server = stack.enter_context(serving([*model, *places, "--compile", options.compile]))
        print(f"{'drawing':9}  {'players':>7}  {'slowest fps':>11}  {'mean fps':>8}  {'longest wait (ms)':>17}")
        rows = []
        for row in measure_all(server, options):
            rows.append(row)
            print(
                f"{row.drawing:9}  {row.players:7}  {row.slowest_fps:11.1f}  {row.mean_fps:8.1f}"
                f"  {row.longest_wait_ms:17.0f}",
                flush=True,
            )
    if options.json:
        about = {"model": "demo" if options.demo else Path(options.run).name, "asked_fps": options.fps}
        machine = {"processor": platform.processor(), "torch": torch.__version__, "threads": torch.get_num_threads()}
        write_json(options.json, {**about, **machine, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
