"""Files from elsewhere are data; sizes follow from a configuration of either form, or from shapes alone."""

import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from golden_folders import GOLDEN, small_atari
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffworld.compat.hub import published_game
from diffworld.compat.published import imported_config, imported_networks, read_config, read_tensors
from diffworld.compat.sizes import build_parts, sizes_from_config, sizes_from_tensors
from diffworld.config import preset
from diffworld.game import ActionSpace, GameSpec
from diffworld.runtime.errors import UserError
from published import to_published


def tensors_of(config: dict[str, Any]) -> dict[str, Tensor]:
    return to_published(build_parts(config))


def breakout(actions: int) -> GameSpec:
    return GameSpec("atari/Breakout", 12, 20, ActionSpace.discrete(actions))


def shapes_of(config: dict[str, Any]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return tensors_of(config)


def as_yaml(config: dict[str, Any]) -> dict[str, Any]:
    """The same settings as the agent's YAML on the hub has them: nested, other names, references for sizes."""
    sigma = {"sigma_data": 0.5, "sigma_offset_noise": config["denoiser"]["sigma_offset_noise"]}
    inner = {key: value for key, value in config["denoiser"].items() if not key.startswith("sigma")}
    by_reference = {"img_channels": "${agent.denoiser.inner_model.img_channels}", "img_size": "${env.train.size}"}
    return {
        "_target_": "agent.AgentConfig",
        "denoiser": {"_target_": "x", **sigma, "inner_model": {**inner, "img_channels": 3}},
        "rew_end_model": config["reward_end"] | by_reference,
        "actor_critic": config["actor_critic"] | by_reference,
    }


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_published_shapes_tell_the_sizes_of_the_paper() -> None:
    shapes = json.loads((GOLDEN / "atari_published_keys.json").read_text())
    sizes = sizes_from_tensors({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    paper = preset("atari100k")
    assert (sizes.denoiser, sizes.reward_end) == (paper.denoiser, paper.reward_end)
    assert (sizes.actor_critic, sizes.frame_size) == (paper.actor_critic, (64, 64))


@st.composite
def squares(draw: st.DrawFn) -> dict[str, Any]:
    """Networks on square frames whose side their shapes tell: no fewer poolings than halvings, nothing cut off."""

    def levels(most: int) -> dict[str, list[int]]:
        size = draw(st.integers(1, most))

        def column(*values: int) -> list[int]:
            return draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))

        return {"channels": column(8, 16, 64), "depths": column(1, 2), "attn_depths": column(0, 1)}

    n, reward_end = draw(st.integers(1, 4)), levels(4)
    halvings = len(reward_end["channels"]) - 1
    down = draw(st.permutations([1] * (halvings + 1) + [0]))
    return {
        "image_size": [2 ** (halvings + 1) * draw(st.integers(3, 6))] * 2,
        "num_actions": draw(st.integers(1, 18)),
        "denoiser": {"sigma_offset_noise": 0.3, "num_steps_conditioning": n, "cond_channels": 4 * n, **levels(4)},
        "reward_end": {"lstm_dim": draw(st.integers(1, 12)), "cond_channels": draw(st.integers(1, 12)), **reward_end},
        "actor_critic": {
            "lstm_dim": draw(st.integers(1, 12)),
            "channels": draw(st.lists(st.sampled_from([8, 64]), min_size=len(down), max_size=len(down))),
            "down": list(down),
        },
    }


@settings(max_examples=12)
@given(squares())
def test_shapes_tell_what_the_configuration_says_or_refuse(config: dict[str, Any]) -> None:
    tensors = shapes_of(config)
    told = sizes_from_config(config, tensors)
    try:
        assert sizes_from_tensors(tensors) == told
    except UserError as error:
        assert "give it with --config" in str(error)  # never a guess


def test_both_forms_of_a_configuration_say_the_same() -> None:
    config = small_atari() | {"image_size": [32, 32]}
    assert sizes_from_config(as_yaml(config) | {"image_size": [32, 32]}, {}) == sizes_from_config(config, {})


def test_a_frame_size_by_reference_is_told_by_the_tensors() -> None:
    config = small_atari() | {"image_size": [32, 32]}
    config["actor_critic"]["down"] = [1, 1, 1]
    assert sizes_from_config(as_yaml(config), shapes_of(config)).frame_size == (32, 32)


def test_shapes_that_many_frame_sizes_give_are_not_guessed() -> None:
    config = small_atari() | {"image_size": [83, 83]}
    with pytest.raises(UserError, match="could be 81, 82, 83 pixels high; give it with --config"):
        sizes_from_tensors(shapes_of(config))
    config = small_atari()  # not square
    with pytest.raises(UserError, match="fit no square frame; give it with --config"):
        sizes_from_tensors(shapes_of(config))
    assert sizes_from_config(config, {}).frame_size == (12, 20)


@pytest.mark.parametrize("missing", ["denoiser.inner_model.conv_in", "rew_end_model.encoder", "actor_critic.encoder"])
def test_shapes_of_other_networks_are_refused(missing: str) -> None:
    shapes = {k: v for k, v in shapes_of(small_atari()).items() if not k.startswith(missing)}
    with pytest.raises(UserError, match="not the weights of an Atari agent"):
        sizes_from_tensors(shapes)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("denoiser", None),
        ("denoiser", []),
        ("rew_end_model", None),
        ("actor_critic", None),
        ("denoiser.inner_model.channels", ["wide", "wider"]),
        ("denoiser.inner_model.channels", [100, 100]),
        ("denoiser.inner_model.channels", 8),
        ("denoiser.inner_model.channels", [8]),
        ("denoiser.inner_model.num_steps_conditioning", 0),
        ("denoiser.inner_model.num_steps_conditioning", 1.5),
        ("denoiser.sigma_data", 1.0),
        ("denoiser.sigma_offset_noise", "much"),
        ("rew_end_model.depths", [0, 0, 0]),
        ("actor_critic.down", 4),
        ("actor_critic.lstm_dim", "512"),
        ("image_size", [64]),
        ("image_size", ["64", "64"]),
        ("image_size", -64),
    ],
)
def test_an_unfit_configuration_is_one_line(path: str, value: Any) -> None:
    config = as_yaml(small_atari()) | {"image_size": [12, 20]}
    *parents, last = path.split(".")
    inner = config
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(UserError) as error:
        imported_config("atari/Breakout", config, shapes_of(small_atari()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("denoiser", "depths", (10**9, 1), "layers and the weights only"),
        ("denoiser", "channels", (2**20, 2**20), "check the configuration"),
        ("reward_end", "lstm_channels", 2**24, "check the configuration"),
    ],
)
def test_a_configuration_of_any_size_is_refused_before_it_is_built(part: str, name: str, value: Any, said: str) -> None:
    tensors = tensors_of(small_atari())
    config = imported_config("atari/Breakout", small_atari(), tensors)
    config = replace(config, **{part: replace(getattr(config, part), **{name: value})})
    spec = GameSpec("atari/Breakout", 12, 20, ActionSpace.discrete(7))
    with pytest.raises(UserError, match=said):
        imported_networks(config, spec, tensors)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.bin"])
