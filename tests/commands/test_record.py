"""`diffworld record`: a data set from the command line, one line for every mistake, and training on it."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffworld.commands import train
from diffworld.commands.record import main
from diffworld.config import Config
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.recipes import build_networks
from diffworld.runs import Checkpoint, RunFolder
from diffworld.runtime.errors import UserError

NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT")
SMALL = ["--height", "16", "--width", "16"]


def record(out: Path, *options: str) -> Dataset:
    assert main(["--out", str(out), *options]) == 0
    return Dataset.open(out)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An untrained agent of Breakout at 16 x 12, frame skip 8."""
    environment = EnvironmentConfig(height=16, width=12, frame_skip=8, sticky_actions=0.5)
    actor_critic = ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,))
    config = replace(Config(env="atari/Breakout", device="cpu", actor_critic=actor_critic), environment=environment)
    spec = GameSpec(config.env, 16, 12, ActionSpace.discrete(NAMES), presented=asdict(environment))
    folder = RunFolder(tmp_path / "run")
    folder.begin(config, spec)
    networks = build_networks(config, spec, torch.device("cpu"), ("actor_critic",))
    assert networks.actor_critic is not None
    with torch.no_grad():
        networks.actor_critic.policy_head.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    folder.save(1, Checkpoint(networks.tensors(), {}, {}))
    return folder.path


def test_random_play_becomes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    with record(
        out,
        "--env",
        "atari/Breakout",
        "--steps",
        "100",
        "--num-envs",
        "3",
        "--frame-skip",
        "2",
        "--no-life-loss-ends",
        *SMALL,
    ) as data:
        assert data.num_steps == 102
        assert data.schema.info == {"policy": "random", "seed": 0}
        assert (data.spec.name, data.spec.frame_size, data.spec.actions.names) == ("atari/Breakout", (16, 16), NAMES)
        assert data.spec.presented["frame_skip"] == 2 and not data.spec.presented["life_loss_ends"]
        assert len({int(action) for episode in data.episodes for action in episode.actions}) == 4
    said = capsys.readouterr().out
    assert "102 steps" in said
    assert f"train on it: diffworld train --data {out}\n" in said


def test_a_scripted_player_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    options = ["--env", "vizdoom/deadly_corridor", "--policy", "script", "--steps", "60", "--frame-skip", "2"]
    actions = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        with record(tmp_path / name, *options, "--seed", seed, "--height", "24", "--width", "32") as data:
            assert data.num_steps == 60 and data.spec.frame_size == (24, 32)
            assert data.schema.info == {"policy": "script", "seed": int(seed)}
            actions.append(data.episodes.records["action"].tobytes())
    assert actions[0] == actions[1] != actions[2]
    frames = [(tmp_path / name / "frames.bin").read_bytes() for name in "ab"]
    assert frames[0] == frames[1]


def test_the_same_seed_records_the_same(tmp_path: Path) -> None:
    frames = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        options = ["--env", "minatar/breakout", "--steps", "40", "--seed", seed, "--sticky-actions", "0.25"]
        record(tmp_path / name, *options, *SMALL).close()
        frames.append((tmp_path / name / "frames.bin").read_bytes())
    assert frames[0] == frames[1] != frames[2]


def test_compressed_it_is_the_same(tmp_path: Path) -> None:
    found = []
    for form in ("off", "on", "auto"):
        options = ["--env", "atari/Breakout", "--steps", "40", "--compress", form]
        with record(tmp_path / form, *options, *SMALL) as data:
            assert data.schema.frames == ("webp" if form == "on" else "raw")
            found.append(data.gather_frames(np.arange(data.num_rows)).tobytes())
    assert found[0] == found[1] == found[2]


def test_minatar_games_are_recorded_where_minatar_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    with record(tmp_path / "data", "--env", "minatar/breakout", "--steps", "60", *SMALL) as data:
        assert data.num_steps == 60
        assert data.episodes.terminated.any()
    with record(tmp_path / "usual", "--env", "minatar/breakout", "--steps", "10") as data:
        assert data.spec.frame_size == (10, 10), "its own cells, where nobody says how large"


