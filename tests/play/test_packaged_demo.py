"""`diffworld play --demo`, and of a file: what comes as one file plays after the command."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import LIMIT, open_socket

from diffworld.cli import main
from diffworld.play.protocol import unpack

START = "import sys; from diffworld.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("what", ["--demo", "file"])
@pytest.mark.cases(every=2)
def test_the_packaged_dream_plays(what: str, tmp_path: Path) -> None:
    if what == "file":
        what = str(tmp_path / "a game.zip")
        assert main(["export", "--demo", "--out", what]) == 0
    options = ["play", what, "--no-browser", "--port", "0", "--recordings", str(tmp_path)]
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
            assert info["command"] == shlex.join(["diffworld", *options])
            assert info["defaults"]["denoising_steps"] == 1
            assert numbers == sorted(set(numbers)), "each frame is a new one"
        finally:
            server.terminate()
