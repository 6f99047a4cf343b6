"""docs/your-own-game.md, word by word: its commands do what it says, and print what it shows."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from asking import Done, run
from square import follows, frames_of, play, write_lines, write_video

import diffworld
from diffworld.cli import main
from diffworld.data import Dataset
from diffworld.importing import formats
from diffworld.importing.actions import KeyMap

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your-own-game.md").read_text(encoding="utf-8")
OWN = PAGE.partition("## An hour of FrozenLake")[0]  # the rest: tests/examples/test_record_frozen_lake.py
COMMANDS = [line.split("#")[0].split() for line in re.findall(r"^    (diffworld .+)$", OWN, re.MULTILINE)]
SMALL = """
--denoiser.channels 8 8 --denoiser.depths 1 1 --denoiser.attention False False --denoiser.cond-channels 16
--denoiser-updates.first-steps 4 --denoiser-updates.steps 4 --denoiser-updates.batch-size 4
--sampler.denoising-steps 1 --epochs 1 --device cpu
""".split()


def block(kind: str, beginning: str) -> str:
    """The page's block of code of that kind that begins so."""
    found = [text for text in re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S) if text.startswith(beginning)]
    assert len(found) == 1, f"{len(found)} blocks begin with {beginning}"
    return str(found[0])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `recordings`, as the page has it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "recordings").mkdir()
    places, pressed = play(300, seed=1)
    write_video(folder / "recordings" / "evening.mp4", frames_of(places))
    write_lines(folder / "recordings" / "evening.jsonl", [{"keys": keys} for keys in [*pressed, []]])
    return folder


def follow(desk: Path, command: list[str], *more: str) -> Done:
    here = os.getcwd()
    os.chdir(desk)
    try:
        return run(*command[1:], *more)
    finally:
        os.chdir(here)


@pytest.mark.thorough
def test_the_commands_in_short_lead_from_a_recording_to_a_dream(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffworld.evaluation.look.alignment.UPDATES", 50)  # what it finds has tests of its own
    imported, looked, trained, played = COMMANDS[:4]
    done = follow(desk, imported)
    assert done.code == 0, done.err
    assert done.out == block("text", "recordings: video")
    with Dataset.open(desk / "data" / "mygame") as data:
        assert follows(data) == 1
    done = follow(desk, looked)
    assert done.code == 0 and "alignment: " in done.out, done.err
    assert (desk / "data" / "mygame" / "look.html").read_text().startswith("<!DOCTYPE html>")
    done = follow(desk, trained, *SMALL)
    assert done.code == 0, done.err
    assert (desk / "runs" / "mygame" / "dream.mp4").exists()
    model = diffworld.load(desk / "runs" / "mygame", "cpu")
    assert model.world is not None and model.spec.actions.names == data.spec.actions.names
    (desk / "LICENCE.txt").write_text("Free for all.")
    done = follow(desk, next(command for command in COMMANDS if command[1] == "export"))
    assert done.code == 0, done.err
    shared = diffworld.load(desk / "mygame.zip", "cpu")
    assert shared.licence == "Free for all." and shared.spec == model.spec and len(shared.starts.windows()) == 64

    command = [sys.executable, "-m", "diffworld.cli", *played[1:], "--port", "0", "--no-browser", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        (address,) = re.findall(r"http://\S+", line)
        assert b"<html" in urllib.request.urlopen(address, timeout=60).read()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.thorough
def test_the_script_records_a_game_of_somebody_else(tmp_path: Path) -> None:
    script = block("python", "import csv").replace("STEPS, action = 10_000, 0", "STEPS, action = 240, 0")
    assert "= 240" in script
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    imported, _, trained, _ = COMMANDS[:4]
    done_here = follow(tmp_path, imported)
    assert done_here.code == 0 and "a line a frame: 240 lines, 240 frames" in done_here.out, done_here.err
    with Dataset.open(tmp_path / "data" / "mygame") as data:
        assert data.spec.actions.size == 3 and data.spec.rewards and data.spec.ends and data.num_steps == 239
        assert data.spec.frame_size == (64, 48) and len({bytes(frame) for frame in data.episode_frames(0)}) > 100
    done_here = follow(tmp_path, trained, *SMALL, "--networks", "denoiser")
    assert done_here.code == 0, done_here.err
    assert "does it obey? " in done_here.out and (tmp_path / "runs" / "mygame" / "obedience.png").exists()


def test_the_other_commands_of_the_page_are_those_in_short() -> None:
    rest = {" ".join(command) for command in COMMANDS[4:]} - {" ".join(command) for command in COMMANDS[:4]}
    assert rest == {
        "diffworld play --env gym/CartPole-v1 --recordings recordings",
        "diffworld export runs/mygame --out mygame.zip --licence LICENCE.txt",
        "diffworld play mygame.zip",
    }


def test_the_log_it_shows_is_one(desk: Path, tmp_path: Path) -> None:
    lines = block("json", '{"keys": ["w", "space"]').splitlines()
    write_video(tmp_path / "a.mp4", frames_of(play(len(lines), seed=0)[0]))
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    done = run("import-data", tmp_path / "a.mp4", "--out", tmp_path / "data")
    assert done.code == 0, done.err
    with Dataset.open(tmp_path / "data") as data:
        assert {"w", "space", "mouse left"} < {*data.spec.actions.names}


def test_the_key_map_it_shows_is_one(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(block("json", '{\n  "keys": {"w": "forward"'))
    assert KeyMap.read(path).keys["mouse left"] == "attack"


def test_its_table_has_every_format() -> None:
    section = PAGE[PAGE.index("### Formats") : PAGE.index("An extra is installed")]
    named = re.findall(r"^\| `(\w+)` \| ", section, re.M)
    assert {*named} == {*formats.FORMATS}


def test_its_table_has_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main(["import-data", "--help"])
    shown = {name for name in re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out) if not name.startswith("--help")}
    shown = {name.replace("--no-", "--") for name in shown}
    missing = shown - {*re.findall(r"--[a-z][a-z-]+", PAGE)} - {"--name"}
    assert not missing, missing


@pytest.mark.thorough
def test_a_late_log_is_found_and_cured_as_it_says(desk: Path, tmp_path: Path) -> None:
    places, pressed = play(1200, seed=2)
    write_video(tmp_path / "a.mp4", frames_of(places))
    write_lines(tmp_path / "a.jsonl", [{"keys": keys} for keys in [[], [], *pressed]])
    out = tmp_path / "data"
    assert run("import-data", tmp_path / "a.mp4", "--out", out, "--size", "12x16").code == 0
    done = run("data", out, "--check-alignment", "--shifts", "3", "--page", tmp_path / "look.html")
    said = block("text", "alignment: ").partition("(sure")[0]
    assert said in done.out and "import again with --shift 2" in done.out
    again = tmp_path / "again"
    assert run("import-data", tmp_path / "a.mp4", "--out", again, "--size", "12x16", "--shift", "2").code == 0
    with Dataset.open(again) as data:
        assert follows(data) == 1
    assert json.loads((again / "dataset.json").read_text())["info"]["imported"]["shift"] == 2
