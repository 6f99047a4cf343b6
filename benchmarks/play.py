"""Frames a second that each of 1 to 12 players sees: python benchmarks/play.py RUN (or --demo).

The server runs in a process of its own, as `diffworld play` starts it; the players are plain websocket clients in
this one, which ask for `--fps` frames a second, never pause, and confirm each frame as the page does. The agent
plays. Reported for each number of players: frames a second (the slowest player's, the mean), and the longest that
any player waited between two frames. Players beyond `--max-players` wait in line, so the server is started with
as many places as the largest number asks for.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time

from websockets.asyncio.client import connect
from websockets.typing import Origin

from diffworld.play.protocol import unpack

WARM_UP_SECONDS = 2.0
START = "import sys; from diffworld.commands.play import main; sys.exit(main(sys.argv[1:]))"


async def play(address: str, fps: int, ready: asyncio.Barrier, seconds: float) -> list[float]:
    """Play, and return when each frame arrived, in seconds, within the time measured."""
    url = address.replace("http", "ws") + "play"
    async with connect(url, origin=Origin(address.rstrip("/")), compression=None, max_size=None) as socket:
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        await socket.send(json.dumps({"type": "pace", "fps": fps}))
        await ready.wait()
        begin = time.perf_counter() + WARM_UP_SECONDS
        arrived: list[float] = []
        while time.perf_counter() < begin + seconds:
            message = await socket.recv()
            if isinstance(message, bytes):
                header, _ = unpack(message)
                await socket.send(json.dumps({"type": "shown", "number": header["number"]}))
                if time.perf_counter() >= begin:
                    arrived.append(time.perf_counter())
        return arrived


async def measure(address: str, players: int, fps: int, seconds: float) -> tuple[float, float, float]:
    """Frames a second of the slowest player and in the mean, and the longest wait in milliseconds."""
    ready = asyncio.Barrier(players)
    all_arrived = await asyncio.gather(*(play(address, fps, ready, seconds) for _ in range(players)))
    rates = [len(arrived) / seconds for arrived in all_arrived]
    waits = [b - a for arrived in all_arrived for a, b in zip(arrived, arrived[1:], strict=False)]
    return min(rates), sum(rates) / players, 1000 * max(waits, default=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run folder")
    parser.add_argument("--demo", action="store_true", help="the package's demo model")
    parser.add_argument("--players", type=int, nargs="+", default=[1, 2, 4, 8, 12])
    parser.add_argument("--fps", type=int, default=15, help="frames a second each player asks for")
    parser.add_argument("--seconds", type=float, default=10.0, help="time measured for each number of players")
    options = parser.parse_args()
    if bool(options.run) == options.demo:
        parser.error("give a run folder, or --demo")
    what = ["--demo"] if options.demo else [options.run]
    command = [sys.executable, "-c", START, *what, "--port", "0", "--no-browser"]
    with subprocess.Popen(
        [*command, "--max-players", str(max(options.players))], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            if address is None:
                sys.exit("the server did not start")
            print(f"{'players':>7}  {'slowest fps':>11}  {'mean fps':>8}  {'longest wait (ms)':>17}")
            for players in options.players:
                slowest, mean, wait = asyncio.run(measure(address[0], players, options.fps, options.seconds))
                print(f"{players:7}  {slowest:11.1f}  {mean:8.1f}  {wait:17.0f}", flush=True)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
