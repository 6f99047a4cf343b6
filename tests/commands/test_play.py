"""`diffworld play` as a user starts and stops it."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from diffworld.commands.play import main
from diffworld.runtime.errors import UserError

START = "import sys; from diffworld.commands.play import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "play"))
    try:
        from tiny_run import make_run
    finally:
        sys.path.pop(0)
    return make_run(tmp_path_factory.mktemp("command") / "run")


def test_it_prints_its_address_serves_and_stops_on_ctrl_c(run_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    environment = {k: v for k, v in environment.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(run_folder), "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
    assert address is not None
    assert "diffworld" in httpx.get(address[0], timeout=600).text
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert (process.returncode, said) == (0, "stopped\n")


def test_a_busy_port_is_said_before_the_model_is_loaded(run_folder: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(UserError, match="choose another --port"):
            main([str(run_folder), "--port", str(busy.getsockname()[1])])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a run folder, or --demo"),
        (["runs/x", "--demo"], "Unrecognized options: demo"),
        (["--demo", "runs/x"], "there is no demo 'runs/x': choose one of boxing, breakout"),
        (["no/such/run", "--port", "0"], "no run folder"),
        (["RUN", "--port", "0", "--max-players", "0"], "--max-players"),
        (["RUN", "--port", "99999"], "--port"),
        (["RUN", "--port", "web"], "--port"),
        (["RUN", "--host", "no.such.host.invalid"], "--host"),
        (["RUN", "--port", "0", "--device", "abacus"], "device"),
        (["demo", "--port", "0", "--device", "abacus"], "device"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(run_folder: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        main([str(run_folder) if word == "RUN" else word for word in arguments])
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_damaged_run_is_one_line(run_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "run"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        main([str(damaged), "--port", "0"])
