"""What is no golden folder, or a damaged file in one, is one line to the user."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_folders import (
    GOLDEN,
    alter,
    passed,
    write_atari_folder,
)

from diffworld.compat.golden import verify_golden
from diffworld.runtime.errors import UserError


def object_array(path: Path) -> None:
    np.savez(path, logits=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for i in range(100, len(data) - 2000, 97):
        data[i] ^= 0xFF
    path.write_bytes(data)


def without(name: str) -> Callable[[Path], None]:
    return lambda path: alter(path, lambda arrays: arrays.pop(name))


def replaced(name: str, value: Any) -> Callable[[Path], None]:
    return lambda path: alter(path, lambda arrays: arrays.update({name: value}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a zip file"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        flipped,
        object_array,
        single_array,
        without("obs"),
        without("logits"),
        replaced("obs", np.zeros((2, 3), np.float32)),
        replaced("obs", np.float32(3)),
        replaced("obs", np.array(["a", "b"])),
        replaced("obs", np.zeros((3, 2, 3, 9, 9), np.float32)),
        replaced("obs", np.zeros((0, 2, 3, 12, 20), np.float32)),
        replaced("logits", np.zeros((3, 2, 8), np.float32)),
        replaced("logits", np.zeros((0,), np.float32)),
    ],
    ids=lambda damage: getattr(damage, "__name__", ""),
)
@pytest.mark.cases(every=5)
def test_a_damaged_file_fails_in_one_line_and_the_others_are_checked(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write_atari_folder(tmp_path)
    damage(tmp_path / "actor_critic_forward.npz")
    results = {result.name: result for result in verify_golden(tmp_path)}
    assert [name for name, result in results.items() if not result.passed] == ["actor_critic_forward"]
    assert "\n" not in results["actor_critic_forward"].note
    assert len(results) == 5


@pytest.mark.parametrize(
    "name", ["mystery", "csgo_denoiser_forward", "csgo_upsampler_fast", "atari_nosuchgame", "reward_end_loss"]
)
def test_a_file_of_unknown_kind_or_of_an_absent_network_fails(tmp_path: Path, name: str) -> None:
    write_atari_folder(tmp_path)
    shutil.copy(tmp_path / "denoiser_forward.npz", tmp_path / f"{name}.npz")
    results = {result.name: result for result in verify_golden(tmp_path)}
    assert [key for key, result in results.items() if not result.passed] == [name]
    assert results[name].note and "\n" not in results[name].note


def test_a_game_with_unfit_arrays_fails(tmp_path: Path) -> None:
    write_atari_folder(tmp_path)
    for file in tmp_path.glob("*_forward.npz"):
        file.unlink()
    for actions in (np.int64(3), np.array([0.5]), np.array([99]), np.zeros(0, np.int64)):
        shutil.copy(GOLDEN / "atari_breakout.npz", tmp_path)
        alter(tmp_path / "atari_breakout.npz", lambda arrays, actions=actions: arrays.update(actions=actions))
        assert not passed(tmp_path)["atari_breakout"]


def no_config(folder: Path) -> None:
    (folder / "atari_config.json").unlink()


def no_files(folder: Path) -> None:
    for file in folder.glob("*.npz"):
        file.unlink()


def config_text(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "atari_config.json").write_text(text)


def config_with(*path: str, value: Any) -> Callable[[Path], None]:
    """Replaces an entry of the configuration; `...` removes it."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "atari_config.json").read_text())
        inner = config
        for key in path[:-1]:
            inner = inner[key]
        inner.pop(path[-1])
        if value is not ...:
            inner[path[-1]] = value
        (folder / "atari_config.json").write_text(json.dumps(config))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        no_config,
        no_files,
        shutil.rmtree,
        config_text("{"),
        config_text("[]"),
        config_text('"text"'),
        config_text("{}"),
        lambda folder: (folder / "atari_config.json").write_bytes(b"\xff\xfe\x00"),
        config_with("num_actions", value=...),
        config_with("num_actions", value="four"),
        config_with("num_actions", value=-1),
        config_with("num_actions", value=8),
        config_with("state_dict", value=...),
        config_with("state_dict", value=[]),
        config_with("state_dict", value={}),
        config_with("state_dict", "actor_critic.lstm.weight_ih", value=[3, "x"]),
        config_with("state_dict", "actor_critic.lstm.weight_ih", value=[-3, 2]),
        config_with("denoiser", value=[]),
        config_with("denoiser", value=None),
        config_with("denoiser", "channels", value=[100, 100]),
        config_with("denoiser", "channels", value=[-8, 8]),
        config_with("denoiser", "channels", value=[0, 8]),
        config_with("denoiser", "channels", value=[12, 20]),
        config_with("denoiser", "channels", value=[8]),
        config_with("denoiser", "channels", value=8),
        config_with("denoiser", "num_steps_conditioning", value=0),
        config_with("denoiser", "sigma_offset_noise", value="much"),
        config_with("image_size", value=[2, 2]),
        config_with("image_size", value=12),
        config_with("image_size", value=[12]),
    ],
)
@pytest.mark.cases(every=5)
def test_what_is_no_golden_folder_is_one_line_to_the_user(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    write_atari_folder(folder)
    damage(folder)
    with pytest.raises(UserError) as error:
        list(verify_golden(folder))
    assert "\n" not in str(error.value)


def test_a_file_is_no_folder() -> None:
    with pytest.raises(UserError, match="holds no golden numbers"):
        list(verify_golden(GOLDEN / "atari_config.json"))
