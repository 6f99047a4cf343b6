"""Configurations survive being written, are read strictly, and the paper's preset is the paper's."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.config import (
    NETWORKS,
    OF_DATA,
    PRESETS,
    RECIPE_NETWORKS,
    Config,
    UpdateConfig,
    differences,
    preset,
    read_config,
)
from diffworld.config.presets import WORLDS
from diffworld.game import ActionSpace, GameSpec, Keys, numbered
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.recipes import build_networks
from diffworld.runtime.checked import read_as
from diffworld.runtime.errors import UserError
from tests.older import older_config

# --- written and read ------------------------------------------------------------------------------------------------


def from_dict(data: Any) -> Config:
    return read_as(Config, data, "config.json")


@pytest.mark.parametrize("name", [*PRESETS, *WORLDS])
def test_presets_are_sound_and_come_back(tmp_path: Path, name: str) -> None:
    config = preset(name)
    (replace(config, data="somewhere") if config.recipe in OF_DATA else config).check()
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    assert read_config(path) == config
    assert preset(name) == config, "a preset is the same each time"


@pytest.mark.parametrize(
    ("frames", "levels"), [((8, 8), 1), ((10, 10), 2), ((32, 56), 4), ((24, 32), 3), ((64, 64), 4), ((127, 72), 5)]
)
@pytest.mark.cases(every=3)
def test_networks_of_a_world_are_as_deep_as_its_frames_are_large(frames: tuple[int, int], levels: int) -> None:
    sizes = []
    for name in WORLDS:
        config = replace(preset(name, frames), data="somewhere", networks=RECIPE_NETWORKS["world"])
        config.check()
        assert len(config.denoiser.channels) == len(config.reward_end.channels) == levels
        spec = GameSpec("game", *frames, ActionSpace.discrete(3), rewards=True, ends=True)
        networks = build_networks(config, spec, torch.device("meta"))
        sizes.append(networks.parameter_counts()["denoiser"])
        seen = torch.zeros(1, 3, *frames, device="meta")
        assert networks.actor_critic is not None
        networks.actor_critic(seen, networks.actor_critic.zero_state(1))
    assert sizes == sorted(sizes) and sizes[-1] > 10 * sizes[0]
    assert preset("demo", frames) == preset("demo"), "a preset of a game has its own"


@pytest.mark.parametrize(
    ("frames", "factor"),
    [((65, 65), 5), ((96, 128), 2), ((72, 128), 2), ((150, 280), 5), ((360, 640), 10), ((120, 16), 2), ((67, 131), 1)],
)
@pytest.mark.cases(every=3)
def test_large_frames_of_a_world_are_drawn_in_two_stages(frames: tuple[int, int], factor: int) -> None:
    for name in WORLDS:
        config = replace(preset(name, frames), data="somewhere")
        config.check()
        assert config.recipe == ("world" if factor == 1 else "shooter")
        if factor > 1:
            assert config.upsampler.factor == factor and max(frames) // factor <= 64
            spec = GameSpec("game", *frames, ActionSpace.discrete(3), rewards=True, ends=True)
            networks = build_networks(replace(config, networks=RECIPE_NETWORKS["shooter"]), spec, torch.device("meta"))
            counts = networks.parameter_counts()
            assert list(counts) == list(RECIPE_NETWORKS["shooter"]) and counts["upsampler"] < counts["denoiser"]


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
    """Values of a field's type and range that are not its present one."""
    literals = {
        "recipe": ["world", "shooter", "model_free"],
        "precision": ["float32", "bfloat16"],
        "compile": ["on", "off"],
        "order": [2],
        "factor": [2, 64],
    }
    if path[-1] in literals:
        return st.sampled_from(literals[path[-1]])
    if path[-1] in ("networks", "init_networks"):
        return st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple)
    if path[-1] == "log_to":
        return st.lists(st.sampled_from(["wandb", "trackio"]), min_size=1, max_size=2).map(tuple)
    if isinstance(value, tuple):
        return st.lists(st.booleans() if isinstance(value[0], bool) else st.integers(1, 2**31 - 1), max_size=5).map(
            tuple
        )
    kinds: dict[type, st.SearchStrategy] = {
        bool: st.booleans(),
        int: st.integers(1, 1024),
        float: st.floats(0.001, 1),
        str: st.text(),
    }
    return kinds[type(value)].filter(lambda new: new != value)


