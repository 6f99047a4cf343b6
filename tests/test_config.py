"""Configurations survive being written, are read strictly, and the paper's preset is the paper's."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.config import PARTS, Config, UpdateConfig, differences, from_dict, read_config, to_json
from diffworld.config.presets import PRESETS, preset
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.runtime.errors import UserError

# --- written and read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound_and_come_back(tmp_path: Path, name: str) -> None:
    config = preset(name)
    config.check()
    path = tmp_path / "config.json"
    path.write_text(to_json(config))
    assert read_config(path) == config
    assert preset(name) == config, "a preset is the same each time"


def leaves(config: Any, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """(path, value) of every field of a configuration that is no group of fields."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        path = (*prefix, f.name)
        found += leaves(value, path) if dataclasses.is_dataclass(value) else [(path, value)]
    return found


LEAVES = leaves(Config())


def with_leaf(config: Any, path: tuple[str, ...], value: Any) -> Any:
    head, *rest = path
    return replace(config, **{head: with_leaf(getattr(config, head), tuple(rest), value) if rest else value})


def other_value(path: tuple[str, ...], value: Any) -> st.SearchStrategy:
    """Values of a field's type that are not its present one."""
    if path == ("precision",):
        return st.sampled_from(["float32", "bfloat16"])
    if path == ("compile",):
        return st.sampled_from(["on", "off"])
    if path == ("parts",):
        return st.lists(st.sampled_from(PARTS), max_size=2).map(tuple)
    if isinstance(value, tuple):
        return st.lists(st.booleans() if isinstance(value[0], bool) else st.integers(), max_size=5).map(tuple)
    kinds: dict[type, st.SearchStrategy] = {
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(),
    }
    return kinds[type(value)].filter(lambda new: new != value)


@settings(max_examples=200)
@given(st.data())
def test_any_field_comes_back_and_is_named_as_the_difference(data: st.DataObject) -> None:
    path, value = data.draw(st.sampled_from(LEAVES))
    changed = data.draw(other_value(path, value))
    config = with_leaf(Config(), path, changed)
    assert from_dict(Config, json.loads(to_json(config))) == config
    expected = [] if changed == value else [f"{'.'.join(path)} ({value} -> {changed})"]
    assert differences(Config(), config) == expected


def test_differences_are_all_named() -> None:
    a, b = preset("atari100k"), preset("demo")
    named = {line.split(" (")[0] for line in differences(a, b)}
    both = zip(leaves(a), leaves(b), strict=True)
    assert named == {".".join(path) for (path, x), (_, y) in both if x != y}
    assert differences(b, b) == []


# --- read strictly ---------------------------------------------------------------------------------------------------


def edited(path: tuple[str, ...], change: Callable[[dict[str, Any], str], object]) -> dict[str, Any]:
    data = json.loads(to_json(Config()))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return data


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=".".join)
def test_every_field_must_be_there_and_of_its_type(path: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=f"no field '{path[-1]}'"):
        from_dict(Config, edited(path, lambda inner, key: inner.pop(key)))
    for wrong in (None, {}, [[]], [None], "x" if path[-1] not in ("env", "device", "data", "init_from") else 3):
        with pytest.raises(UserError, match=f"{path[-1]} has an unfit value"):
            from_dict(Config, edited(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))


@pytest.mark.parametrize("prefix", [(), ("sampler",), ("denoiser", "noise_levels")])
def test_unknown_fields_are_refused(prefix: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="unknown field 'surprise'"):
        from_dict(Config, edited((*prefix, "surprise"), lambda inner, key: inner.update({key: 1})))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("horizon",), True),
        (("horizon",), 15.0),
        (("model_free",), 1),
        (("collection", "epsilon"), False),
        (("precision",), "float16"),
        (("parts",), ["denoiser", "critic"]),
        (("parts",), "denoiser"),
        (("denoiser", "channels"), [64, 64.0]),
        (("denoiser", "attention"), [0, 1]),
        (("sampler",), 3),
        (("sampler",), None),
    ],
)
def test_types_are_not_bent(path: tuple[str, ...], wrong: Any) -> None:
    with pytest.raises(UserError, match=path[-1]) as error:
        from_dict(Config, edited(path, lambda inner, key: inner.update({key: wrong})))
    assert "\n" not in str(error.value)


def test_a_whole_number_is_a_fine_float() -> None:
    config = from_dict(Config, edited(("sampler", "sigma_max"), lambda inner, key: inner.update({key: 5})))
    assert config == Config() and type(config.sampler.sigma_max) is float


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", None])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(path)


# --- values that cannot work together --------------------------------------------------------------------------------


