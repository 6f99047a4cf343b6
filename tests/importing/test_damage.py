"""Damaged files of every format: imported as far as they can be, or refused in one line; never a traceback."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from asking import run
from PIL import Image
from square import frames_of, play, write_clip, write_lines

SAMPLES = Path(__file__).parent / "samples"


def clip(folder: Path) -> None:
    write_clip(folder, "a", 12)


def archive(folder: Path) -> None:
    np.savez_compressed(folder / "a.npz", frames=frames_of(play(12)[0]), actions=np.arange(12) % 3, rewards=np.ones(12))


def files(folder: Path) -> None:
    np.save(folder / "frames.npy", frames_of(play(12)[0]))
    np.save(folder / "actions.npy", np.arange(12) % 3)


def pictures(folder: Path) -> None:
    for number, frame in enumerate(frames_of(play(5)[0])):
        Image.fromarray(frame).save(folder / f"{number}.png")
    write_lines(folder / "actions.jsonl", [{"keys": ["a"] if t % 2 else []} for t in range(5)])


def desktop(folder: Path) -> None:
    pytest.importorskip("mcap")
    shutil.copytree(SAMPLES / "owamcap", folder, dirs_exist_ok=True)


def lerobot(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    shutil.copytree(SAMPLES / "lerobot-v2.1", folder, dirs_exist_ok=True)


def matches(folder: Path) -> None:
    pytest.importorskip("h5py")
    from csgo import write_match, write_tar

    file = write_match(folder / "m_1.hdf5", 3)
    write_tar(folder / "more.tar", [("full_res/1-200/m_2.hdf5", file)])


MAKERS = (clip, archive, files, pictures, desktop, lerobot, matches)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.cases(every=20)
def test_damage_is_never_a_traceback(make: object, seed: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    make(source)  # type: ignore[operator]
    rng = np.random.default_rng(seed)
    there = sorted(path for path in source.rglob("*") if path.is_file())
    path = there[rng.integers(len(there))]
    data = bytearray(path.read_bytes())
    if seed % 3 == 0:
        data = data[: rng.integers(len(data))]
    else:
        for place in rng.integers(len(data), size=1 if seed % 3 == 1 else 20):
            data[place] = rng.integers(256)
    path.write_bytes(data)
    done = run("import-data", source, "--out", tmp_path / "data")
    assert done.code in (0, 2) and done.err.count("\n") == (done.code != 0), done.err
    if done.code == 0:  # and what was written is a data set
        assert run("data", tmp_path / "data").code == 0
