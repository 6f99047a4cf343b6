"""`diffworld play --demo`: the model that comes with the package plays after the command."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from serving import LIMIT, open_socket

from diffworld.play.protocol import unpack

START = "import sys; from diffworld.cli import main; sys.exit(main(sys.argv[1:]))"


def test_the_packaged_dream_plays(tmp_path: Path) -> None:
    options = ["play", "--demo", "--no-browser", "--port", "0", "--recordings", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", START, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://([^/]+)/", server.stdout.readline())
            assert address is not None
            numbers: list[int] = []
            told: list[dict[str, Any]] = []
            with open_socket(address[1], f"http://{address[1]}") as socket:
                while len(numbers) < 3:
                    message = socket.recv(LIMIT)
                    if isinstance(message, str):
                        told.append(json.loads(message))
                    else:
                        header, _ = unpack(message)
                        numbers.append(header["number"])
            info = next(each["info"] for each in told if each["type"] == "welcome")
            assert info["command"] == f"diffworld play --demo --no-browser --port 0 --recordings {tmp_path}"
            assert info["defaults"]["denoising_steps"] == 1
            assert numbers == sorted(set(numbers)), "each frame is a new one"
        finally:
            server.terminate()
