"""A run from beginning to end in one process: begun, resumed, refused, and only looked at."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffworld.commands.train import train_among
from diffworld.config import NETWORKS, OF_DATA, RECIPE_NETWORKS, Config
from diffworld.data import Dataset
from diffworld.game import ActionSpace, GameSpec
from diffworld.runs import RunFolder, load
from diffworld.runs.folder import Checkpoint
from diffworld.runtime.errors import UserError
from diffworld.runtime.metrics import METRICS_FILE, read_metrics
from diffworld.runtime.ranks import Ranks
from diffworld.training import dry_run as dry_runs
from diffworld.training.dry_run import dry_run
from diffworld.training.footprint import CONTEXT, Rehearsal, Way
from diffworld.training.interrupt import Interrupted
from diffworld.training.run import check_new_run, open_source, size_note, train
from diffworld.training.trainer import Trainer
from tests.noise_data import fill, noise_spec
from tests.tiny_training import NINE, SHOOTER, noise_of, playing, updates

THREE = RECIPE_NETWORKS["world"]


def world_config(small: Config, data: Path, **changes: Any) -> Config:
    tiny = replace(updates(small, first_steps=2, steps=1), recipe="world", data=str(data), env="", epochs=2)
    return replace(tiny, **changes)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- whole runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["diamond", "model_free", "world"])
def test_a_whole_run(small: Config, tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    config = playing(small, recipe=recipe)
    if recipe == "world":
        config = world_config(small, fill(tmp_path / "data", 30, height=12, width=12), networks=THREE)
    train(config, out)
    run = RunFolder(out)
    film = "game.mp4" if recipe == "model_free" else "dream.mp4"
    for name in ("config.json", "game.json", "version.json", "metrics.jsonl", "summary.json", "curves.png", film):
        assert (out / name).is_file(), name
    assert run.replay.exists() == (recipe == "diamond") and run.held_out.exists() == (recipe != "world")
    said = capsys.readouterr().out
    assert f"recipe {recipe}" in said and "epoch 1 |" in said
    model = load(out, device="cpu")
    assert model.config == config and model.progress["epoch"] == len(read_metrics(out / METRICS_FILE)) + 1
    assert (model.world is None) == (recipe == "model_free") and model.policy is not None
    if recipe != "world":
        assert model.spec.name == NINE and model.progress["env_steps"] == 60

    before = {name: (out / name).read_bytes() for name in files_below(out)}
    train(config, out)
    assert f"{out} is finished: see {run.summary_path}" in capsys.readouterr().out.replace("\n", "")
    assert {name: (out / name).read_bytes() for name in files_below(out)} == before, "and is left alone"
    with pytest.raises(UserError, match=r"another configuration: seed \(0 -> 1\)"):
        train(replace(config, seed=1), out)


def test_a_world_of_keys_and_choices_from_a_recording(small: Config, tmp_path: Path) -> None:
    spec = replace(noise_spec(height=12, width=12), actions=SHOOTER, ends=False, presented={})
    data = noise_of(tmp_path / "data", spec, [20, 15])
    train(world_config(small, data), tmp_path / "run")
    model = load(tmp_path / "run", device="cpu")
    assert model.spec == spec and model.policy is None and model.require_world().reward_end is not None


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ask a training to stop once so many updates are done."""
    update, done = Trainer.update, []

    def watched(self: Trainer, name: Any) -> None:
        update(self, name)
        done.append(name)

    monkeypatch.setattr(Trainer, "update", watched)
    monkeypatch.setattr(
        "diffworld.training.interrupt.StopRequest.asked",
        property(lambda self: len(done) >= after, lambda *_: None),
        raising=False,
    )


