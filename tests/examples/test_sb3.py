"""Stable-Baselines3's PPO in a tiny dream: the adapter keeps to its rules, and the whole example runs."""

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecMonitor

from diffworld.runtime.errors import UserError
from examples.sb3_in_a_dream import DreamVecEnv, main
from tests.dream_env.tiny_dream import CATCH, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "catch")


def test_the_adapter_tells_how_dreams_end(run: Path) -> None:
    settings = {"model": run, "device": "cpu", "horizon": 4, "autoreset_mode": "SameStep"}
    plain = gymnasium.make_vec("diffworld/Dream-v0", 3, **settings)
    envs = VecMonitor(DreamVecEnv(gymnasium.make_vec("diffworld/Dream-v0", 3, **settings)))
    envs.seed(5)
    np.testing.assert_array_equal(envs.reset(), plain.reset(seed=5)[0])
    lengths, cuts = [], 0
    for actions in np.random.default_rng(0).integers(3, size=(30, 3)):
        frames, rewards, dones, infos = envs.step(actions)
        same, paid, ended, truncated, said = plain.step(actions)
        np.testing.assert_array_equal(frames, same)
        np.testing.assert_array_equal(rewards, paid)
        np.testing.assert_array_equal(dones, ended | truncated)
        for row, info in enumerate(infos):
            assert ("terminal_observation" in info) == dones[row]
            if dones[row]:
                np.testing.assert_array_equal(info["terminal_observation"], said["final_obs"][row])
                assert info["TimeLimit.truncated"] == truncated[row]
                lengths.append(info["episode"]["l"])
                cuts += truncated[row]
    assert set(lengths) == {1, 2, 3, 4} and 0 < cuts < len(lengths)


def test_the_example_trains_and_plays_the_real_game(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    means = main(str(run), steps=512, games=3, rows=8, device="cpu")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "PPO in the dream of catch (gym/tests.games.catch:Catch-v0), 8 rows"
    assert said[-5] == "scores in 3 real games:"
    ppo, random, constant, blind = means
    assert (ppo, random, blind) == ("PPO", "random", "blind mixture") and constant.startswith("always ")
    assert all(-1 <= mean <= 1 for mean in means.values())


def test_a_dream_without_its_game_is_refused_before_it_is_learnt_in(tmp_path: Path) -> None:
    recording = make_run(tmp_path / "recording", replace(CATCH, presented={}))
    with pytest.raises(UserError, match="is a recording: there is no game behind it"):
        main(str(recording), steps=10**9, rows=2, device="cpu")