@settings(max_examples=200)
@given(st.data())
def test_any_field_comes_back_and_is_named_as_the_difference(data: st.DataObject) -> None:
    path, value = data.draw(st.sampled_from(LEAVES))
    changed = data.draw(other_value(path, value))
    config = with_leaf(Config(), path, changed)
    assert from_dict(json.loads(config.to_json())) == config
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
    data = json.loads(Config().to_json())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return data


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=".".join)
def test_every_field_must_be_there_and_of_its_type(path: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=path[-1]):
        from_dict(edited(path, lambda inner, key: inner.pop(key)))
    for wrong in (None, {}, [[]], [None], "x" if path[-1] not in ("env", "device", "data", "init_from") else 3):
        with pytest.raises(UserError, match=rf"^config\.json: {'.'.join(path)} is ") as error:
            from_dict(edited(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefix", [(), ("sampler",), ("denoiser", "noise_levels")])
def test_unknown_fields_are_refused(prefix: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="unknown field 'surprise'"):
        from_dict(edited((*prefix, "surprise"), lambda inner, key: inner.update({key: 1})))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("horizon",), True),
        (("horizon",), 15.0),
        (("horizon",), "15"),
        (("horizon",), 10**400),
        (("recipe",), "dreamer"),
        (("recipe",), "two\nlines"),
        (("collection", "epsilon"), False),
        (("precision",), "float16"),
        (("networks",), ["denoiser", "critic"]),
        (("networks",), "denoiser"),
        (("log_to",), ["tensorboard"]),
        (("checkpoint_seconds",), float("nan")),
        (("checkpoint_seconds",), float("inf")),
        (("denoiser", "channels"), [64, 64.0]),
        (("denoiser", "attention"), [0, 1]),
        (("sampler",), 3),
        (("sampler",), None),
    ],
)
def test_types_are_not_bent(path: tuple[str, ...], wrong: Any) -> None:
    with pytest.raises(UserError, match=path[-1]) as error:
        from_dict(edited(path, lambda inner, key: inner.update({key: wrong})))
    assert "\n" not in str(error.value)


