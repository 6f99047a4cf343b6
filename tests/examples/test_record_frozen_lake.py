"""The example that records FrozenLake, by the commands of docs/your-own-game.md: what it writes is imported, with its
keys, rewards and ends, and its actions belong to their frames."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffworld.cli import main
from diffworld.data import Dataset
from diffworld.game import Keys

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "your-own-game.md").read_text("utf-8").partition("## An hour of FrozenLake")[2]
COMMANDS = [line.split() for line in re.findall(r"^    (\w+ .+)$", SECTION.replace("\\\n", ""), re.MULTILINE)]


@pytest.mark.thorough
def test_what_it_records_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pygame")
    monkeypatch.chdir(tmp_path)
    (python, example, *rest), imported, looked, *trained, _, _ = COMMANDS
    assert python == "python" and "60" in rest
    command = [sys.executable, str(ROOT / example), *("3" if word == "60" else word for word in rest)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    recordings, out = tmp_path / "recordings", tmp_path / "data" / "lake"
    assert main(imported[1:]) == 0
    assert "a step earlier" not in capsys.readouterr().out  # a game's last picture is there
    logs = [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted(recordings.glob("*.jsonl"))]
    with Dataset.open(out) as data:
        (keys,) = data.spec.actions.parts
        assert isinstance(keys, Keys) and set(keys.names) == {"left", "right", "up", "down"}
        assert data.spec.steps_per_second == 4 and data.num_steps >= 3 * 60 * 4
        assert data.episodes.lengths.tolist() == [len(log) for log in logs]
        for episode, log in zip(data.episodes, logs, strict=True):
            assert episode.actions.tolist() == [[name in line["keys"] for name in keys.names] for line in log]
            assert episode.rewards.tolist() == [line["reward"] for line in log]
            assert (episode.terminated, episode.truncated) == (log[-1]["terminated"], log[-1]["truncated"])
        paid = np.array([log[-1]["reward"] for log in logs])
        assert {0, 1} <= set(paid.tolist())  # some are lost, some won
        places = [int(np.flatnonzero(paid == reward)[0]) for reward in (0, 1)]
        ends = [data.gather_frames(data.episodes.final_rows[[place]])[0].astype(int) for place in places]
        before = [data.gather_frames(data.episodes.rows(place)[-1:])[0].astype(int) for place in places]
        assert all(np.abs(after - earlier).max() > 60 for after, earlier in zip(ends, before, strict=True))
    assert main(looked[1:]) == 0
    assert "alignment: actions belong to their frames" in capsys.readouterr().out
    for train in trained:
        assert train[1] == "train" and main([*train[1:], "--show-config"]) == 0
