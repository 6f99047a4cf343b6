"""The example that records Doom to MP4 and JSON: what it writes is imported, its keys and its ends with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffworld.commands.import_data import main
from diffworld.data import Dataset
from diffworld.game import Keys

EXAMPLE = Path(__file__).parents[2] / "examples" / "record_doom.py"


def test_what_it_records_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    pytest.importorskip("av")
    command = [sys.executable, str(EXAMPLE), "--minutes", "0.5", "--out", "recordings"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    assert main([str(tmp_path / "recordings"), "--out", str(tmp_path / "data"), "--size", "24x32"]) == 0
    with Dataset.open(tmp_path / "data") as data:
        (keys,) = data.spec.actions.parts
        assert isinstance(keys, Keys) and set(keys.names) == {"left", "right", "up"}
        assert data.spec.steps_per_second == pytest.approx(35 / 4) and 255 <= data.num_steps <= 262
        assert any(data.episodes.terminated)