def test_an_interrupted_run_goes_on_and_comes_to_the_same_end(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, ends = playing(small), []
    train(config, tmp_path / "straight")
    for after in (2, 4):
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            interrupted(patch, after)
            train(config, tmp_path / "resumed")
    assert not RunFolder(tmp_path / "resumed").summary_path.exists()
    capsys.readouterr()
    train(config, tmp_path / "resumed")
    assert "resuming" in capsys.readouterr().out
    for name in ("straight", "resumed"):
        checkpoint = RunFolder(tmp_path / name).load()
        assert checkpoint is not None
        ends.append(checkpoint.weights)
    for name, tensor in ends[0].items():
        assert torch.equal(ends[1][name], tensor), name
    files = [(tmp_path / name / "replay" / "frames.bin").read_bytes() for name in ("straight", "resumed")]
    assert files[0] == files[1]


@pytest.mark.thorough
def test_a_run_may_begin_with_the_weights_of_another(small: Config, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    train(world_config(small, data, networks=THREE), tmp_path / "first")
    still = updates(world_config(small, data, networks=THREE), learning_rate=0.0)
    later = replace(still, init_from=str(tmp_path / "first"), init_networks=("denoiser",), seed=5)
    train(later, tmp_path / "second")
    first, second = (RunFolder(tmp_path / name).load() for name in ("first", "second"))
    assert first is not None and second is not None
    same = {name: torch.equal(tensor, second.weights[name]) for name, tensor in first.weights.items()}
    assert all(same[name] for name in same if name.startswith("denoiser."))
    assert not all(same[name] for name in same if name.startswith("reward_end."))


# --- runs that are refused -------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_rows_of_replay_without_a_checkpoint_are_not_thrown_away(small: Config, tmp_path: Path) -> None:
    config, out = playing(small), tmp_path / "run"
    train(config, out)
    shutil.rmtree(out / "checkpoints")
    (out / "summary.json").unlink()
    with Dataset.open(out / "replay") as replay:
        rows = replay.num_rows
    for _ in range(2):
        with pytest.raises(UserError, match=rf"holds {rows} rows, but no checkpoint") as error:
            train(config, out)
        assert "\n" not in str(error.value)
    with Dataset.open(out / "replay") as replay:
        assert replay.num_rows == rows
    shutil.rmtree(out / "replay")
    train(config, out)
    assert (out / "summary.json").exists(), "moved away, the run begins anew"


def without_steps(tmp_path: Path) -> Path:
    Dataset.create(tmp_path / "empty", noise_spec(height=12, width=12)).close()
    return tmp_path / "empty"


BAD: dict[str, tuple[Callable[[Config, Path], Config], str]] = {
    "data without a step": (lambda c, p: world_config(c, without_steps(p)), "has no steps to learn from"),
    "no data": (lambda c, p: world_config(c, p / "nothing"), "no data set at"),
    "no such game": (lambda c, p: replace(c, env="atari/Nothing"), "no Atari game"),
    "no such device": (lambda c, p: playing(c, device="tpu"), "unknown device"),
    "a value out of range": (lambda c, p: playing(c, horizon=0), "horizon is 0"),
    "networks of a game": (lambda c, p: playing(c, networks=("denoiser",)), "leave out --networks"),
    "no run to begin with": (lambda c, p: playing(c, init_from=str(p / "nothing")), "is no run folder"),
    "frames too small": (
        lambda c, p: playing(c, actor_critic=replace(c.actor_critic, channels=(8,) * 4, pool=(True,) * 4)),
        "too small for 4 poolings",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_begin_leaves_nothing_behind(small: Config, tmp_path: Path, bad: str) -> None:
    make, message = BAD[bad]
    config = make(small, tmp_path)
    for use in (check_new_run, lambda config: train(config, tmp_path / "run"), dry_run):
        with pytest.raises(UserError, match=message) as error:
            use(config)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists(), "put right, the same command must do"


@pytest.mark.thorough
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(small: Config, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    train(world_config(small, data, networks=("denoiser",)), tmp_path / "first")
    wider = replace(small, denoiser=replace(small.denoiser, channels=(16, 8)))
    later = world_config(wider, data, networks=("denoiser",), init_from=str(tmp_path / "first"))
    for use in (check_new_run, lambda config: train(config, tmp_path / "second")):
        with pytest.raises(UserError, match="weights of the denoiser do not fit"):
            use(later)
    assert not (tmp_path / "second").exists()


def test_what_can_begin_is_only_looked_at(small: Config, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    before = files_below(tmp_path)
    for config in (playing(small), playing(small, recipe="model_free"), world_config(small, data)):
        check_new_run(config)
    assert files_below(tmp_path) == before


def test_as_many_games_are_opened_as_are_played_at_once(small: Config, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    with ExitStack() as resources:
        for recipe, rows in (("diamond", 2), ("model_free", 3)):
            env, none = open_source(updates(playing(small, recipe=recipe), batch_size=3), resources, new=True)
            assert env is not None and env.num_envs == rows and none is None
        env, dataset = open_source(world_config(small, data), resources, new=True)
        assert env is None and dataset is not None and dataset.num_steps == 30


# --- dry runs --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_dry_run_foretells_the_memory_of_a_gpu_that_is_not_here(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    dry_run(replace(world_config(small, data), device="cuda", compile="off"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["data", "networks", "GPU", "disk", "no"]
    assert lines[2].startswith("GPU memory    about ") and lines[2].endswith("(float32)")
    assert lines[-1] == "no GPU is here: nothing was timed"
    with pytest.raises(UserError, match="device 'cuda' is not available"):
        check_new_run(replace(world_config(small, data), device="cuda"))


@pytest.mark.thorough
def test_a_dry_run_names_settings_that_fit_into_a_gpu(small: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config = world_config(small, Path("data"))
    config = replace(config, denoiser_updates=replace(config.denoiser_updates, batch_size=64))
    rehearsal = Rehearsal(config, noise_spec(height=12, width=12), Way("cuda", torch.float32, False))
    for spare in (0, -1):
        with pytest.raises(UserError) if spare else nullcontext() as refused:
            dry_runs._check_gpu(rehearsal, CONTEXT + rehearsal.footprint.total + spare)
        if refused is not None:
            fits = "batch-size 32", "accumulate 2", f"clip {2 * config.denoiser_updates.clip:g}"
            assert f"give {' '.join(f'--denoiser-updates.{setting}' for setting in fits)} (" in str(refused.value)
        assert "this GPU has" in capsys.readouterr().out


def test_a_dry_run_among_ranks_takes_a_ranks_part_of_every_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Config] = []
    monkeypatch.setattr(dry_runs, "dry_run", lambda config, preset: timed.append(config))
    data = fill(tmp_path / "data", 30, height=16, width=16)
    assert train_among(Ranks(count=2), ["--data", str(data), "--denoiser-updates.batch-size", "6", "--dry-run"]) == 0
    assert [config.denoiser_updates.batch_size for config in timed] == [3]
    assert capsys.readouterr().out.startswith("what each of 2 ranks takes for its part of every batch")


@pytest.mark.parametrize("recipe", ["diamond", "model_free", "world", "shooter"])
def test_a_dry_run_tells_sizes_and_time_and_writes_nothing(
    small: Config, tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_runs, "MEASURED_SECONDS", 0.02)
    config = playing(small, recipe=recipe)
    names: tuple[str, ...] = THREE if recipe == "diamond" else ("actor_critic",)
    if recipe == "world":
        config, names = world_config(small, fill(tmp_path / "data", 30, height=12, width=12)), THREE[:2]
    if recipe == "shooter":
        config = replace(world_config(small, fill(tmp_path / "data", 30, height=12, width=12)), recipe="shooter")
        names = ("denoiser", "upsampler")
        monkeypatch.setattr(dry_runs, "LONG_UPDATE", 0.0)  # told by one row
    before = files_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    dry_run(config)
    assert files_below(tmp_path) == before
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines()[1:] if not line.startswith("note: ")}
    phases = {"diamond": ["collect", *THREE, "test"]}.get(recipe, [*names, "test"])
    source = "data" if recipe in OF_DATA else "game"
    assert list(lines) == [source, "networks", "measuring", *phases, "together", "memory", "disk"]
    assert [name in lines["networks"] for name in NETWORKS] == [name in names for name in NETWORKS]
    assert "at least" in lines["memory"] and "were taken for this" in lines["memory"]
    if recipe != "model_free":  # whose updates end with the real steps
        for name in names:
            part = config.updates(name)  # type: ignore[arg-type]
            expected = part.first_steps + (config.total_epochs - 1) * part.steps
            assert lines[name].split()[1:3] == [f"{expected:,}", "updates,"]
    assert lines["together"].endswith(f"for {config.total_epochs} epochs")
    assert ("replay" in lines["disk"]) == (recipe == "diamond") and "checkpoint" in lines["disk"]
    if recipe in OF_DATA:
        assert "30 steps in" in lines["data"] and "held out:" in lines["data"]


# --- one process a run folder ----------------------------------------------------------------------------------------


def test_two_processes_do_not_train_in_one_folder(small: Config, tmp_path: Path) -> None:
    """Of no recipe: only the replay of one had a lock before."""
    out = tmp_path / "run"
    config = world_config(small, fill(tmp_path / "data", 30, height=12, width=12))
    run = RunFolder(out)
    with run.claimed(), pytest.raises(UserError, match=rf"{out} is being trained by process {os.getpid()} on "):
        train(config, out)
    assert files_below(out) == {".lock"}
    train(config, out)
    with run.claimed():
        train(config, out)  # it is finished: nothing is written


def test_a_process_whose_run_another_took_over_writes_no_checkpoint(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of files gives the lock of a machine that it has lost sight of to another, and the first one lives."""
    save = RunFolder.save

    def save_and_lose(run: RunFolder, number: int, checkpoint: Checkpoint) -> None:
        save(run, number, checkpoint)
        (run.path / ".lock").write_text("process 7 on another 0123abcd")

    monkeypatch.setattr(RunFolder, "save", save_and_lose)
    config = world_config(small, fill(tmp_path / "data", 30, height=12, width=12), checkpoint_seconds=0.0)
    with pytest.raises(UserError, match=r"process 7 on another has taken over in .*: leave it to that one"):
        train(config, tmp_path / "run")
    assert len(RunFolder(tmp_path / "run").checkpoints()) == 1


@pytest.mark.parametrize(("compiles", "calls"), [(False, 1), (True, 2)])
def test_the_time_that_compiling_takes_is_none_of_an_updates(
    compiles: bool, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, clock = list[int](), iter([0.0, 1.0])
    monkeypatch.setattr(dry_runs, "MEASURED_SECONDS", 0.0)  # any time is a long one
    monkeypatch.setattr(dry_runs, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert dry_runs._seconds(lambda: done.append(1), compiles) == 1.0 and len(done) == calls


@pytest.mark.parametrize(
    ("recipe", "height", "width", "says"),
    [
        ("world", 8, 72, "frames of 8x72 are drawn by one network at full size"),
        ("world", 8, 64, ""),
        ("shooter", 32, 32, "the first stage dreams 8x8 pixels"),
        ("shooter", 96, 128, ""),
        ("diamond", 210, 160, ""),
    ],
)
def test_sizes_that_train_badly_are_named(recipe: str, height: int, width: int, says: str) -> None:
    factor = 4 if recipe == "shooter" else 1
    note = size_note(recipe, factor, GameSpec("game", height, width, ActionSpace.discrete(2)))
    assert says in note and bool(note) == bool(says)
