"""Training on a data set, whatever its actions: no game is opened, named or needed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import Done, environment, final_weights, kill_after, results, run_command, saves

from diffworld.data import Compress, Dataset
from diffworld.game import ActionSpace, Choice, GameSpec, Keys

OPTIONS = """
--denoiser.channels 8 8 --denoiser.depths 1 1 --denoiser.attention False False --denoiser.cond-channels 16
--reward-end.channels 8 8 --reward-end.depths 1 1 --reward-end.attention False False
--reward-end.lstm-channels 16 --reward-end.cond-channels 8 --reward-end.window 4 --horizon 4
--actor-critic.channels 8 8 --actor-critic.pool True True --actor-critic.lstm-channels 16
--denoiser-updates.first-steps 6 --denoiser-updates.steps 4 --denoiser-updates.batch-size 4
--reward-end-updates.first-steps 6 --reward-end-updates.steps 4 --reward-end-updates.batch-size 4
--actor-critic-updates.first-steps 4 --actor-critic-updates.steps 3 --actor-critic-updates.batch-size 4
--sampler.denoising-steps 1 --epochs 3 --evaluation.every-epochs 1 --checkpoint-seconds 0.05
""".split()

SPACES = {
    "choice": ActionSpace.discrete(["LEFT", "RIGHT"]),
    "keys": ActionSpace((Keys(("w", "s", "space"), (("w", "s"),)),)),
    "keys and mouse": ActionSpace((Keys(("w", "fire")), Choice("mouse x", ("-4", "0", "4")))),
}


def make_data(path: Path, actions: ActionSpace, rewards: bool = True, compress: Compress = "auto") -> Path:
    """Twelve episodes of noise of a game that exists nowhere."""
    spec, rng = GameSpec("a recording", 12, 10, actions, rewards=rewards, ends=rewards), np.random.default_rng(0)
    with Dataset.create(path, spec, compress=compress) as data:
        for number in range(12):
            episode = data.new_episode()
            for t in range(15):
                frames = rng.integers(0, 256, (2, 12, 10, 3), dtype=np.uint8)
                last = t == 14 and number < 10
                action = actions.sample(rng, 1)[0]
                data.append(episode, frames[0], action, float(t % 3 - 1), last, False, frames[1] if last else None)
    return path


def command(data: Path, out: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "diffworld.cli", "train", "--data", str(data), "--out", str(out)]
    return [*start, *OPTIONS, *options]


def train(data: Path, out: Path, *options: str) -> Done:
    return run_command(*command(data, out, *options)[3:])


def killed_and_resumed(data: Path, folder: Path, *options: str) -> Path:
    """A run that was killed and went on, equal to a run without interruption bit for bit."""
    whole = train(data, folder / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    out = folder / "killed"
    process = subprocess.Popen(
        command(data, out, *options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    kill_after(process, out, saves(out) + 4)
    resumed = train(data, out, *options)
    assert resumed.returncode == 0, resumed.stderr
    assert final_weights(out) == final_weights(folder / "whole")
    assert results(out) == results(folder / "whole")
    return out


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.cases(every=3)
def test_any_action_space_trains_and_resumes_bit_for_bit(kind: str, tmp_path: Path) -> None:
    data, agent = make_data(tmp_path / "data", SPACES[kind]), ("--networks", "denoiser,reward_end,actor_critic")
    options = agent if kind != "choice" else ()
    out = killed_and_resumed(data, tmp_path, *options)
    networks = {name.split(".")[0] for name in final_weights(out)}
    assert networks == {"denoiser", "reward_end"} | ({"actor_critic"} if options else set())
    assert GameSpec.from_json(json.loads((out / "game.json").read_text())).actions == SPACES[kind]
    assert (out / "dream.mp4").exists() and not (out / "replay").exists()
    assert {"denoiser/held_out_loss", "reward_end/held_out_loss"} <= results(out)["held_out"].keys()  # type: ignore[attr-defined]


STAGES = """
--preset vizdoom --networks denoiser,upsampler,reward_end --upsampler.factor 2 --upsampler.channels 8 8
--upsampler.depths 1 1 --upsampler.attention False False --upsampler.cond-channels 8
--upsampler-updates.first-steps 5 --upsampler-updates.steps 3 --upsampler-updates.batch-size 2
--upsampler-updates.accumulate 3
""".split()


@pytest.mark.thorough
def test_two_stages_train_and_resume_bit_for_bit(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", SPACES["keys and mouse"])
    out = killed_and_resumed(data, tmp_path, *STAGES)
    assert {name.split(".")[0] for name in final_weights(out)} == {"denoiser", "upsampler", "reward_end"}
    told = results(out)["held_out"]
    assert {f"{name}/held_out_loss" for name in ("denoiser", "upsampler", "reward_end")} <= told.keys()  # type: ignore[attr-defined]
    assert (out / "dream.mp4").exists()


@pytest.mark.thorough
def test_compressed_frames_teach_the_same(tmp_path: Path) -> None:
    for form in ("off", "on"):
        data = make_data(tmp_path / f"data {form}", SPACES["keys and mouse"], compress=form)
        done = train(data, tmp_path / form, "--epochs", "1")
        assert done.returncode == 0, done.stderr
    assert final_weights(tmp_path / "on") == final_weights(tmp_path / "off")


def test_data_that_know_no_rewards_train_the_denoiser_alone(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", SPACES["keys"], rewards=False)
    done = train(data, tmp_path / "run", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[0] for name in final_weights(tmp_path / "run")} == {"denoiser"}
    refused = train(data, tmp_path / "other", "--networks", "denoiser,reward_end")
    assert refused.returncode == 2 and "neither rewards nor ends" in refused.stderr


def test_networks_follow_from_the_frames_unless_options_say_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(make_data(tmp_path / "data", SPACES["keys"]))
    for options, channels in (
        ([], [32, 32]),
        (["--preset", "world-medium"], [64, 64]),
        (["--preset", "world-large", "--denoiser.channels", "8", "16"], [8, 16]),
    ):
        assert run_command("train", "--data", data, "--show-config", *options).returncode == 0
        found = run_command("train", "--data", data, "--show-config", *options).stdout
        assert json.loads(found)["denoiser"]["channels"] == channels


def test_another_runs_replay_is_data_too(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished / "replay", data)
    done = train(data, tmp_path / "run", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    with Dataset.open(data) as replay:
        assert 0 < summary["counters"]["env_steps"] < replay.num_steps  # some episodes are held out


@pytest.mark.parametrize("name", ["frames.bin", "rows.bin"])
def test_half_of_a_data_set_is_not_trained_on_without_a_word(name: str, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", SPACES["choice"])
    os.truncate(data / name, (data / name).stat().st_size // 2)
    refused = train(data, tmp_path / "run")
    assert refused.returncode == 2 and "has 95 of 190 rows" in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_torn_tail_of_what_was_never_synced_is_left_out_with_a_word(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", SPACES["choice"])
    (data / "synced.json").write_text('{"rows": 180}')
    with (data / "frames.bin").open("r+b") as file:
        file.seek(186 * 12 * 10 * 3)
        file.write(bytes(4 * 12 * 10 * 3))
    done = train(data, tmp_path / "run", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert f"note: the last 4 rows of {data} are torn, and are left out" in done.stdout
