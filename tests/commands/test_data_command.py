"""`diffworld data`: what it says of a data set, and every frame checked where that is asked for."""

import os
from pathlib import Path

import numpy as np
import pytest

from diffworld.commands.data import main
from diffworld.data import Compress, Dataset
from diffworld.game import ActionSpace, GameSpec
from diffworld.runtime.errors import UserError


def make(folder: Path, compress: Compress) -> None:
    rng, spec = np.random.default_rng(0), GameSpec("toy", 8, 8, ActionSpace.discrete(2))
    with Dataset.create(folder, spec, compress=compress) as data:
        for _ in range(3):
            episode = data.new_episode()
            for step in range(9):
                frames, last = rng.integers(0, 256, (2, *spec.frame_shape), dtype=np.uint8), step == 8
                data.append(episode, frames[0], step % 2, 0.0, last, False, frames[1] if last else None)


@pytest.mark.parametrize("compress", ["off", "on"])
def test_a_check_reads_every_frame(compress: Compress, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, compress)
    path = tmp_path / "frames.bin"
    before = path.stat()
    assert main([str(tmp_path), "--check"]) == 0
    assert "all 30 rows are as they were written" in capsys.readouterr().out
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as when a disk forgets: no date says so
    with pytest.raises(UserError, match=r"^row \d+ of .* is corrupt") as error:
        main([str(tmp_path), "--check"])
    assert "\n" not in str(error.value)


def test_a_copy_is_known_after_a_check(tmp_path: Path) -> None:
    make(tmp_path, "on")
    path = tmp_path / "frames.bin"
    os.utime(path)  # as a copy has it
    assert main([str(tmp_path), "--check"]) == 0
    status, whole = path.stat(), path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    Dataset.open(tmp_path).close()  # no frame is read


def test_a_check_of_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set"):
        main([str(tmp_path), "--check"])
    make(tmp_path / "data", "off")
    (tmp_path / "data" / "rows.bin").unlink()
    with pytest.raises(UserError, match="cannot open the data set"):
        main([str(tmp_path / "data"), "--check"])
