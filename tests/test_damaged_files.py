"""Whatever has become of a file, reading it gives what was written, or one line that says what to do."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffworld.compat.published import read_config, read_tensors
from diffworld.config import Config
from diffworld.data import Dataset
from diffworld.envs import EpisodeResult
from diffworld.evaluation.protocol import Protocol
from diffworld.evaluation.saved import Evaluation, read_evaluations, save_evaluation
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes import build_networks
from diffworld.report.runs import read_run
from diffworld.report.scores import load_benchmark, read_method
from diffworld.report.write import check_place
from diffworld.runs import Checkpoint, RunFolder, load, pack
from diffworld.runtime.errors import UserError
from diffworld.runtime.metrics import read_metrics
from diffworld.sweep.plan import read_sweep
from tests.tiny_training import noise_of, playing

SPEC = GameSpec("atari/Pong", 12, 12, ActionSpace.discrete(["NOOP", "UP"]))
RUN = "runs/run"
CHECKPOINT = f"{RUN}/checkpoints/00000001"
SWEEP = """
out = "runs/ablation"
games = ["atari/Freeway", "atari/Boxing"]
seeds = [0, 1]
[options]
collection.total-steps = 7200
[settings.one]
[settings.two]
sampler.denoising-steps = 3
"""


def make_files(folder: Path, config: Config) -> None:
    """One of each kind of file that is read."""
    config = replace(playing(config), env=SPEC.name, data="", init_from="")
    spec, run = replace(SPEC, presented=asdict(config.environment)), RunFolder(folder / RUN)
    run.begin(config, spec)
    networks = build_networks(config, spec, torch.device("cpu"))
    progress = {"progress": {"epoch": 3, "saves": 1, "wall_seconds": 2.5}, "env_steps": 60, "replay_rows": 12}
    run.save(1, Checkpoint(networks.tensors(), {"optimisers": {"denoiser": {"steps": 3}}}, progress))
    noise_of(run.replay, spec, [5, 5])
    games = tuple(EpisodeResult(seed, 1.5 * seed, 20, False) for seed in range(3))
    protocol = Protocol(real_steps=60)
    evaluation = Evaluation(SPEC.name, "agent", 1, True, 60, 2.5, 1.0, 0, 2, protocol, games)
    save_evaluation(run.path, evaluation, None)
    agent = {"mean": 1.0, "low": 0.5, "high": 1.5, "scores": [0.5, 1.5], "steps": [3, 4]}
    summary = {"counters": {"env_steps": 60, "wall_seconds": 2.5}, "agent": agent, "random": agent}
    (run.path / "summary.json").write_text(json.dumps(summary))
    entries = [{"epoch": epoch, "env_steps": 20 * epoch, "denoiser/loss": 0.5, "x": None} for epoch in (1, 2, 3)]
    (run.path / "metrics.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    pack(load(run.path, "cpu"), folder / "game.zip", starts=3, licence="free")
    (folder / "scores.json").write_text(json.dumps({"method": "Mine", "scores": {"Pong": [1.5, 2], "Alien": 3}}))
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "report").mkdir()
    (folder / "report" / "report.json").write_text(json.dumps({"files": ["report.json"], "format": 1}))
    torch.save({"a.weight": torch.randn(3, 4), "b": torch.zeros(2)}, folder / "weights.pt")
    (folder / "published.json").write_text(json.dumps({"agent": {"denoiser": {"channels": [64, 64]}, "size": 64}}))


def of_run(folder: Path) -> Any:
    model = load(folder / RUN, "cpu")
    read_run(folder / RUN)
    return model.spec, model.config, model.progress


def of_checkpoint(folder: Path) -> Any:
    checkpoint = RunFolder(folder / RUN).load()
    assert checkpoint is not None
    return {name: tensor.tolist() for name, tensor in checkpoint.weights.items()}, checkpoint.state, checkpoint.progress


def of_data(folder: Path) -> Any:
    with Dataset.open(folder / RUN / "replay") as dataset:
        frames = [dataset.episode_frames(episode.id).tolist() for episode in dataset.episodes]
        return dataset.spec, dataset.schema.info, frames, [list(episode.rewards) for episode in dataset.episodes]


def of_export(folder: Path) -> Any:
    model = load(folder / "game.zip", "cpu")
    frames = [window.frames.tolist() for window in model.starts.windows()]
    return model.spec, model.config, frames, model.licence, model.require_world().denoiser.state_dict().__repr__()


def of_tensors(folder: Path) -> Any:
    return {name: tensor.tolist() for name, tensor in read_tensors(folder / "weights.pt").items()}


READERS: dict[str, Callable[[Path], Any]] = {
    f"{RUN}/config.json": of_run,
    f"{RUN}/game.json": of_run,
    f"{RUN}/version.json": of_run,
    f"{CHECKPOINT}/progress.json": of_checkpoint,
    f"{CHECKPOINT}/weights.safetensors": of_checkpoint,
    f"{CHECKPOINT}/state.pt": of_checkpoint,
    f"{RUN}/replay/dataset.json": of_data,
    f"{RUN}/replay/synced.json": of_data,
    f"{RUN}/replay/frames.bin": of_data,
    f"{RUN}/replay/rows.bin": of_data,
    f"{RUN}/evaluations": lambda folder: (read_evaluations(folder / RUN), of_run(folder)),
    f"{RUN}/summary.json": of_run,
    f"{RUN}/metrics.jsonl": lambda folder: (read_metrics(folder / RUN / "metrics.jsonl"), of_run(folder)),
    "game.zip": of_export,
    "scores.json": lambda folder: read_method(folder / "scores.json", load_benchmark()),
    "sweep.toml": lambda folder: read_sweep(folder / "sweep.toml").runs(),
    "report/report.json": lambda folder: check_place(folder / "report"),
    "weights.pt": of_tensors,
    "published.json": lambda folder: read_config(folder / "published.json"),
}
CHECKSUMMED = ("progress.json", "weights.safetensors", "state.pt", "frames.bin", "rows.bin", "game.zip")
"""Files of which no damage goes unseen."""
ODD: list[Any] = [None, True, -1, 0.5, 1e300, 10**12, 2**31 - 1, 10**400, "", "x", "a\nb", "\ud800", "\0", [], {}, [{}]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import small

    folder = tmp_path_factory.mktemp("whole")
    make_files(folder, small.__wrapped__())  # type: ignore[attr-defined]
    return folder


def path_of(files: Path, name: str) -> Path:
    path = files / name
    return next(path.iterdir()) if path.is_dir() else path


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with each of its keys."""
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