def test_a_whole_number_is_a_fine_float() -> None:
    config = from_dict(edited(("sampler", "sigma_max"), lambda inner, key: inner.update({key: 5})))
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
        ({"reward_end__channels": (32, 32, 32, 0)}, "reward_end.channels is 0"),
        ({"actor_critic__channels": (32, 32, 64, -8)}, "actor_critic.channels is -8"),
        ({"denoiser__cond_channels": 255}, "cond_channels"),
        ({"denoiser__context_frames": 3}, "cond_channels"),
        ({"denoiser__context_frames": 0}, "denoiser.context_frames is 0"),
        ({"denoiser__depths": (2, 2, 0, 2)}, "denoiser.depths is 0"),
        ({"denoiser__autoregressive_steps": -1}, "denoiser.autoregressive_steps is -1; it must be at least 0"),
        ({"reward_end__window": 0}, "reward_end.window is 0; it must be at least 1"),
        ({"collection__epsilon": 1.5}, "collection.epsilon is 1.5; it must be at most 1"),
        ({"collection__epsilon": -0.5}, "collection.epsilon is -0.5; it must be at least 0"),
        ({"denoiser_updates__learning_rate": -1.0}, "denoiser_updates.learning_rate is -1.0"),
        ({"denoiser_updates__learning_rate": float("inf")}, "denoiser_updates.learning_rate is inf"),
        ({"actor_critic_updates__clip": 0.0}, "actor_critic_updates.clip is 0.0; it must be above 0"),
        ({"returns__discount": 1.1}, "returns.discount is 1.1"),
        ({"horizon": True}, "horizon is"),
        ({"horizon": 2**31}, "horizon is 2147483648; it must be at most"),
        ({"actor_critic__channels": (), "actor_critic__pool": ()}, "actor_critic.channels"),
        ({"actor_critic__lstm_channels": 0}, "actor_critic.lstm_channels is 0"),
        ({"sampler__sigma_min": 0.0}, "sampler.sigma_min"),
        ({"sampler__sigma_min": 6.0}, "sampler.sigma_min"),
        ({"sampler__rho": 0.0}, "sampler.rho is 0.0; it must be above 0"),
        ({"sampler__order": 3}, "sampler.order is 3"),
        ({"sampler__denoising_steps": 0}, "sampler.denoising_steps is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"collection__num_envs": 0}, "collection.num_envs is 0"),
        ({"environment__height": 0}, "environment.height is 0"),
        ({"denoiser_updates__batch_size": 0}, "denoiser_updates.batch_size is 0"),
        ({"recipe": "world"}, "recipe world and --data go together"),
        ({"recipe": "shooter"}, "recipe shooter and --data go together"),
        ({"upsampler__factor": 1}, "upsampler.factor is 1; it must be at least 2"),
        ({"upsampler__context_frames": 3}, "upsampler.cond_channels must be even and a multiple"),
        ({"upsampler__channels": (64,)}, "upsampler.channels, .depths and .attention"),
        ({"upsampler_sampler__sigma_min": 6.0}, "upsampler_sampler.sigma_max must be no less"),
        ({"upsampler_updates__accumulate": 0}, "upsampler_updates.accumulate is 0"),
        ({"data": "somewhere"}, "recipe world and --data go together"),
        ({"recipe": "model_free", "data": "somewhere"}, "go together"),
        ({"recipe": "world", "data": "somewhere", "epochs": 0}, "epochs is 0"),
        ({"recipe": "model_free", "actor_critic_updates__steps": 0}, "would never take all real steps"),
        ({"recipe": "dreamer"}, "recipe is dreamer; choose 'diamond', 'world', 'shooter' or 'model_free'"),
        ({"log_to": ("tensorboard",)}, "log_to is tensorboard; choose 'wandb' or 'trackio'"),
    ],
)
def test_check(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        changed(**wrong).check()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("groups", "parts"),
    [
        ({}, (8, 32, 8, 8)),
        ({"recipe": "model_free"}, (32, 32, 32, 8)),
        ({"recipe": "world", "actor_critic_updates__batch_size": 7}, (8, 32, 8, 7)),
        ({"recipe": "world", "networks": ("denoiser",)}, (8, 32, 32, 32)),
        ({"recipe": "shooter", "reward_end_updates__batch_size": 7}, (8, 8, 7, 32)),
    ],
)
def test_a_rank_has_its_part_of_every_batch_that_is_drawn(groups: dict[str, Any], parts: tuple[int, ...]) -> None:
    config = changed(**groups)
    mine = config.of_rank(4)
    assert tuple(mine.updates(name).batch_size for name in NETWORKS) == parts
    assert config.of_rank(1) == config
    whole = {f"{name}_updates": config.updates(name) for name in NETWORKS}
    assert replace(mine, **whole) == config  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [3, 64])
def test_a_batch_without_equal_parts(ranks: int) -> None:
    with pytest.raises(UserError, match=rf"denoiser_updates.batch_size is 32, of which {ranks} ranks have no equal"):
        Config().of_rank(ranks)


def test_every_level_count_is_fine() -> None:
    changed(denoiser__channels=(32,), denoiser__depths=(1,), denoiser__attention=(True,)).check()
    changed(actor_critic=ActorCriticConfig(8, (8,), (False,))).check()


def test_unknown_preset() -> None:
    with pytest.raises(UserError, match=f"unknown preset 'atari': choose one of {', '.join([*PRESETS, *WORLDS])}"):
        preset("atari")