def test_tensors_come_back_as_they_were_saved(tmp_path: Path, name: str) -> None:
    tensors = OrderedDict(a=torch.randn(2, 3), b=torch.randn(4, dtype=torch.float64))
    save = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(tensors, tmp_path / name)
    read = read_tensors(tmp_path / name)
    assert read.keys() == tensors.keys() and all(torch.equal(read[k], tensors[k]) for k in tensors)


class Code:
    """Pickled, it would make a file when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.made,)


def test_code_in_a_file_is_refused_and_never_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"a": torch.zeros(1), "b": Code(made)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="never run") as error:
        read_tensors(tmp_path / "weights.pt")
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    assert not made.exists()


@pytest.mark.parametrize(
    "data",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        {},
        {"model": {"a": torch.zeros(3)}},
        {"a": torch.zeros(3), "epoch": 3},
        {3: torch.zeros(3)},
        {"a": torch.zeros(3, dtype=torch.int64)},
        {"a": torch.zeros(3).to_sparse()},
        {"a": torch.zeros(3, device="meta")},
    ],
    ids=["tensor", "list", "nothing", "nested", "number", "key", "integers", "sparse", "nowhere"],
)
def test_what_is_no_flat_state_dict_is_refused(tmp_path: Path, data: Any) -> None:
    torch.save(data, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"no flat state dict|as tensors alone"):
        read_tensors(tmp_path / "weights.pt")


def test_a_file_that_would_fill_the_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a.weight": torch.zeros(1_000_000)}, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(UserError, match=r"bomb\.pt would unpack to 4,000,\d+ bytes"), monkeypatch.context() as patch:
        patch.setattr(torch, "load", None)
        read_tensors(tmp_path / "bomb.pt")


@pytest.mark.parametrize(
    "tensors",
    [
        {"a.weight": torch.zeros(1).expand(100_000, 100_000)},
        dict.fromkeys(map(str, range(100)), torch.zeros(1000)),
    ],
    ids=["a view of one number", "views of each other"],
)
def test_numbers_that_are_not_in_the_file_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="more numbers than it holds"):
        read_tensors(tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_damaged_or_absent_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UserError, match="cannot read"):
        read_tensors(path)
    (safetensors.torch.save_file if name.endswith("safetensors") else torch.save)({"a": torch.zeros(99)}, path)
    whole = path.read_bytes()
    for data in (b"", b"not weights", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as tensors alone") as error:
            read_tensors(path)
        assert "\n" not in str(error.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"cannot read|as tensors alone"):
        read_tensors(path)


def test_configurations_are_read_as_data(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_text("denoiser:\n  channels:\n  - 8\n  size: ${env.train.size}\n")
    assert read_config(tmp_path / "a.yaml") == {"denoiser": {"channels": [8], "size": "${env.train.size}"}}
    (tmp_path / "a.json").write_text('{"denoiser": 3}')
    assert read_config(tmp_path / "a.json") == {"denoiser": 3}
    for name, text in (
        ("b.yaml", "a: !!python/object/apply:pathlib.Path.touch [made]"),
        ("c.yaml", "a: [1"),
        ("d.yaml", "- a\n- b"),
        ("e.json", "{"),
        ("f.json", "3"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError) as error:
            read_config(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot read"):
        read_config(tmp_path / "absent.json")


# --- networks --------------------------------------------------------------------------------------------------------


def test_every_tensor_must_fit_and_be_finite() -> None:
    published = small_atari()
    config, tensors = imported_config("atari/Breakout", published, {}), tensors_of(published)
    ours = to_published(dict(imported_networks(config, breakout(7), tensors).items()))
    assert ours.keys() == tensors.keys() and all(torch.equal(ours[name], tensors[name]) for name in tensors)
    with pytest.raises(UserError, match="for a game of 7 actions and atari/Breakout has 4"):
        imported_networks(config, breakout(4), tensors)
    name = "rew_end_model.lstm.bias_hh_l0"
    for change, said in (
        ({name: torch.zeros(3)}, "shape"),
        ({name: torch.full_like(tensors[name], torch.nan)}, "not finite"),
        ({name: torch.full_like(tensors[name], 1e300, dtype=torch.float64)}, "not finite"),
        ({"surplus": torch.zeros(3)}, "unknown"),
    ):
        with pytest.raises(UserError, match=said):
            imported_networks(config, breakout(7), tensors | change)
    with pytest.raises(UserError, match="missing"):
        imported_networks(config, breakout(7), {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(UserError, match="shape"):
        imported_networks(replace(config, denoiser=replace(config.denoiser, cond_channels=24)), breakout(7), tensors)


# --- hub -------------------------------------------------------------------------------------------------------------


def test_games_are_found_whatever_the_case() -> None:
    assert published_game("breakout") == published_game("Breakout") == "Breakout"
    with pytest.raises(UserError, match="did you mean MsPacman"):
        published_game("ms_pacman")
    with pytest.raises(UserError, match="choose one of Alien"):
        published_game("")