def same_or_one_line(name: str, files: Path, before: Any) -> None:
    try:
        found = READERS[name](files)
    except UserError as error:
        assert str(error) and "\n" not in str(error), error
    else:
        assert found == before or not name.endswith(CHECKSUMMED)


@pytest.fixture
def damaged(files: Path, tmp_path: Path) -> Path:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    return tmp_path


DAMAGE = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", READERS)
@DAMAGE
@given(data=st.data())
@pytest.mark.cases(every=4)
def test_a_file_that_was_cut_or_has_other_bytes(name: str, data: st.DataObject, damaged: Path) -> None:
    before, path = READERS[name](damaged), path_of(damaged, name)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1), "place")
    byte = data.draw(st.none() | st.integers(0, 255), "byte, or nothing from there on")
    path.write_bytes(whole[:place] if byte is None else whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        same_or_one_line(name, damaged, before)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith((".json", ".jsonl", "evaluations"))])
@DAMAGE
@given(data=st.data())
@pytest.mark.cases(every=4)
def test_a_json_value_of_another_kind(name: str, data: st.DataObject, damaged: Path) -> None:
    before, path = READERS[name](damaged), path_of(damaged, name)
    whole = path.read_text()
    lines = whole.splitlines() if name.endswith(".jsonl") else [whole]
    trees = [json.loads(line) for line in lines]
    tree, key = data.draw(st.sampled_from(list(places(trees))), "place")
    if data.draw(st.booleans(), "left out"):
        del tree[key]
    else:
        tree[key] = data.draw(st.sampled_from(ODD), "instead")
    path.write_text("".join(f"{json.dumps(tree)}\n" for tree in trees))
    try:
        same_or_one_line(name, damaged, before)
    finally:
        path.write_text(whole)
