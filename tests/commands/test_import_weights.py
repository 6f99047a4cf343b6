"""Published weights become a run folder: whole or not at all, with the published numbers, that plays and trains on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from diffworld.commands import train
from diffworld.commands.import_weights import main
from diffworld.compat.checks import check_file
from diffworld.compat.golden import fill_weights
from diffworld.compat.hub import AGENT_CONFIG, ENV_CONFIG, REPOSITORY, WEIGHTS
from diffworld.compat.shooter import ARRAYS
from diffworld.compat.sizes import build_parts
from diffworld.config import Config, preset
from diffworld.data import Dataset, frame_batch, sample_context_windows
from diffworld.evaluation.games import TestGames
from diffworld.game.counter_strike import ACTIONS, counter_strike
from diffworld.play.session import PlaySession
from diffworld.runs import Model, RunFolder, load, pack
from diffworld.runtime.errors import UserError
from diffworld.world import TwoStages
from published import to_published

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
BREAKOUT_ACTIONS = 4
COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMPORT_BOTH = """
from diffworld.commands.import_weights import main
assert main("--from-hub breakout --out run --steps 5".split()) == 0
main("--from-hub Pong --out other".split())
"""

SMALL: dict[str, Any] = {
    "image_size": [32, 32],
    "num_actions": BREAKOUT_ACTIONS,
    "denoiser": {
        "sigma_offset_noise": 0.3,
        "num_steps_conditioning": 2,
        "cond_channels": 8,
        "depths": [1, 1],
        "channels": [8, 16],
        "attn_depths": [0, 1],
    },
    "reward_end": {
        "lstm_dim": 12,
        "cond_channels": 6,
        "depths": [1, 1, 2],
        "channels": [8, 8, 16],
        "attn_depths": [0, 0, 1],
    },
    "actor_critic": {"lstm_dim": 9, "channels": [8, 16, 16], "down": [1, 1, 1]},
}


def tensors_of(config: dict[str, Any]) -> dict[str, Tensor]:
    """Published tensors of networks of that configuration, by the rule of the golden numbers."""
    parts = build_parts(config)
    fill_weights(parts, {name: list(tensor.shape) for name, tensor in to_published(parts).items()}, "")
    return to_published(parts)


def write_weights(path: Path, config: dict[str, Any] = SMALL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors_of(config), path)
    return path


def import_small(folder: Path, *options: str) -> RunFolder:
    """The small agent as a run of Breakout."""
    weights = write_weights(folder / "Breakout.pt")
    assert main([str(weights), "--env", "atari/Breakout", "--out", str(folder / "run"), *options]) == 0
    return RunFolder(folder / "run")


def parts_of(model: Model) -> dict[str, nn.Module]:
    world = model.require_world()
    assert world.reward_end is not None and model.policy is not None
    return {"denoiser": world.denoiser, "reward_end": world.reward_end, "actor_critic": model.policy}


def weights_of(run: RunFolder) -> dict[str, Tensor]:
    checkpoint = run.load()
    assert checkpoint is not None
    return checkpoint.weights


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may leave something in the repository."""
    monkeypatch.chdir(tmp_path)


