"""A model as one file: the same dream on another machine, and no harm from a file of somebody else."""

import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from test_loading import dreamt, make_run

import diffworld
from diffworld.cli import main
from diffworld.config import Config
from diffworld.game import ActionSpace, GameSpec
from diffworld.runs import Model, load, pack
from diffworld.runtime.errors import UserError
from tests.noise_data import noise_spec
from tests.tiny_training import SHOOTER

PARTS = {"diffworld.json", "config.json", "game.json", "weights.safetensors", "starts.safetensors"}


@pytest.fixture
def run(small: Config, tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", small, noise_spec(height=12, width=12), 40)


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    pack(load(run), tmp_path / "game.zip", starts=5, licence="Do what you want.\n")
    return tmp_path / "game.zip"


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data in parts:
            archive.writestr(name, data, kind)
    return path


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [ActionSpace.discrete(3), SHOOTER], ids=["choice", "keys and choice"])
def test_an_exported_model_dreams_nearly_the_same(small: Config, tmp_path: Path, space: ActionSpace) -> None:
    config, spec = replace(small, init_from=str(tmp_path)), GameSpec("noise", 12, 12, space, keys={"w": "KeyW"})
    model = load(make_run(tmp_path / "run", config, spec, 40))
    pack(model, tmp_path / "game.zip", starts=5)
    again = diffworld.load(tmp_path / "game.zip", device="cpu")
    assert again.title == "game" and again.datasets == {} and again.licence == ""
    assert again.spec == spec and again.config == replace(config, init_from="")
    windows, all_windows = again.starts.windows(), model.starts.windows()
    assert len(windows) == 5
    for place, window in zip((0, 9, 18, 27, 36), windows, strict=True):
        np.testing.assert_array_equal(window.frames, all_windows[place].frames)
        np.testing.assert_array_equal(window.actions[:-1], all_windows[place].actions[:-1])
    for frame, expected in zip(dreamt(again), dreamt(model), strict=True):
        assert np.abs(frame - expected).mean() < 0.05, "bfloat16 has 8 bits"


def test_networks_and_frames_that_are_missing_are_left_out(small: Config, tmp_path: Path) -> None:
    config = replace(small, reward_end_updates=replace(small.reward_end_updates, first_steps=0, steps=0))
    path = make_run(tmp_path / "run", config, noise_spec(height=12, width=12), 2)
    pack(load(path), tmp_path / "game.zip")
    model = load(tmp_path / "game.zip", "cpu")
    assert model.require_world().reward_end is None and model.policy is not None
    seen = {tuple(window.has_frame.tolist()) for window in model.starts.windows()}
    assert seen == {(False, False, False, True), (False, False, True, True)}
    assert dreamt(model)


def test_it_holds_what_it_says_and_nothing_of_this_machine(exported: Path, run: Path, tmp_path: Path) -> None:
    parts = parts_of(exported)
    assert {*parts} == {*PARTS, "LICENCE.txt"} and parts["LICENCE.txt"] == b"Do what you want.\n"
    assert not any(str(tmp_path).encode() in data for data in parts.values())
    weights = safetensors.torch.load(parts["weights.safetensors"])
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    pack(load(run), tmp_path / "again.zip", starts=5, licence="Do what you want.\n")
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()


