"""An import that is stopped anywhere goes on with the same command, holds little in memory, and mixes with nothing."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Import, run
from square import follows, write_clip

from diffworld.data import Dataset
from diffworld.data.schema import FRAMES, ROWS

LIMIT = 600  # seconds, to end what hangs


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings of different kinds of trouble: long, short, damaged, and two that are fine."""
    folder = tmp_path_factory.mktemp("clips")
    for name, steps in (("a", 90), ("b", 1100), ("c", 1), ("e", 60)):
        write_clip(folder, name, steps, seed=steps)
    (folder / "d.mp4").write_bytes(b"no video")
    (folder / "d.jsonl").write_text('{"keys": ["w"]}\n')
    return folder


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their import, never stopped."""
    out = tmp_path_factory.mktemp("whole") / "data"
    done = run("import-data", clips, "--out", out)
    assert done.code == 0, done.err
    return out


def same(one: Path, other: Path) -> bool:
    names = (FRAMES, ROWS, "imported.jsonl", "keymap.json")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("appended", [0, 1, 2, 60, 90, 91, 92, 639, 640, 641, 1100, 1190, 1191, 1192, 1251])
@pytest.mark.cases(every=15)
def test_interrupted_after_any_step_it_goes_on_to_the_same_bytes(
    appended: int, clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, append = [appended], Dataset.append

    def stopping(*arguments: Any, **options: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        append(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "append", stopping)
        stopped = run("import-data", clips, "--out", tmp_path / "data")
    if appended < 1251:
        assert stopped.code == 130 and "the same command goes on" in stopped.err
    done = run("import-data", clips, "--out", tmp_path / "data")
    said = "going on with the import" if appended < 1251 else "has all of this already"
    assert done.code == 0 and said in done.out, done.err
    assert same(whole, tmp_path / "data")


@pytest.mark.parametrize("rows", [1, 50, 300, 900])
@pytest.mark.cases(every=4)
def test_killed_it_goes_on_to_the_same_bytes(rows: int, clips: Path, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diffworld.cli", "import-data", str(clips), "--out", str(tmp_path / "data")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    size = (whole / ROWS).stat().st_size * rows // 1255
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < LIMIT:
        if (tmp_path / "data" / ROWS).exists() and (tmp_path / "data" / ROWS).stat().st_size >= size:
            break
        time.sleep(0.002)
    process.kill()
    assert process.wait() in (0, -signal.SIGKILL)
    done = run("import-data", clips, "--out", tmp_path / "data")
    assert done.code == 0, done.err
    assert same(whole, tmp_path / "data")


@pytest.mark.thorough
def test_compressed_it_goes_on_to_the_same_bytes_and_shows_the_same(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, append = [640], Dataset.append

    def stopping(*arguments: Any, **options: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        append(*arguments, **options)

    command = ["import-data", clips, "--compress", "on", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "append", stopping)
        assert run(*command, tmp_path / "stopped").code == 130
    for name in ("stopped", "straight"):
        assert run(*command, tmp_path / name).code == 0
    assert same(tmp_path / "stopped", tmp_path / "straight")
    with Dataset.open(tmp_path / "stopped") as found, Dataset.open(whole) as expected:
        assert (found.schema.frames, expected.schema.frames) == ("webp", "raw")
        rows = np.arange(expected.num_rows)
        assert np.array_equal(found.gather_frames(rows), expected.gather_frames(rows))


def test_it_is_right_and_says_what_went(clips: Path, whole: Path) -> None:
    with Dataset.open(whole) as data:
        assert data.episodes.lengths.tolist() == [90, 550, 550, 1, 60] and follows(data) == 1
    again = run("import-data", clips, "--out", whole)
    assert again.code == 0 and "skipped d.mp4: its video cannot be read" in again.out
    assert "1,251 steps in 5 episodes" in again.out
    lines = [json.loads(line) for line in (whole / "imported.jsonl").read_text().splitlines()]
    assert [line["recording"] for line in lines] == ["a.mp4", "b.mp4", "c.mp4", "e.mp4"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fps", "7"], "was begun with another --fps"),
        (["--size", "24x32"], "was begun with another --size"),
        (["--shift", "1"], "was begun with another --shift"),
        (["--cut", "0-1"], "was begun with another --cut"),
        (["--compress", "on"], "was begun with another --compress"),
    ],
)
def test_another_command_does_not_go_on(options: list[str], said: str, clips: Path, whole: Path) -> None:
    before = (whole / ROWS).read_bytes()
    done = run("import-data", clips, "--out", whole, *options)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1
    assert (whole / ROWS).read_bytes() == before


def test_other_recordings_and_foreign_folders_are_refused(clips: Path, whole: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other", "z", 5)
    done = run("import-data", other, "--out", whole)
    assert done.code == 2 and "was begun with other recordings (5, now 1)" in done.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    done = run("import-data", other, "--out", tmp_path / "mine")
    assert done.code == 2 and "no import began it" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("name", ["import.json", "imported.jsonl"])
@pytest.mark.parametrize(
    "text", ["", "[]", "{}\n", '{"format": 1, "settings": {}, "recordings": [], "survey": 3}', "\x00"]
)
def test_a_damaged_state_is_one_line(name: str, text: str, clips: Path, whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in whole.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / name).write_text(text)
    done = run("import-data", clips, "--out", data)
    assert (data / ROWS).read_bytes() == (whole / ROWS).read_bytes()  # nothing is written twice
    assert done.code == 2 and done.err.count("\n") == 1, done.err


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, import_to: Import) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)
    frames = np.broadcast_to(one, (4000, 60, 60, 3))  # 43 MB, and packed much less
    np.savez_compressed(tmp_path / "a.npz", frames=frames, actions=rng.integers(0, 4, 4000))
    tracemalloc.start()
    import_to(tmp_path / "a.npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6, f"{peak / 1e6:.0f} MB"
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 3999 and np.array_equal(data.gather_frames(np.array([2000]))[0], one)