# --- what an imported run is -----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_an_imported_run_evaluates_and_dreams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = import_small(tmp_path, "--steps", "70")
    assert capsys.readouterr().out.startswith(f"{run.path}: atari/Breakout, ")
    model = load(run.path, "cpu")
    config, parts = model.config, parts_of(model)
    assert config.env == model.spec.name == "atari/Breakout" and config.denoiser.channels == (8, 16)
    assert model.spec.frame_size == (config.environment.height, config.environment.width) == (32, 32)
    assert config.collection == Config().collection
    assert model.progress["env_steps"] == config.collection.total_steps
    for name, tensor in tensors_of(SMALL).items():
        assert torch.equal(to_published(parts)[name], tensor), name
    version = json.loads((run.path / "version.json").read_text())
    assert version["imported_from"] == "Breakout.pt" and len(version["imported_sha256"]) == 64

    results = TestGames(model.spec, seed=0, num_envs=2).play(model.policy, 2)
    assert [result.steps > 20 for result in results] == [True, True]
    with Dataset.open(run.replay) as dataset:
        assert dataset.num_steps == 70 and dataset.spec == model.spec
        windows = sample_context_windows(dataset, np.random.default_rng(0), 3, 2, recency=False, final_frames=False)
        batch = frame_batch(windows, torch.device("cpu"))
    world = model.require_world()
    _, prediction = world.step(world.start(batch.frames, batch.actions), batch.actions[:, -1], torch.randn)
    assert prediction.frames.shape == (3, 3, 32, 32) and prediction.frames.isfinite().all()
    assert list(tmp_path.glob(".*")) == [], "nothing is left beside it"


def test_published_numbers_come_out_of_an_imported_run(tmp_path: Path) -> None:
    config = json.loads((GOLDEN / "atari_config.json").read_text())
    weights = write_weights(tmp_path / "weights.pt", config)
    assert main([str(weights), "--env", "atari/Breakout", "--out", str(tmp_path / "run"), "--steps", "0"]) == 0
    run = RunFolder(tmp_path / "run")
    assert run.config() == preset("atari100k") and not run.replay.exists()
    parts = parts_of(load(run.path, "cpu"))
    for module in parts.values():
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with torch.no_grad():
        for name in ("sampler_euler3", "reward_end_forward", "actor_critic_forward"):
            with np.load(GOLDEN / f"{name}.npz") as data:
                arrays = {key: torch.from_numpy(data[key]) for key in data.files}
            result = check_file(name, arrays, {"atari": parts})
            assert result.passed, result


def test_the_same_weights_give_the_same_run_in_either_file_form(tmp_path: Path) -> None:
    first = import_small(tmp_path, "--steps", "40")
    safetensors.torch.save_file(tensors_of(SMALL), tmp_path / "b.safetensors")
    assert main(["b.safetensors", "--env", "atari/Breakout", "--steps", "40"]) == 0
    second = RunFolder(tmp_path / "runs" / "published-Breakout")
    for file in ("checkpoints/00000000/weights.safetensors", "replay/frames.bin", "replay/rows.bin", "config.json"):
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file


def test_a_configuration_tells_what_shapes_cannot(tmp_path: Path) -> None:
    config = SMALL | {"image_size": [20, 36], "denoiser": SMALL["denoiser"] | {"sigma_offset_noise": 0.2}}
    write_weights(tmp_path / "weights.pt", config)
    arguments = ["weights.pt", "--env", "atari/Breakout", "--out", "run", "--steps", "0"]
    with pytest.raises(UserError, match="give it with --config"):
        main(arguments)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([*arguments, "--config", "config.json"]) == 0
    read = RunFolder(tmp_path / "run").config()
    assert (read.environment.height, read.environment.width) == (20, 36) and read.denoiser.sigma_offset == 0.2
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "config.json").write_text(json.dumps(config | {"image_size": [20, 100]}))
    with pytest.raises(UserError, match="check the configuration"):
        main([*arguments, "--config", "config.json"])
    assert not (tmp_path / "run").exists()


# --- training and an imported run ------------------------------------------------------------------------------------

TRAINING = """
    --preset atari100k --env atari/Breakout --device cpu --precision float32 --environment.max-steps 40
    --environment.height 32 --environment.width 32 --denoiser.context-frames 2 --denoiser.cond-channels 8
    --denoiser.channels 8 16 --denoiser.depths 1 1 --denoiser.attention False True
    --reward-end.lstm-channels 12 --reward-end.cond-channels 6 --reward-end.channels 8 8 16
    --reward-end.depths 1 1 2 --reward-end.attention False False True --reward-end.window 2 --horizon 2
    --actor-critic.lstm-channels 9 --actor-critic.channels 8 16 16 --actor-critic.pool True True True
    --denoiser-updates.first-steps 1 --reward-end-updates.first-steps 1 --actor-critic-updates.first-steps 2
    --denoiser-updates.batch-size 2 --reward-end-updates.batch-size 2 --actor-critic-updates.batch-size 2
    --collection.total-steps 40 --collection.first-steps 40
    --epochs 0 --evaluation.every-epochs 0 --evaluation.final-episodes 1
""".split()


