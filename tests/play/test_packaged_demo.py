"""`diffworld play --demo`: the model that comes with the package plays soon after the command."""

import re
import subprocess
import sys
import time
from pathlib import Path

from websockets.sync.client import connect
from websockets.typing import Origin

from diffworld.play.protocol import unpack

START = "import sys; from diffworld.cli import main; sys.exit(main(sys.argv[1:]))"


def test_the_packaged_dream_plays_within_ten_seconds(tmp_path: Path) -> None:
    """Ten seconds are promised; twice that is let pass, since the other tests take the processor meanwhile."""
    options = ["play", "--demo", "--no-browser", "--port", "0", "--recordings", str(tmp_path)]
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", START, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            assert address is not None
            url = address[0].replace("http", "ws") + "play"
            numbers: list[int] = []
            with connect(url, origin=Origin(address[0].rstrip("/")), compression=None, max_size=None) as socket:
                while len(numbers) < 3:
                    message = socket.recv(timeout=20)
                    if isinstance(message, bytes):
                        header, _ = unpack(message)
                        numbers.append(header["number"])
            assert numbers == sorted(set(numbers)), "each frame is a new one"
            assert time.monotonic() - begun < 20
        finally:
            server.terminate()