def changed(**groups: Any) -> Config:
    """The default configuration with single fields changed: name, or group__name."""
    config = Config()
    for name, value in groups.items():
        config = with_leaf(config, tuple(name.split("__")), value)
    return config


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"denoiser__channels": (64, 64)}, "denoiser.channels"),
        ({"denoiser__depths": (2, 2, 2)}, "denoiser.channels, .depths and .attention"),
        ({"reward_end__attention": ()}, "reward_end.channels"),
        ({"reward_end__channels": (), "reward_end__depths": (), "reward_end__attention": ()}, "reward_end.channels"),
        ({"actor_critic__pool": (True,)}, "actor_critic.channels and .pool"),
        ({"denoiser__channels": (100, 64, 64, 64)}, "denoiser.channels has 100"),
        ({"reward_end__channels": (32, 32, 32, 0)}, "reward_end.channels has 0"),
        ({"actor_critic__channels": (32, 32, 64, -8)}, "actor_critic.channels has -8"),
        ({"denoiser__cond_channels": 255}, "cond_channels"),
        ({"denoiser__context_frames": 3}, "cond_channels"),
        ({"denoiser__context_frames": 0}, "denoiser.context_frames is 0"),
        ({"denoiser__depths": (2, 2, 0, 2)}, "denoiser.depths is 0"),
        ({"autoregressive_steps": -1}, "autoregressive_steps is -1"),
        ({"reward_end_window": 0}, "reward_end_window is 0"),
        ({"reward_end_drawn_share": 1.5}, "reward_end_drawn_share is 1.5"),
        ({"rewarded_share": -0.5}, "rewarded_share is -0.5"),
        ({"denoiser_updates__first_learning_rate": -1.0}, "denoiser_updates.first_learning_rate must not be"),
        ({"actor_critic_updates__half_life": -1}, "actor_critic_updates.half_life must not be below 0"),
        ({"actor_critic__channels": (), "actor_critic__pool": ()}, "actor_critic.channels"),
        ({"actor_critic__lstm_channels": 0}, "actor_critic.lstm_channels is 0"),
        ({"sampler__sigma_min": 0.0}, "sampler.sigma_min"),
        ({"sampler__sigma_min": 6.0}, "sampler.sigma_min"),
        ({"sampler__rho": 0.0}, ".rho must be above 0"),
        ({"reward_end_updates__accumulate": 0}, "reward_end_updates.accumulate is 0"),
        ({"sampler__order": 3}, "sampler.order is 3"),
        ({"sampler__denoising_steps": 0}, "sampler.denoising_steps is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"collection__num_envs": 0}, "collection.num_envs is 0"),
        ({"environment__height": 0}, "environment.height is 0"),
        ({"checkpoints_kept": 0}, "checkpoints_kept is 0"),
        ({"denoiser_updates__batch_size": 0}, "denoiser_updates.batch_size is 0"),
    ],
)
def test_check(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        changed(**wrong).check()
    assert said in str(error.value) and "\n" not in str(error.value)


def test_every_level_count_is_fine() -> None:
    changed(denoiser__channels=(32,), denoiser__depths=(1,), denoiser__attention=(True,)).check()
    changed(actor_critic=ActorCriticConfig(8, (8,), (False,))).check()


def test_unknown_preset() -> None:
    with pytest.raises(UserError, match=f"unknown preset 'atari': choose one of {', '.join(PRESETS)}"):
        preset("atari")


# --- the paper's settings --------------------------------------------------------------------------------------------


def test_atari100k_is_the_papers() -> None:
    config = preset("atari100k")
    adamw = {"learning_rate": 1e-4, "warmup": 100, "batch_size": 32, "accumulate": 1}
    assert config.denoiser_updates == UpdateConfig(10_000, 400, weight_decay=1e-2, clip=1.0, **adamw)
    assert config.reward_end_updates == UpdateConfig(10_000, 400, weight_decay=1e-2, clip=100.0, **adamw)
    assert config.actor_critic_updates == UpdateConfig(5_000, 400, weight_decay=0.0, clip=100.0, **adamw)
    expected = {
        "environment": {
            "height": 64,
            "width": 64,
            "frame_skip": 4,
            "noop_max": 30,
            "sticky_actions": 0.0,
            "life_loss_ends": True,
            "max_steps": 0,
        },
        "collection": {
            "total_steps": 100_000,
            "first_steps": 5_000,
            "first_steps_max": 10_000,
            "first_rewards": 10,
            "steps_per_epoch": 100,
            "epsilon": 0.01,
            "temperature": 1.0,
            "num_envs": 1,
        },
        "denoiser": {
            "context_frames": 4,
            "cond_channels": 256,
            "channels": (64, 64, 64, 64),
            "depths": (2, 2, 2, 2),
            "attention": (False,) * 4,
            "sigma_offset": 0.3,
            "noise_levels": {"mean": -0.4, "std": 1.2, "low": 0.002, "high": 20.0},
            "multi_hot_actions": False,
            "noise_context": False,
            "upsampling_factor": 1,
        },
        "reward_end": {
            "lstm_channels": 512,
            "cond_channels": 128,
            "channels": (32, 32, 32, 32),
            "depths": (2, 2, 2, 2),
            "attention": (False,) * 4,
        },
        "actor_critic": {
            "lstm_channels": 512,
            "channels": (32, 32, 64, 64),
            "pool": (True,) * 4,
            "centre_features": False,
        },
        "returns": {
            "discount": 0.985,
            "lambda_": 0.95,
            "entropy_weight": 0.001,
            "value_weight": 1.0,
            "scale_advantages": False,
        },
    }
    for name, fields in expected.items():
        assert dataclasses.asdict(getattr(config, name)) == fields, name
    sampler = config.sampler
    assert (sampler.denoising_steps, sampler.sigma_min, sampler.sigma_max, sampler.rho) == (3, 0.002, 5.0, 7.0)
    assert (sampler.order, sampler.churn, sampler.sigma_context) == (1, 0.0, 0.0)
    assert (config.autoregressive_steps, config.horizon, config.reward_end_window) == (1, 15, 15)
    assert config.epochs_after_collection == 50
    evaluation = config.evaluation
    assert (evaluation.every_epochs, evaluation.episodes, evaluation.final_episodes) == (10, 4, 100)
    assert evaluation.temperature == 1.0
    assert not config.model_free and config.parts == PARTS and not config.data and not config.init_from