@pytest.mark.thorough
def test_training_starts_from_an_imported_run(tmp_path: Path) -> None:
    run = import_small(tmp_path, "--steps", "0")
    frozen = "--denoiser-updates.learning-rate 0 --denoiser-updates.weight-decay 0".split()
    assert train.main([*TRAINING, *frozen, "--init-from", str(run.path), "--out", "trained"]) == 0
    trained, imported = weights_of(RunFolder(tmp_path / "trained")), weights_of(run)
    kept = [name for name in imported if name.startswith("denoiser.")]
    assert kept and all(torch.equal(trained[name], imported[name]) for name in kept)
    assert any(not torch.equal(trained[name], imported[name]) for name in imported)


@pytest.mark.thorough
def test_an_imported_run_is_not_trained_on_in_its_own_folder(tmp_path: Path) -> None:
    run = import_small(tmp_path, "--steps", "20")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for options in ([], ["--seed", "3"]):
        with pytest.raises(UserError, match="imported weights") as error:
            train.main([*TRAINING, *options, "--out", str(run.path)])
        assert f"--init-from {run.path}" in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


# --- the shooter -----------------------------------------------------------------------------------------------------

STAGES: dict[str, Any] = {
    "low_res": [6, 8],
    "full_res": [30, 40],
    "num_actions": ACTIONS.size,
    "denoiser": SMALL["denoiser"] | {"sigma_offset_noise": 0.1, "noise_previous_obs": True},
    "upsampler": SMALL["denoiser"] | {"sigma_offset_noise": 0.1, "num_steps_conditioning": 1, "upsampling_factor": 5},
}


def write_shooter(folder: Path) -> Path:
    """Weights of both stages, and two starting places."""
    write_weights(folder / "csgo/model/csgo.pt", STAGES)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        place = folder / "csgo/spawn" / name
        place.mkdir(parents=True)
        actions = ACTIONS.sample(rng, 9).astype(np.float32)
        for array, values in {
            "full_res": rng.integers(0, 256, (2, 3, 30, 40), dtype=np.uint8),
            "low_res": rng.integers(0, 256, (2, 3, 6, 8), dtype=np.uint8),
            "act": actions[:2],
            "next_act": actions[2:],
        }.items():
            np.save(place / f"{array}.npy", values)
    return folder


def test_an_imported_shooter_plays_from_its_starting_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shooter(tmp_path)
    arguments = "csgo/model/csgo.pt --shooter --spawn csgo/spawn --out run"
    assert main(arguments.split()) == 0
    assert "2 places to start dreams from" in capsys.readouterr().out
    model = load(tmp_path / "run", "cpu")
    world = model.require_world()
    assert isinstance(world, TwoStages) and model.policy is None and world.reward_end is None
    assert model.spec == counter_strike(30, 40) and model.spec.actions.size == 51
    assert (model.config.upsampler.factor, model.config.denoiser.context_frames) == (5, 2)
    parts = {"denoiser": world.low.denoiser, "upsampler": world.upsampler}
    for name, tensor in tensors_of(STAGES).items():
        assert torch.equal(to_published(parts)[name], tensor), name
    session = PlaySession(model, player="replay", seed=0)
    for start, place in enumerate("ab"):
        arrays = {name: np.load(tmp_path / "csgo/spawn" / place / f"{name}.npy") for name in ARRAYS}
        view = session.reset(start)
        np.testing.assert_array_equal(view.dream, arrays["full_res"][-1].transpose(1, 2, 0))
        done = [arrays["act"][-1], *arrays["next_act"]]
        np.testing.assert_array_equal(model.starts[start].following, np.stack(done))
        views = [session.step() for _ in done]
        np.testing.assert_array_equal([each.action for each in views], done)
        assert [each.truncated for each in views] == [False] * 7 + [True]
    pack(model, tmp_path / "packed.zip")
    packed = load(tmp_path / "packed.zip", "cpu")
    np.testing.assert_array_equal(packed.starts[0].following, model.starts[0].following)


