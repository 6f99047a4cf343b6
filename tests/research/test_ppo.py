"""PPO in the real game: the adapter keeps to Stable-Baselines3's rules, and scores are added up."""

import json
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecMonitor

from diffworld.envs import EnvironmentConfig, make_env
from diffworld.runtime.errors import UserError
from research.ppo import GameVecEnv, Options, add_score, run


def test_a_row_that_is_over_begins_anew_in_the_same_step() -> None:
    envs = VecMonitor(GameVecEnv(make_env("minatar/breakout", EnvironmentConfig(height=10, width=10), 3), seed=0))
    frames, over = envs.reset(), 0
    for actions in np.random.default_rng(0).integers(3, size=(60, 3)):
        frames, rewards, dones, infos = envs.step(actions)
        assert frames.shape == (3, 10, 10, 3) and frames.dtype == np.uint8 and rewards.shape == (3,)
        for row in np.flatnonzero(dones):
            over += 1
            last = infos[row]["terminal_observation"]
            assert not infos[row]["TimeLimit.truncated"] and not np.array_equal(last, frames[row])
    assert over >= 3
    envs.close()


def test_scores_of_one_budget_share_a_file(tmp_path: Path) -> None:
    out = tmp_path / "ppo.json"
    run(Options("minatar/breakout", steps=256, games=2, rows=4, out=out))
    add_score(out, Options("minatar/asterix", steps=256, seed=3, games=2), 0.25)
    record = json.loads(out.read_text())
    assert set(record["scores"]) == {"minatar/breakout", "minatar/asterix"} and record["steps"] == 256
    assert record["scores"]["minatar/asterix"] == {"3": 0.25}
    with pytest.raises(UserError, match="of 256 steps and 2 games: choose another --out"):
        add_score(out, Options("minatar/asterix", steps=512, games=2), 0.25)
