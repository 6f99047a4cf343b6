"""A run folder gives back exactly what was put in, says so when it cannot, and may be moved."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffworld.config import Config, preset
from diffworld.game import ActionSpace, Choice, GameSpec, Keys
from diffworld.runs.folder import CHECKPOINTS_KEPT, Checkpoint, RunFolder
from diffworld.runtime.errors import UserError

GAME = GameSpec(
    "shooter", 8, 8, ActionSpace((Keys(("w",)), Choice("mouse", ("-", "+")))), keys={"w": "KeyW"}, rewards=False
)


def checkpoint(seed: int = 0) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 6, generator=generator)
    return Checkpoint(
        weights={
            "denoiser.a": weight,
            "denoiser.transposed": weight.T,
            "actor_critic.half": weight.bfloat16(),
            "actor_critic.count": torch.tensor(7),
            "reward_end.images": torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        },
        state={
            "rng": generator.get_state(),
            "nested": {"list": [1, 2.5, None, (torch.ones(2), "text")], 3: weight * 2},
            "none": None,
        },
        progress={"epoch": seed, "wall_seconds": 1.25, "numpy_rng": {"state": 2**127 + 1}, "values": {"x": -1e-300}},
    )


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def assert_same_checkpoint(loaded: Checkpoint | None, saved: Checkpoint) -> None:
    assert loaded is not None
    assert_same(loaded.weights, saved.weights)
    assert_same(loaded.state, saved.state)
    assert_same({k: v for k, v in loaded.progress.items() if k != "sha256"}, saved.progress)


def test_a_checkpoint_comes_back_exactly(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.load() is None
    run.save(1, checkpoint())
    assert_same_checkpoint(run.load(), checkpoint())


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for number in range(1, 13):
        run.save(number, checkpoint(number))
        assert_same_checkpoint(run.load(), checkpoint(number))
        assert len(run.checkpoints()) == min(number, CHECKPOINTS_KEPT)
    assert [path.name for path in run.checkpoints()] == ["00000010", "00000011", "00000012"]


def test_a_save_that_was_killed_does_not_count(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(1, checkpoint(1))
    shutil.copytree(run.checkpoints()[0], tmp_path / "checkpoints" / ".00000002.tmp")
    (tmp_path / "checkpoints" / ".00000002.tmp" / "progress.json").unlink()
    assert_same_checkpoint(run.load(), checkpoint(1))
    run.save(2, checkpoint(2))
    assert_same_checkpoint(run.load(), checkpoint(2))


def test_a_save_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(1, checkpoint(1))
    with pytest.raises(ValueError, match="JSON"):
        run.save(2, replace(checkpoint(2), progress={"loss": float("nan")}))
    assert [path.name for path in run.checkpoints()] == ["00000001"]
    assert_same_checkpoint(run.load(), checkpoint(1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink, flip])
@pytest.mark.parametrize("file", ["weights.safetensors", "state.pt", "progress.json"])
def test_damage_is_one_line_that_says_what_to_do(tmp_path: Path, file: str, damage: Callable[[Path], object]) -> None:
    run = RunFolder(tmp_path)
    run.save(1, checkpoint(1))
    run.save(2, checkpoint(2))
    last = run.checkpoints()[-1]
    if file == "progress.json" and damage is flip:
        text = (last / file).read_text()
        (last / file).write_text(text.replace('"sha256": {', '"sha256": ["', 1))
    else:
        damage(last / file)
    with pytest.raises(UserError, match="delete that folder to resume from the one before it") as error:
        run.load()
    assert str(last) in str(error.value) and "\n" not in str(error.value)
    shutil.rmtree(last)
    assert_same_checkpoint(run.load(), checkpoint(1))
    damage(run.checkpoints()[-1] / "weights.safetensors")
    with pytest.raises(UserError, match="delete that folder to start over"):
        run.load()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"epoch": 2', '"epoch": -5'),
        ('"epoch": 2', '"phase": 99'),
        ('"wall_seconds": 1.25', '"wall_seconds": 1.75'),
        ('"x": -1e-300', '"x": null'),
        ('"sha256": {', '"sha256": {"other": ""}, "was": {'),
    ],
)
def test_other_numbers_of_a_checkpoint_are_damage(tmp_path: Path, old: str, new: str) -> None:
    run = RunFolder(tmp_path)
    run.save(2, checkpoint(2))
    path = run.checkpoints()[0] / "progress.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=r"00000002 is damaged \(.*: delete that folder to start over"):
        run.load()


class Intruder:
    """Something a pickle would build."""


def test_a_checkpoint_from_elsewhere_builds_no_objects(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(1, replace(checkpoint(), state={"object": Intruder()}))  # hashes and all
    with pytest.raises(UserError, match="is damaged"):
        run.load()


# --- beginning -------------------------------------------------------------------------------------------------------


def test_begin_and_begin_again(tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "runs" / "new"), preset("demo")
    assert not run.exists()
    assert run.begin(config, GAME) is False
    assert run.exists() and run.config() == config and run.spec() == GAME
    versions = json.loads((run.path / "version.json").read_text())
    assert versions["torch"] == torch.__version__ and versions["python"]
    assert run.begin(config, GAME) is True


def test_a_run_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(Config(), GAME)
    before = (run.path / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"seed \(0 -> 1\)") as error:
        run.begin(replace(Config(), seed=1), GAME)
    assert "--out" in str(error.value)
    with pytest.raises(UserError, match=r" \.\.\."):
        run.begin(preset("demo"), GAME)
    assert (run.path / "config.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is no run folder: choose another --out"):
        RunFolder(tmp_path).begin(Config(), GAME)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is no run folder"):
        RunFolder(tmp_path / "thesis.tex").begin(Config(), GAME)
    with pytest.raises(UserError, match="cannot write"):
        RunFolder(tmp_path / "thesis.tex" / "run").begin(Config(), GAME)


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    assert RunFolder(tmp_path).begin(Config(), GAME) is False


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(Config(), GAME)
    cut(run.path / "config.json")
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        run.begin(Config(), GAME)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.json"):
        RunFolder(tmp_path).config()


def test_a_run_may_be_moved(tmp_path: Path) -> None:
    old = RunFolder(tmp_path / "old")
    old.begin(preset("demo"), GAME)
    old.save(4, checkpoint(4))
    new = RunFolder(tmp_path / "elsewhere" / "new")
    new.path.parent.mkdir()
    shutil.move(old.path, new.path)
    assert new.config() == preset("demo") and new.spec() == GAME
    assert_same_checkpoint(new.load(), checkpoint(4))
    assert new.begin(preset("demo"), GAME) is True
    for path in new.path.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), f"{path} holds an absolute path"


def test_settings_that_change_nothing_may_change(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin(Config(), GAME)
    assert run.begin(replace(Config(), log_to=("wandb",), checkpoint_seconds=5.0), GAME) is True


def test_a_kill_while_beginning_leaves_a_folder_to_go_on_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path / "run")

    def killed() -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffworld.runs.folder.versions", killed)
    with pytest.raises(KeyboardInterrupt):
        run.begin(Config(), GAME)
    assert run.begin(Config(), GAME) is True


def test_a_folder_of_imported_weights_is_not_trained_in(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(Config(), GAME)
    assert run.imported_from == ""
    (tmp_path / "version.json").write_text(json.dumps({"imported_from": "somewhere"}))
    assert run.imported_from == "somewhere"
    with pytest.raises(UserError, match=f"--init-from {tmp_path}"):
        run.begin(Config(), GAME)


# --- the game --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 10**5])
def test_a_damaged_game_is_one_line(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.begin(Config(), GAME)
    (tmp_path / "game.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*game\.json") as error:
        run.spec()
    assert "\n" not in str(error.value)


def test_a_folder_of_the_version_before_has_no_game(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).spec() is None