@pytest.mark.thorough
def test_the_shooter_from_the_hub_comes_from_the_clients_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    write_shooter(cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(COMMIT)
    code = "from diffworld.commands.import_weights import main\nassert main('--from-hub csgo --out run'.split()) == 0"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert f"{REPOSITORY}@{COMMIT} csgo/model/csgo.pt" in done.stdout
    assert len(load(tmp_path / "run", "cpu").starts.windows()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("FILE --shooter", "--spawn DIR"),
        ("FILE --shooter --spawn absent", "absent is no folder"),
        ("FILE --shooter --spawn empty", "has no starting places"),
        ("FILE --shooter --spawn csgo/spawn --env atari/Pong", "leave out --env"),
        ("--from-hub csgo --spawn csgo/spawn", "leave out the file and --spawn"),
        ("small.pt --shooter --spawn csgo/spawn", "upsampler.inner_model.conv_in.weight is missing"),
        ("FILE --shooter --spawn pickled", "cannot read pickled/act.npy"),
        ("FILE --shooter --spawn short", "next_act.npy has shape (7, 50)"),
        ("FILE --shooter --spawn odd", "none of Counter-Strike's: an action needs exactly one value of mouse x"),
        ("FILE --shooter --spawn endless", "endless/full_res.npy holds numbers that are not finite"),
        ("FILE --shooter --spawn cut", "cannot read cut/low_res.npy"),
        ("FILE --shooter --spawn large", "large/full_res.npy has shape (2, 3, 30, 40)"),
    ],
)
def test_mistakes_with_the_shooter_are_one_line(tmp_path: Path, arguments: str, said: str) -> None:
    write_shooter(tmp_path)
    write_weights(Path("small.pt"))
    Path("empty").mkdir()
    for name in ("pickled", "short", "odd", "endless", "cut", "large"):
        shutil.copytree("csgo/spawn/a", name)
    np.save("pickled/act.npy", np.array([{}]), allow_pickle=True)
    np.save("short/next_act.npy", np.zeros((7, 50)))
    np.save("odd/act.npy", np.zeros((2, 51)))
    np.save("endless/full_res.npy", np.full((2, 3, 30, 40), np.inf))
    Path("cut/low_res.npy").write_bytes(Path("cut/low_res.npy").read_bytes()[:40])
    np.save("large/low_res.npy", np.zeros((2, 3, 30, 40), np.uint8))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        main([*arguments.replace("FILE", "csgo/model/csgo.pt").split(), "--out", "run"])
    assert said in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "give either a file of weights"),
        ("small.pt --from-hub Breakout", "give either a file of weights"),
        ("small.pt", "say which game"),
        ("small.pt --env minatar/breakout", "say which game"),
        ("small.pt --env atari/Brakeout", "did you mean atari/Breakout"),
        ("small.pt --env atari/Pong", "a game of 4 actions and atari/Pong has 6"),
        ("small.pt --env atari/Breakout --steps -1", "--steps is -1"),
        ("small.pt --env atari/Breakout --steps few", "few"),
        ("small.pt --env atari/Breakout --config absent.json", "cannot read absent.json"),
        ("small.pt --env atari/Breakout --config small.pt", "no JSON or YAML"),
        ("small.pt --env atari/Breakout --config empty.json", "no published configuration"),
        ("small.pt --env atari/Breakout --out small.pt", "small.pt exists"),
        ("small.pt --env atari/Breakout --out full", "full exists"),
        ("absent.pt --env atari/Breakout", "cannot read absent.pt"),
        ("text.pt --env atari/Breakout", "as tensors alone"),
        ("denoiser.pt --env atari/Breakout", "not the weights of an Atari agent"),
        ("fewer.pt --env atari/Breakout", "1 tensors missing"),
        ("more.pt --env atari/Breakout", "1 unknown"),
        ("other.pt --env atari/Breakout", "shape (3,) instead of (48,)"),
        ("--from-hub Brakeout", "did you mean Breakout"),
        ("--from-hub Breakout --env atari/Pong", "leave out --env"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path, arguments: str, said: str) -> None:
    tensors, name = tensors_of(SMALL), "rew_end_model.lstm.bias_hh_l0"
    torch.save(tensors, "small.pt")
    torch.save({k: v for k, v in tensors.items() if k.startswith("denoiser")}, "denoiser.pt")
    torch.save({k: v for k, v in tensors.items() if k != name}, "fewer.pt")
    torch.save(tensors | {"surplus": torch.zeros(3)}, "more.pt")
    torch.save(tensors | {name: torch.zeros(3)}, "other.pt")
    Path("text.pt").write_text("not weights")
    Path("empty.json").write_text("{}")
    Path("full").mkdir()
    Path("full/file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        main(arguments.split())
    assert said in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_small(tmp_path, "--steps", "10")
    assert [path.name for path in tmp_path.iterdir()] == ["Breakout.pt"]


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(
        option in said
        for option in ("FILE", "--from-hub", "--shooter", "--spawn", "--env", "--out", "--config", "--steps")
    )


# --- the hub, offline ------------------------------------------------------------------------------------------------

AGENT_YAML = """
_target_: agent.AgentConfig
denoiser:
  _target_: models.diffusion.DenoiserConfig
  sigma_data: 0.5
  sigma_offset_noise: 0.3
  inner_model: {img_channels: 3, num_steps_conditioning: 2, cond_channels: 8,
    depths: [1, 1], channels: [8, 16], attn_depths: [0, 1]}
rew_end_model: {lstm_dim: 12, img_channels: "${agent.denoiser.inner_model.img_channels}",
  img_size: "${env.train.size}", cond_channels: 6, depths: [1, 1, 2], channels: [8, 8, 16], attn_depths: [0, 0, 1]}
actor_critic: {lstm_dim: 9, img_size: "${env.train.size}", channels: [8, 16, 16], down: [1, 1, 1]}
"""


def hub_cache(home: Path) -> None:
    """What huggingface_hub keeps of the repository after a download: refs, and a snapshot a commit."""
    repository = home / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    write_weights(snapshot / WEIGHTS.format(game="Breakout"))
    for name, text in ((AGENT_CONFIG, AGENT_YAML), (ENV_CONFIG, "train:\n  id: null\n  size: 32\n")):
        (snapshot / name).parent.mkdir(parents=True)
        (snapshot / name).write_text(text)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


@pytest.mark.thorough
def test_weights_come_from_the_hubs_local_cache(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    hub_cache(tmp_path / "home")
    places = {"PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", IMPORT_BOTH]
    done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, timeout=600)
    run = RunFolder(tmp_path / "run")
    assert run.config().env == "atari/Breakout" and run.config().environment.width == 32
    source = json.loads((run.path / "version.json").read_text())["imported_from"]
    assert source == f"{REPOSITORY}@{COMMIT} {WEIGHTS.format(game='Breakout')}"
    said = done.stderr.splitlines()[-1]  # of the game that is not there
    assert done.returncode == 1 and "UserError: cannot get atari_100k/models/Pong.pt" in said
    assert "connect to the internet" in said and not (tmp_path / "other").exists()


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'diffworld\[hub\]'"):
        main(["--from-hub", "Breakout"])
