"""A game with nothing trained is played and recorded, and what is recorded is a data set to train on."""

from pathlib import Path

import numpy as np
import pytest
from serving import Client, serving, wait_for

from diffworld.cli import main
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig
from diffworld.runs.loading import untrained

BOAT = "gym/tests.games.boat:Boat-v0"


def light(frame: np.ndarray) -> tuple[int, int]:
    rows, columns = (frame[..., 0] > 200).nonzero()
    return int(columns.min()), int(rows.min())


def test_a_game_of_continuous_actions_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = untrained(BOAT, EnvironmentConfig(height=16, width=16))
    actions = model.spec.actions
    with serving(model) as served, Client(served) as player:
        info, _ = player.until("welcome")
        assert info["info"]["worlds"]["dream"] and info["info"]["worlds"]["real"] is None
        assert info["info"]["keys"]["axis 0 1"] == "ArrowRight"
        player.pause()
        player.say("record", on=True)
        player.until("state", lambda state: state["recording"])
        player.say("reset")
        for axis, value in ((0, 4), (0, 3), (1, 0), (1, 4)):
            values = [2, 2]
            values[axis] = value
            action = list(actions.encode(values).tolist())  # type: ignore[union-attr]
            player.say("act", action=action)
            player.say("step")
            player.until("view", lambda view, action=action: view["action"] == action)
        player.say("record", on=False)
        player.until("state", lambda state: not state["recording"])
    wait_for(lambda: any((tmp_path / "recordings").glob("*/dataset.json")))
    (folder,) = (tmp_path / "recordings").iterdir()
    with Dataset.open(folder) as data:
        assert data.spec == model.spec and data.num_steps >= 4
        told = [actions.decode(action) for action in data.episodes[-1].actions[-4:]]
        assert told == [[4, 2], [3, 2], [2, 0], [2, 4]]
        episode = data.episodes[-1]
        places = [light(frame) for frame in [*data.episode_frames(episode.id), data.final_frame(episode.id)]][-5:]
        assert np.diff(places, axis=0).tolist() == [[2, 0], [1, 0], [0, -2], [0, 2]]
    assert main(["data", str(folder)]) == 0
    assert main(["train", "--data", str(folder), "--dry-run", "--device", "cpu", "--denoiser.channels", "8", "8"]) == 0


def test_a_game_alone_has_no_dream_and_no_agent() -> None:
    model = untrained(BOAT, EnvironmentConfig(height=16, width=24))
    assert model.spec.frame_size == (16, 24) and model.world is None and model.policy is None and not model.no_game
