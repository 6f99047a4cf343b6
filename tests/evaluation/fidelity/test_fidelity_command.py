"""The command on a real run folder: what it writes, what repeats, and one line for everything that is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_fidelity import KEYS, add_episode, fill, make_run, tiny_config, tiny_spec

from diffworld.commands.fidelity import main
from diffworld.data import Dataset
from diffworld.evaluation.fidelity import study
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.models.denoiser import UpsamplerConfig
from diffworld.recipes import build_networks
from diffworld.runs import Checkpoint, RunFolder
from diffworld.runtime.errors import UserError

QUICK = ["--horizon", "12", "--starts", "3", "--episodes", "2"]


@pytest.fixture(autouse=True)
def quick_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SPEED_SECONDS", 0.01)


def record(run: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((run / "fidelity" / "fidelity.json").read_text())
    return data


@pytest.mark.thorough
def test_several_settings_are_measured_on_the_same_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run").path
    assert main([str(run), *QUICK, "--denoising-steps", "1,2", "--policy", "random"]) == 0
    assert {path.name for path in (run / "fidelity").iterdir()} == {
        "fidelity.json",
        "curves.png",
        "strip.png",
        "dream.mp4",
    }
    found = record(run)
    kinds = {name: film["kind"] for name, film in found["films"].items()}
    assert kinds == {
        "real game": "real",
        "last frame repeated": "baseline",
        "nearest training frame": "baseline",
        "dream, 1 denoising step": "dream",
        "dream, 2 denoising steps": "dream",
    }
    for film in found["films"].values():
        assert all(len(curve["mean"]) == found["horizon"] for curve in film["by_step"].values())
        if film["kind"] == "dream":
            assert film["frames_per_second"]["all_rows"] > 0 and film["frames_per_second"]["rows"] == 3
    alone = found["next_frame"]
    assert {*alone["films"]} == {"last frame repeated", "dream, 1 denoising step", "dream, 2 denoising steps"}
    assert "obedience" not in found and alone["places"] > 3
    assert found["rows"][0] == 3 and len(found["rows"]) == found["horizon"]
    said = capsys.readouterr().out
    assert "dream, 2 denoising steps" in said and "frames/s" in said
    assert not any(name in said + json.dumps(found) for name in ("FID", "FVD"))
    assert str(tmp_path) not in json.dumps(found)

    # One setting alone, a second time: the same numbers, for nothing depends on what else is measured.
    assert main([str(run), *QUICK, "--denoising-steps", "2", "--policy", "random"]) == 0
    again = record(run)["films"]["dream, 2 denoising steps"]
    assert again["by_step"] == found["films"]["dream, 2 denoising steps"]["by_step"]


@pytest.mark.thorough
def test_held_out_data_and_a_lost_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", replay_steps=0).path
    fill(tmp_path / "held", 20)
    assert main([str(run), "--horizon", "30", "--starts", "40", "--data", str(tmp_path / "held")]) == 0
    found = record(run)
    assert found["starts"] == 17 and found["horizon"] == 17 and found["rows"] == list(range(17, 0, -1))
    assert "nearest training frame" not in found["films"]
    assert "unseen_here" not in found["films"]["real game"]["by_step"]
    said = capsys.readouterr().out
    assert "no training frames" in said and "has 17 steps" in said

    out = tmp_path / "elsewhere"
    fill(tmp_path / "training", 9)
    options = ["--data", str(tmp_path / "held"), "--training-data", str(tmp_path / "training"), "--out", str(out)]
    assert main([str(run), *QUICK, *options]) == 0
    films = json.loads((out / "fidelity.json").read_text())["films"]
    assert films["nearest training frame"]["searched"] == 10


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.cases(every=2)
def test_a_world_of_any_data_is_measured_on_what_it_held_out(tmp_path: Path, judged: bool) -> None:
    """No game, actions of several keys; without knowledge of rewards and ends the record has none."""
    spec = GameSpec("mine", 16, 20, KEYS, rewards=judged, ends=judged)
    with Dataset.create(tmp_path / "data", spec) as data:
        for seed in range(6):
            add_episode(data, seed, 12 + seed)
    run, config = RunFolder(tmp_path / "run"), replace(tiny_config(), recipe="world", data=str(tmp_path / "data"))
    run.begin(config, spec)
    networks = build_networks(config, spec, torch.device("cpu"))
    run.save(1, Checkpoint(networks.tensors(), {}, {"progress": {}, "env_steps": 70}))
    assert main([str(run.path), "--horizon", "6", "--starts", "20"]) == 0
    found = record(run.path)
    assert found["held_out"] == {"source": "held-out episodes of the run's data", "name": "data", "episodes": 1}
    assert found["starts"] == 13 and found["env"] == "mine"  # of the fifth episode, which has 16 steps
    real = found["films"]["real game"]
    assert ("reward" in real, "end" in real) == (judged, judged)
    assert found["films"]["nearest training frame"]["searched"] == sum(13 + seed for seed in range(6)) - 17


def test_a_recording_without_held_out_episodes_needs_data(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    spec = replace(tiny_spec(), presented={})
    (run.path / "game.json").write_text(json.dumps(spec.to_json()))
    with pytest.raises(UserError, match="no game behind it to play: give --data"):
        main([str(run.path), *QUICK])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--denoising-steps", "1,x"], "give numbers with commas"),
        (["--denoising-steps", "0"], "give numbers with commas"),
        (["--horizon", "0"], "at least 1"),
        (["--starts", "-1"], "at least 1"),
        (["--seed", "-1"], "at least 0"),
        (["--policy", "expert"], "--help"),
        (["--data", "nowhere"], "no data set at nowhere"),
        (["--training-data", "nowhere"], "no data set at nowhere"),
        (["--device", "cuda:77"], "device"),
        (["--out", __file__], "choose another path"),
        (["--out", __file__ + "/below"], "choose another path"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, options: list[str], line: str) -> None:
    run = make_run(tmp_path / "run").path
    with pytest.raises(UserError, match=line) as error:
        main([str(run), *QUICK, *options])
    assert "\n" not in str(error.value)
    assert not (run / "fidelity").exists()


def test_runs_that_cannot_be_measured_are_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="no run folder"):
        main([str(tmp_path / "nothing")])
    for path in (run.path / "checkpoints").rglob("weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        main([str(run.path)])
    for path in sorted((run.path / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(UserError, match="no checkpoint yet: train it first"):
        main([str(run.path)])
    free = make_run(tmp_path / "free", replace(tiny_config(), recipe="model_free"))
    with pytest.raises(UserError, match="has no dream"):
        main([str(free.path)])
    (free.path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        main([str(free.path)])


def test_data_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run").path
    fill(tmp_path / "large", 12, size=(24, 24))
    fill(tmp_path / "other", 12, actions=9)
    fill(tmp_path / "empty", 0)
    fill(tmp_path / "short", 2)
    for name, line in (
        ("large", "frames of 24x24, the run of 16x20"),
        ("other", "other actions"),
        ("empty", "no held-out episode"),
        ("short", "no held-out episode"),
    ):
        with pytest.raises(UserError, match=line):
            main([str(run), *QUICK, "--data", str(tmp_path / name)])
    with pytest.raises(UserError, match="is what the run learnt from"):
        main([str(run), *QUICK, "--data", str(run / "replay")])
    with (run / "replay" / "frames.bin").open("r+b") as file:
        file.write(b"damage")
    with pytest.raises(UserError, match="replay"):
        main([str(run), *QUICK])


@pytest.mark.thorough
def test_two_stages_are_measured_apart_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The upsampler alone, and plain enlarging, beside the dream; the next frame; and whether it obeys, by step."""
    space = ActionSpace((Keys(("w", "s"), (("w", "s"),)), Choice("mouse x", ("-4", "0", "4"))))
    spec, rng = GameSpec("mine", 16, 20, space, rewards=False, ends=False), np.random.default_rng(0)
    with Dataset.create(tmp_path / "data", spec) as data:
        for _ in range(3):  # the last is held out
            number = data.new_episode()
            for action in space.sample(rng, 60):
                data.append(number, rng.integers(0, 256, spec.frame_shape, dtype=np.uint8), action, 0.0, False, False)
    upsampler = UpsamplerConfig(cond_channels=8, channels=(8, 8), depths=(1, 1), attention=(False, False), factor=2)
    config = replace(tiny_config(), recipe="shooter", env="", data=str(tmp_path / "data"), upsampler=upsampler)
    run = RunFolder(tmp_path / "run")
    run.begin(config, spec)
    networks = build_networks(config, spec, torch.device("cpu"))
    run.save(1, Checkpoint(networks.tensors(), {}, {"progress": {}, "env_steps": 180}))
    assert main([str(run.path), "--horizon", "6", "--starts", "5"]) == 0
    found, name = record(run.path), f"dream, {config.sampler.denoising_steps} denoising step"
    dream = next(film for film in found["films"] if film.startswith(name))
    kinds = {name: film["kind"] for name, film in found["films"].items()}
    assert kinds == {
        "real game": "real",
        "last frame repeated": "baseline",
        "true small frame, bicubic": "stage",
        "true small frame, upsampler": "stage",
        "nearest training frame": "baseline",
        dream: "dream",
    }
    alone = found["next_frame"]
    assert alone["places"] == 56 and {*alone["films"]} == {*kinds} - {"real game", "nearest training frame"}
    assert all(0 < film["psnr"]["mean"] < 60 and film["ssim"]["sd"] >= 0 for film in alone["films"].values())
    assert [each["after"] for each in found["obedience"]] == [1, 2, 4, 8]
    for each in found["obedience"]:  # a fresh network heeds nothing
        assert each["whole"]["share"] == pytest.approx(0.5) and {*each["opposites"]} == {"mouse x"}
    said = capsys.readouterr().out
    assert "mouse x, against the opposite way, after steps 1: 50%" in said and "next frame" in said
    assert (run.path / "fidelity" / "obedience.png").stat().st_size > 1000