def test_a_file_exports_again_with_its_licence(exported: Path, tmp_path: Path) -> None:
    assert main(["export", str(exported), "--out", str(tmp_path / "again.zip")]) == 0
    model = load(tmp_path / "again.zip", "cpu")
    assert model.licence == "Do what you want.\n" and len(model.starts.windows()) == 5


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("  Free for all, für alle.\nNo warranty.\n", encoding="utf-8")
    out = tmp_path / "new" / "game.zip"
    assert main(["export", str(run), "--out", str(out), "--licence", str(tmp_path / "mine.txt"), "--starts", "3"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: " in said and "licence: Free for all, für alle. No warranty." in said
    assert f"play it: diffworld play {out}" in said
    model = load(out, "cpu")
    assert model.licence == "Free for all, für alle.\nNo warranty." and len(model.starts.windows()) == 3
    assert main(["export", str(run), "--out", str(tmp_path / "bare.zip")]) == 0
    assert "no licence: nobody may know what is allowed (--licence)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "there.txt"], "there.txt is there already: choose another --out"),
        (["--out", "x.zip", "--licence", "nowhere.txt"], "cannot read the licence nowhere.txt (No such file"),
        (["--out", "x.zip", "--licence", "."], "cannot read the licence . (Is a directory)"),
        (["--out", "x.zip", "--licence", "latin.txt"], "is no text in UTF-8"),
        (["--out", "x.zip", "--licence", "empty.txt"], "is empty: give its text"),
        (["--out", "x.zip", "--licence", "long.txt"], "is longer than"),
        (["--out", "x.zip", "--starts", "0"], "--starts is 0; it must be at least 1"),
        ([], "--out"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    options: list[str], said: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"there.txt": b"mine", "latin.txt": b"\xfc", "empty.txt": b" \n", "long.txt": b"a" * (2**20 + 1)}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    assert main(["export", str(run), *options]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err
    assert not (tmp_path / "x.zip").exists() and (tmp_path / "there.txt").read_bytes() == b"mine"


def test_a_run_without_a_dream_is_not_exported(small: Config, tmp_path: Path, capsys: Any) -> None:
    path = make_run(tmp_path / "run", replace(small, recipe="model_free"), noise_spec(height=12, width=12), 9)
    assert main(["export", str(path), "--out", str(tmp_path / "game.zip")]) == 2
    assert "run has no dream" in capsys.readouterr().err and not (tmp_path / "game.zip").exists()


# --- files of somebody else ------------------------------------------------------------------------------------------


def with_json(part: str, **changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[part] = json.dumps(json.loads(parts[part]) | changes).encode()

    return change


def with_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[dict[str, bytes]], None]:
    def changed(parts: dict[str, bytes]) -> None:
        weights = safetensors.torch.load(parts["weights.safetensors"])
        change(weights)
        parts["weights.safetensors"] = safetensors.torch.save(weights)

    return changed


def with_starts(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        starts = safetensors.numpy.load(parts["starts.safetensors"])
        made = {name: np.ascontiguousarray(changes.get(name, lambda x: x)(array)) for name, array in starts.items()}
        parts["starts.safetensors"] = safetensors.numpy.save(made)

    return change


def with_part(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda parts: parts.update({name: data})


TENSORS = ("frames", "has_frame", "actions")
FIRST = "denoiser.network.conv_in.weight"
BAD: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a path that climbs": (with_part("../../evil.py", b"x"), "it holds '../../evil.py', which no exported game does"),
    "an absolute path": (with_part("/etc/passwd", b"x"), "which no exported game does"),
    "code": (with_part("setup.py", b"print()"), "it holds 'setup.py', which no exported game does"),
    "a pickle": (with_part("state.pt", b"x"), "which no exported game does"),
    "no weights": (lambda parts: parts.pop("weights.safetensors"), "it has 0 parts called weights.safetensors"),
    "no JSON": (with_part("config.json", b"{"), "it is no JSON"),
    "a number that is none": (with_part("game.json", b'{"height": NaN}'), "it is no JSON"),
    "no UTF-8": (with_part("game.json", b"\xff"), "it is no JSON"),
    "deep JSON": (with_part("game.json", b"[" * 10**5), "it is no JSON"),
    "a list": (with_part("config.json", b"[]"), "config.json should be a JSON object"),
    "another format": (with_json("diffworld.json", format=2), "it has format 2, not 1"),
    "no format": (with_part("diffworld.json", b"[]"), "it has format None, not 1"),
    "an unknown setting": (with_json("config.json", code="x"), "an unknown field 'code'"),
    "a giant network": (
        with_json("config.json", denoiser={**json.loads(Config().to_json())["denoiser"], "channels": [2**20] * 4}),
        "do not fit this configuration",
    ),
    "a setting out of range": (with_json("config.json", horizon=-1), "horizon is -1; it must be at least 1"),
    "another frame size": (with_json("game.json", height=16), "its starts have frames uint8"),
    "frames of a mile": (with_json("game.json", height=2**14, width=2**14), "its starts have frames uint8"),
    "other actions": (
        with_json("game.json", actions=[{"choice": "action", "values": ["a"]}]),
        "which the game does not have",
    ),
    "a long licence": (with_part("LICENCE.txt", b"a" * (2**20 + 1)), "its LICENCE.txt unpacks to 1,048,577 bytes"),
    "no tensors": (with_part("weights.safetensors", b"nothing"), "its tensors are damaged"),
    "tensors without end": (with_part("weights.safetensors", b"\xff" * 16), "its tensors are damaged"),
    "no numbers": (with_weights(lambda w: w.update({FIRST: w[FIRST] * torch.nan})), "are no finite numbers"),
    "whole numbers": (with_weights(lambda w: w.update({FIRST: w[FIRST].long()})), "are no finite numbers"),
    "a weight too few": (with_weights(lambda w: w.pop(FIRST)), "do not fit this configuration"),
    "a weight too many": (with_weights(lambda w: w.update({"denoiser.x": torch.zeros(1)})), "do not fit"),
    "no starts": (with_starts(**dict.fromkeys(TENSORS, lambda x: x[:0])), "its 0 starts"),
    "too many starts": (
        with_starts(**dict.fromkeys(TENSORS, lambda x: np.repeat(x, 1000, axis=0))),
        "its starts.safetensors unpacks to",
    ),
    "starts without frames": (with_starts(has_frame=np.zeros_like), "its starts have no frame to begin with"),
    "actions that do not exist": (with_starts(actions=lambda x: x + 99), "which the game does not have"),
    "actions to follow that do not exist": (
        with_starts(following=lambda x: x + 99),
        "followed by actions that the game",
    ),
    "more to follow than there is": (with_starts(known=lambda x: x + 999), "followed by actions that"),
    "what follows of other starts": (with_starts(following=lambda x: x[1:]), "which does not fit them"),
    "actions below 0": (with_starts(actions=lambda x: x - 1), "which the game does not have"),
    "frames that are no bytes": (with_starts(frames=lambda x: x.astype(np.int16)), "its starts have frames int16"),
    "starts without actions": (
        lambda parts: parts.update({"starts.safetensors": safetensors.numpy.save({"frames": np.zeros(1, np.uint8)})}),
        "its tensors are damaged",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.cases(every=5)
def test_what_is_no_export_is_one_line(kind: str, exported: Path, tmp_path: Path, capsys: Any) -> None:
    change, said = BAD[kind]
    parts = parts_of(exported)
    change(parts)
    path = write(tmp_path / "bad.zip", list(parts.items()))
    with pytest.raises(UserError) as error:
        load(path, "cpu")
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)
    assert main(["play", str(path), "--port", "0", "--no-browser"]) == 2
    assert said in capsys.readouterr().err


def test_parts_that_are_there_twice_compressed_weights_and_a_bomb(exported: Path, tmp_path: Path) -> None:
    parts = parts_of(exported)
    twice = [*parts.items(), ("config.json", parts["config.json"])]
    packed = list(parts.items())
    bomb = [(name, bytes(2**24) if name == "starts.safetensors" else data) for name, data in parts.items()]
    words = [(name, bytes(2**24) if name == "game.json" else data) for name, data in parts.items()]
    for made, kind, said in (
        (twice, zipfile.ZIP_STORED, "it has 2 parts called config.json"),
        (packed, zipfile.ZIP_DEFLATED, "its weights.safetensors are compressed"),
        (bomb, zipfile.ZIP_DEFLATED, "its starts.safetensors unpacks to 16,777,216 bytes"),
        (words, zipfile.ZIP_DEFLATED, "its game.json unpacks to 16,777,216 bytes"),
    ):
        path = write(tmp_path / "bad.zip", made, kind)
        with pytest.raises(UserError, match=said):
            load(path, "cpu")
    assert (tmp_path / "bad.zip").stat().st_size < 2**20


def test_a_part_that_says_less_than_it_unpacks_to_is_not_unpacked_further(exported: Path, tmp_path: Path) -> None:
    parts = parts_of(exported)
    parts["config.json"] = bytes(2**24)
    path = write(tmp_path / "bad.zip", list(parts.items()), zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace((2**24).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(UserError, match="is no exported game, or damaged"):
        load(path, "cpu")


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_of_another_kind_is_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "game.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"is no exported game|it has 0 parts called"):
        load(tmp_path / "game.zip")


def test_the_name_of_a_game_imports_no_module(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = parts_of(exported)
    with_json("game.json", name="gym/evil_module:Game-v0", presented={"height": 12, "width": 12})(parts)
    with_json("config.json", env="gym/evil_module:Game-v0")(parts)
    model: Model = load(write(tmp_path / "bad.zip", list(parts.items())), "cpu")
    assert model.spec.name == model.config.env == "gym/Game-v0" and model.no_game and dreamt(model)
    assert "evil_module" not in sys.modules and not (tmp_path / "harm").exists()
    pack(model, tmp_path / "again.zip")
    assert b"evil_module" not in (tmp_path / "again.zip").read_bytes()