# --- what such a run would be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, RECIPE_NETWORKS["diamond"]),
        ({"recipe": "shooter"}, RECIPE_NETWORKS["shooter"]),
        ({"recipe": "model_free"}, ("actor_critic",)),
        ({"denoiser_updates__first_steps": 0, "denoiser_updates__steps": 0}, ("reward_end", "actor_critic")),
        ({"denoiser_updates__first_steps": 0}, RECIPE_NETWORKS["diamond"]),
        ({"recipe": "model_free", "init_from": "run", "init_networks": ("denoiser",)}, ("denoiser", "actor_critic")),
        ({"recipe": "model_free", "init_networks": ("denoiser",)}, ("actor_critic",)),
    ],
)
def test_networks_that_learn_something(groups: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert changed(**groups).learnt == expected


@pytest.mark.parametrize(
    ("groups", "epochs"),
    [
        ({"recipe": "world", "data": "x", "epochs": 7}, 7),
        ({"collection__total_steps": 5_000, "epochs": 0}, 1),
        ({"collection__total_steps": 5_001, "epochs": 0}, 2),
        ({"collection__total_steps": 5_200, "epochs": 3}, 6),
        ({"collection__total_steps": 100, "epochs": 3}, 4),
        # 32 rows x 15 steps an update: 209 updates of 480 steps
        ({"recipe": "model_free", "actor_critic_updates__first_steps": 9, "actor_critic_updates__steps": 100}, 3),
        ({"recipe": "model_free", "actor_critic_updates__first_steps": 209}, 1),
    ],
)
def test_epochs_in_all(groups: dict[str, Any], epochs: int) -> None:
    assert changed(**groups).total_epochs == epochs


# --- the version before ----------------------------------------------------------------------------------------------


def read(tmp_path: Path, data: dict[str, Any]) -> Config:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    return read_config(path)


def test_a_configuration_of_the_version_before_keeps_what_still_is(tmp_path: Path) -> None:
    old = older_config()
    config = read(tmp_path, old)
    config.check()
    assert (config.recipe, config.env, config.data, config.networks) == ("diamond", "atari/Boxing", "", ())
    assert config.epochs == old["epochs_after_collection"] and config.init_networks == NETWORKS
    assert config.reward_end.window == old["reward_end_window"] and config.horizon == old["horizon"]
    assert config.denoiser.autoregressive_steps == old["autoregressive_steps"]
    assert not config.denoiser.final_frames, "that version left them out"
    assert config.returns.lambda_return == old["returns"]["lambda_"]
    assert config.log_to == ()
    names = {".".join(path): value for path, value in leaves(config)}

    def old_leaves(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in data.items():
            found |= old_leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        return found

    shared = old_leaves(old).keys() & names.keys()
    assert len(shared) > 60
    for name in shared:
        value = old_leaves(old)[name]
        assert names[name] == (tuple(value) if isinstance(value, list) else value), name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_free": True}, {"recipe": "model_free"}),
        ({"data": "somewhere", "epochs_on_data": 9}, {"recipe": "world", "data": "somewhere", "epochs": 9}),
        ({"data": "somewhere"}, {"networks": RECIPE_NETWORKS["world"]}),
        ({"wandb": True, "trackio": True}, {"log_to": ("wandb", "trackio")}),
        ({"init_from": "run", "parts": ["denoiser"]}, {"init_from": "run", "init_networks": ("denoiser",)}),
    ],
)
def test_kinds_of_runs_of_the_version_before(tmp_path: Path, change: dict[str, Any], expected: dict[str, Any]) -> None:
    config = read(tmp_path, older_config() | change)
    config.check()
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize("name", ["denoiser", "reward_end_window", "returns", "evaluation", "horizon", "wandb", "data"])
@pytest.mark.parametrize("value", ["gone", None, [3]])
def test_a_damaged_configuration_of_the_version_before(tmp_path: Path, name: str, value: Any) -> None:
    old = older_config()
    if value == "gone":
        del old[name]
    elif name == "wandb":
        return  # whatever is no false is true
    else:
        old[name] = value
    with pytest.raises(UserError) as error:
        read(tmp_path, old)
    assert "\n" not in str(error.value)