def test_a_run_brings_its_game_and_its_settings(tmp_path: Path, run: Path) -> None:
    with record(tmp_path / "data", "--policy", str(run), "--steps", "30", "--sticky-actions", "0") as data:
        assert data.spec.frame_size == (16, 12)
        assert (data.spec.presented["frame_skip"], data.spec.presented["sticky_actions"]) == (8, 0.0)
        assert data.schema.info["policy"] == "run"
        actions = np.concatenate([episode.actions for episode in data.episodes])
        assert (actions == 1).mean() > 0.9
    with record(tmp_path / "exploring", f"--policy={run}", "--steps", "40", "--epsilon", "1") as data:
        actions = np.concatenate([episode.actions for episode in data.episodes])
        assert (actions == 1).mean() < 0.6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "which game"),
        ("--env atari/Brekout", "did you mean atari/Breakout"),
        ("--env pong", "unknown environment 'pong'"),
        ("--env gym/NotHere-v0", "`NotHere` doesn't exist"),
        ("--env atari/Breakout --steps 0", "--steps is 0"),
        ("--env atari/Breakout --steps many", "many"),
        ("--env atari/Breakout --num-envs 0", "--num-envs is 0"),
        ("--env atari/Breakout --frame-skip 0", "--frame-skip is 0"),
        ("--env atari/Breakout --sticky-actions 2", "sticky"),
        ("--env atari/Breakout --seed -1", "--seed is -1"),
        ("--env atari/Breakout --compress maybe", "invalid choice 'maybe'"),
        ("--env atari/Breakout --epsilon 2", "--epsilon is 2"),
        ("--env atari/Breakout --hold 1", "--hold is a probability below 1"),
        ("--policy RUN --hold 0.5", "for the random player only"),
        ("--policy nowhere", "no run folder"),
        ("--policy", "policy"),
        ("--policy RUN --env atari/Pong", "leave out --env"),
        ("--policy RUN --height 64", "leave out --height"),
        ("--speed 3", "--speed"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path, run: Path, options: str, said: str) -> None:
    out = tmp_path / "data"
    with pytest.raises(UserError) as error:
        main(["--out", str(out), *options.replace("RUN", str(run)).split()])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    options = ["--env", "minatar/breakout", "--steps", "20", *SMALL]
    (tmp_path / "data").mkdir()
    record(tmp_path / "data", *options).close()  # empty: fine
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    with pytest.raises(UserError, match="is not resumed"):
        main(["--out", str(tmp_path / "data"), *options])
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


def test_ctrl_c_keeps_a_whole_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffworld.envs.driver import RandomPolicy

    own, calls = RandomPolicy.act, []

    def act(self, frames, fresh):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return own(self, frames, fresh)

    monkeypatch.setattr(RandomPolicy, "act", act)
    assert main(["--out", str(tmp_path / "data"), "--env", "minatar/breakout", *SMALL]) == 130
    assert "a whole data set of 24 steps" in capsys.readouterr().err
    with Dataset.open(tmp_path / "data") as data:
        assert data.num_steps == 24


def test_the_last_round_truncates_what_goes_on_and_lives_end_episodes(tmp_path: Path) -> None:
    options = ["--env", "atari/Breakout", "--steps", "300", "--num-envs", "2", "--max-steps", "120"]
    with record(tmp_path / "data", *options, *SMALL) as data:
        assert data.episodes.ended.all() and data.episodes.truncated[-1]
        assert data.episodes.terminated.any(), "a life was lost"


def test_one_can_train_on_it(tmp_path: Path) -> None:
    options = ["--env", "minatar/breakout", "--steps", "150", "--num-envs", "2", "--max-steps", "40"]
    with record(tmp_path / "data", *options, *SMALL) as data:
        assert data.num_episodes > 2
    tiny = f"""
        --data {tmp_path / "data"} --out {tmp_path / "trained"} --epochs 1
        --denoiser.channels 8 8 --denoiser.depths 1 1 --denoiser.attention False False --denoiser.cond-channels 16
        --reward-end.channels 8 8 --reward-end.depths 1 1 --reward-end.attention False False
        --reward-end.lstm-channels 8 --reward-end.cond-channels 8 --reward-end.window 3
        --denoiser-updates.first-steps 3 --denoiser-updates.batch-size 4 --reward-end-updates.first-steps 3
        --reward-end-updates.batch-size 4 --device cpu --evaluation.every-epochs 0
    """
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert train.main(tiny.split()) == 0
    assert RunFolder(tmp_path / "trained").summary_path.is_file()
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