# --- the paper's settings --------------------------------------------------------------------------------------------


def test_atari100k_is_the_papers() -> None:
    config = preset("atari100k")
    adamw = {"learning_rate": 1e-4, "warmup": 100, "batch_size": 32}
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
            "context_noise_levels": {"mean": -1.2, "std": 1.2, "low": 0.002, "high": 20.0},  # of no use here
            "autoregressive_steps": 1,
            "final_frames": False,
        },
        "reward_end": {
            "lstm_channels": 512,
            "cond_channels": 128,
            "channels": (32, 32, 32, 32),
            "depths": (2, 2, 2, 2),
            "attention": (False,) * 4,
            "window": 15,
        },
        "actor_critic": {
            "lstm_channels": 512,
            "channels": (32, 32, 64, 64),
            "pool": (True,) * 4,
            "centre_features": False,
        },
        "returns": {
            "discount": 0.985,
            "lambda_return": 0.95,
            "entropy_weight": 0.001,
            "scale_advantages": False,
        },
    }
    for name, fields in expected.items():
        assert dataclasses.asdict(getattr(config, name)) == fields, name
    sampler = config.sampler
    assert (sampler.denoising_steps, sampler.sigma_min, sampler.sigma_max, sampler.rho) == (3, 0.002, 5.0, 7.0)
    assert (sampler.order, sampler.churn, sampler.sigma_context) == (1, 0.0, 0.0)
    assert (config.horizon, config.epochs, config.total_epochs) == (15, 50, 1 + 950 + 50)
    evaluation = config.evaluation
    assert (evaluation.every_epochs, evaluation.episodes, evaluation.final_episodes) == (10, 4, 100)
    assert evaluation.temperature == 1.0
    assert config.recipe == "diamond" and not config.networks and not config.data and not config.init_from


def test_csgo_is_the_published_shooter() -> None:
    config = preset("csgo")
    noise = {"mean": -1.2, "std": 1.2, "low": 0.002, "high": 20.0}
    networks = {
        "denoiser": (4, (128, 256, 512, 1024), (False, False, True, True), 4, 16),
        "upsampler": (1, (64, 64, 128, 256), (False, False, False, True), 1, 4),
    }
    for name, (context, channels, attention, steps, batch) in networks.items():
        found = getattr(config, name)
        assert (found.context_frames, found.cond_channels, found.sigma_offset) == (context, 2048, 0.1)
        assert (found.channels, found.depths, found.attention) == (channels, (2, 2, 2, 2), attention)
        assert (found.autoregressive_steps, found.final_frames) == (steps, False)
        assert dataclasses.asdict(found.noise_levels) == dataclasses.asdict(found.context_noise_levels) == noise
        assert config.updates(name) == UpdateConfig(400, 400, 1e-4, 1e-2, 10.0, 100, batch, 8)  # type: ignore[arg-type]
    assert (config.upsampler.factor, config.epochs, config.horizon) == (5, 600, 1000)
    assert config.evaluation.every_epochs == 20
    fast = {"denoising_steps": 1, "sigma_context": 0.005, "order": 1, "churn": 0.0, "sigma_max": 5.0}
    churned = {"churn": 10.0, "churn_min": 1.0, "churn_max": 5.0, "churn_noise": 0.9, "sigma_min": 1.0}
    assert {name: getattr(config.sampler, name) for name in fast} == fast
    assert {name: getattr(config.upsampler_sampler, name) for name in churned} == churned
    spec = GameSpec("", 150, 280, ActionSpace((Keys(numbered(51)),)))
    with torch.device("meta"):
        counts = build_networks(config, spec, torch.device("meta")).parameter_counts()
    assert counts == {"denoiser": 330_489_219, "upsampler": 51_149_187}
