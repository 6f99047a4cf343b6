"""Everything trained is loaded in one way: a run, the package's own model, a run of the version before."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffworld.config import RECIPE_NETWORKS, Config, read_config
from diffworld.data import Dataset
from diffworld.envs import EnvironmentConfig, make_env
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes.networks import Networks, build_networks
from diffworld.runs import Checkpoint, Model, RunFolder, load, loading, pack, window_tensors
from diffworld.runtime.errors import UserError
from diffworld.training.run import train
from diffworld.world import TwoStages, row_noise
from diffworld.world.noise import generator_noise
from tests.noise_data import fill, noise_spec
from tests.older import older_config, write_older_data
from tests.tiny_training import NINE, SHOOTER, noise_of, updates

CPU = torch.device("cpu")


def random_networks(config: Config, spec: GameSpec) -> Networks:
    """All three networks, no two weights of which are alike."""
    networks = build_networks(config, spec, CPU, RECIPE_NETWORKS[config.recipe])
    with torch.no_grad():
        for _, module in networks.items():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return networks


def make_run(path: Path, config: Config, spec: GameSpec, steps: int = 0, networks: Networks | None = None) -> Path:
    """A run folder with one checkpoint, and a replay of noise of so many steps."""
    run = RunFolder(path)
    run.begin(config, spec)
    progress = {"progress": {"epoch": 3, "saves": 1, "wall_seconds": 2.5}, "env_steps": 40, "replay_rows": steps + 1}
    run.save(1, Checkpoint((networks or random_networks(config, spec)).tensors(), {}, progress))
    if steps:
        noise_of(run.replay, spec, [steps])
    return path


def dreamt(model: Model, steps: int = 3) -> list[np.ndarray]:
    """Frames of a dream from the model's first start, actions and noise given."""
    world = model.require_world()
    state = world.start(*window_tensors([model.starts[0]], model.device))
    actions = torch.from_numpy(model.spec.actions.sample(np.random.default_rng(0), steps))
    generator = torch.Generator(model.device).manual_seed(0)
    frames = []
    for action in actions:
        state, prediction = world.step(state, action[None], row_noise([generator_noise(generator)]))
        frames.append(prediction.frames.numpy())
    return frames


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [ActionSpace.discrete(3), SHOOTER], ids=["choice", "keys and choice"])
def test_a_run(small: Config, tmp_path: Path, space: ActionSpace) -> None:
    spec = GameSpec("noise", 12, 12, space, keys={"w": "KeyW"})
    networks = random_networks(small, spec)
    model = load(make_run(tmp_path / "my run", small, spec, 20, networks))
    assert (model.title, model.spec, model.config, model.device) == ("my run", spec, small, CPU)
    assert model.progress == {"epoch": 3, "saves": 1, "wall_seconds": 2.5, "env_steps": 40, "replay_rows": 21}
    assert model.datasets == {"replay": tmp_path / "my run" / "replay"}
    assert model.config.small and model.require_world().dtype == torch.float32
    assert model.world is not None and model.policy is not None and model.world.reward_end is not None
    loaded = model.networks.tensors()
    for name, tensor in networks.tensors().items():
        assert torch.equal(loaded[name], tensor), name
    for _, module in model.networks.items():
        assert not module.training and not any(p.requires_grad for p in module.parameters())
    assert all(frame.shape == (1, 3, 12, 12) for frame in dreamt(model))
    assert len(model.starts.windows()) == 20 - small.denoiser.context_frames + 1
    assert "is a recording" in model.no_game
    assert repr(model).startswith("<Model my run of noise, 12x12, on cpu; parameters: denoiser ")


def test_a_run_of_two_stages(small: Config, tmp_path: Path) -> None:
    config = replace(small, recipe="shooter", data="elsewhere", env="", networks=RECIPE_NETWORKS["shooter"])
    spec = GameSpec("noise", 12, 12, SHOOTER)
    networks = random_networks(config, spec)
    run = make_run(tmp_path / "run", config, spec, 20, networks)
    packed = tmp_path / "packed.zip"
    for model in (load(run), packed):
        if not isinstance(model, Model):
            pack(load(run), packed)
            model = load(packed, "cpu")
        world = model.require_world()
        assert isinstance(world, TwoStages) and world.samplers == (config.sampler, config.upsampler_sampler)
        assert model.policy is None and world.reward_end is not None and model.context_frames == world.context_frames
        assert model.networks.tensors().keys() == networks.tensors().keys()
        assert all(frame.shape == (1, 3, 12, 12) for frame in dreamt(model))


def test_a_run_may_be_moved_and_named_by_a_relative_path(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "old", small, noise_spec(height=12, width=12), 20)
    shutil.move(tmp_path / "old", tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    assert load(".").title == "new"


@pytest.mark.parametrize(
    ("changes", "learnt"),
    [
        ({"recipe": "model_free"}, ("actor_critic",)),
        ({"denoiser_updates": 0}, ("reward_end", "actor_critic")),
        ({"reward_end_updates": 0, "actor_critic_updates": 0}, ("denoiser",)),
        ({"denoiser_updates": 0, "init_from": "elsewhere"}, RECIPE_NETWORKS["diamond"]),
    ],
)
def test_networks_that_learnt_nothing_are_not_there(
    small: Config, tmp_path: Path, changes: dict[str, Any], learnt: tuple[str, ...]
) -> None:
    fields = {
        name: replace(getattr(small, name), first_steps=0, steps=0) if value == 0 else value
        for name, value in changes.items()
    }
    config, spec = replace(small, **fields), noise_spec(height=12, width=12)
    model = load(make_run(tmp_path / "run", config, spec, 20))
    assert (model.world is not None) == ("denoiser" in learnt)
    assert (model.policy is not None) == ("actor_critic" in learnt)
    assert model.world is None or (model.world.reward_end is not None) == ("reward_end" in learnt)
    for network, use in (("denoiser", model.require_world), ("actor_critic", model.require_policy)):
        if network in learnt:
            use()
        else:
            with pytest.raises(UserError, match=r"run has no (dream|agent)"):
                use()


def test_a_run_on_data_knows_where_its_data_are(small: Config, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", 30, height=12, width=12)
    config = replace(small, recipe="world", data=str(data), env="")
    spec = noise_spec(height=12, width=12)
    networks = build_networks(config, spec, CPU)
    model = load(make_run(tmp_path / "run", config, spec, networks=networks))
    assert model.datasets == {"data": data} and model.policy is None
    assert dreamt(model)
    shutil.rmtree(data)
    model = load(tmp_path / "run")
    assert model.datasets == {}
    with pytest.raises(UserError, match=r"run has no data to start dreams from, and no game to play: .* recording"):
        model.starts.windows()


def test_starts_come_from_data_of_the_same_game_alone(small: Config, tmp_path: Path) -> None:
    spec = noise_spec(height=12, width=12)
    run = RunFolder(make_run(tmp_path / "run", small, spec))
    noise_of(run.replay, replace(spec, actions=ActionSpace.discrete(5)), [9])
    noise_of(run.held_out, replace(spec, name="called otherwise"), [9])
    assert len(load(run.path).starts.windows()) == 9 - small.denoiser.context_frames + 1


@pytest.mark.parametrize("named", [RECIPE_NETWORKS["diamond"], ("denoiser",)])
def test_without_data_dreams_start_in_the_game_itself(small: Config, tmp_path: Path, named: tuple[Any, ...]) -> None:
    with_agent = "actor_critic" in named
    settings = EnvironmentConfig(12, 12)
    env = make_env(NINE, settings)
    untrained = replace(small.actor_critic_updates, first_steps=0, steps=0)
    config = small if with_agent else replace(small, actor_critic_updates=untrained)
    model = load(make_run(tmp_path / "run", config, env.spec))
    env.close()
    assert model.no_game == "" and (model.policy is not None) == with_agent
    windows = model.starts.windows()
    assert len(windows) > 10 and model.starts.loaded == len(windows)
    for window in windows:
        assert window.frames.shape == (4, 12, 12, 3) and window.has_frame.all()
        assert len({frame.tobytes() for frame in window.frames}) == 4, "the light moves down"


def test_a_player_draws_from_its_own_seed(small: Config, tmp_path: Path) -> None:
    model = load(make_run(tmp_path / "run", small, noise_spec(height=12, width=12)))
    frames = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    fresh = np.ones(40, dtype=bool)
    before = torch.get_rng_state()
    first, again, other = (model.player(40, seed=seed).act(frames, fresh).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)
    best = model.player(40, temperature=0.0).act(frames, fresh).tolist()
    assert best == model.player(40, temperature=0.0, seed=5).act(frames, fresh).tolist()
    assert len(set(model.player(40, temperature=0.0, epsilon=1.0).act(frames, fresh).tolist())) == 3


def test_there_is_nothing_to_load(small: Config, tmp_path: Path) -> None:
    spec = noise_spec(height=12, width=12)
    RunFolder(tmp_path / "fresh").begin(small, spec)
    damaged = make_run(tmp_path / "damaged", small, spec)
    (RunFolder(damaged).checkpoints()[0] / "weights.safetensors").write_bytes(b"")
    unlike = make_run(tmp_path / "unlike", small, spec)
    (unlike / "config.json").write_text(replace(small, denoiser=replace(small.denoiser, channels=(16, 8))).to_json())
    for path, message in (
        (tmp_path / "nowhere", "is no run folder"),
        (tmp_path, "is no run folder"),
        (tmp_path / "fresh", "has no checkpoint yet"),
        (damaged, "is damaged"),
        (unlike, "do not fit this configuration"),
    ):
        with pytest.raises(UserError, match=message) as error:
            load(path)
        assert ("\n" not in str(error.value) and str(path) in str(error.value)) or path == unlike
    with pytest.raises(UserError, match="unknown device"):
        load(make_run(tmp_path / "run", small, spec), device="tpu")


# --- the package's own -----------------------------------------------------------------------------------------------


def test_the_demo() -> None:
    model = load("demo", device="cpu")
    assert model.title == "demo/boxing" and model.spec.name == "atari/Boxing" and model.spec.frame_size == (48, 48)
    assert len(model.spec.actions.names) == 18 and model.spec.actions.names[0] == "NOOP"
    assert model.config.small and model.policy is None and len(model.starts.windows()) == 64
    frames = dreamt(model)
    assert len({frame.tobytes() for frame in frames}) == len(frames), "something moves"
    assert load("demo") is not model


def test_a_demo_that_is_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "DEMOS", tmp_path)
    with pytest.raises(UserError, match="has no demo model"):
        load()
    (tmp_path / "boxing.zip").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no demo 'pong': choose one of boxing"):
        load("demo/pong")
    with pytest.raises(UserError, match="is no exported game, or damaged"):
        load()


# --- runs of the version before --------------------------------------------------------------------------------------

NAMES = [f"ACTION {i}" for i in range(18)]


def older_run(path: Path, replay: bool = True, **changes: Any) -> Path:
    """A run folder of the version before: its config.json, no game.json, its data set, its checkpoint."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(older_config() | changes))
    config = read_config(path / "config.json")
    spec = GameSpec("", 16, 16, ActionSpace.discrete(18))
    state = {"optimisers": {}, "rollout": None, "collector": None, "real_world": None}
    progress = {"progress": {"epoch": 2, "phase": 1, "parts": []}, "replay_rows": 31, "numpy_rng": {}}
    RunFolder(path).save(7, Checkpoint(random_networks(config, spec).tensors(), state, progress))
    if replay:
        info = {"env": "atari/Boxing", "action_names": NAMES}
        actions = np.arange(30) % 18
        write_older_data(path / "replay", {"kind": "discrete", "num_actions": 18}, info, actions, (16, 16, 3))
    return path


def test_a_run_of_the_version_before_is_still_played(tmp_path: Path) -> None:
    model = load(older_run(tmp_path / "run"))
    assert model.spec.name == "atari/Boxing" and model.spec.actions == ActionSpace.discrete(NAMES)
    assert model.spec.presented == older_config()["environment"]
    assert model.world is not None and model.world.reward_end is not None and model.policy is not None
    assert len(model.starts.windows()) == 27 and dreamt(model)
    assert model.progress["epoch"] == 2


def test_without_data_its_weights_tell_how_many_actions_there_are(tmp_path: Path) -> None:
    model = load(older_run(tmp_path / "run", replay=False))
    assert model.spec.actions == ActionSpace.discrete(18) and model.spec.frame_size == (16, 16)
    assert model.datasets == {}


def test_a_model_free_run_of_the_version_before(tmp_path: Path) -> None:
    model = load(older_run(tmp_path / "run", replay=False, model_free=True))
    assert model.world is None and model.policy is not None and model.config.recipe == "model_free"


def test_a_run_of_the_version_before_is_not_resumed(tmp_path: Path) -> None:
    path = older_run(tmp_path / "run", device="cpu", precision="float32")
    config = RunFolder(path).config()
    with pytest.raises(UserError, match="the version before began this run: it can be played and evaluated") as error:
        train(config, path)
    assert "\n" not in str(error.value) and "--init-from" in str(error.value)
    assert dreamt(load(path)), "and is as it was"
    with Dataset.open(path / "replay") as replay:
        assert replay.num_rows == 31


def test_a_new_run_goes_on_from_the_weights_of_the_version_before(tmp_path: Path) -> None:
    path = older_run(tmp_path / "run", device="cpu", precision="float32")
    data = fill(tmp_path / "data", 30, num_actions=18)
    old = RunFolder(path).config()
    config = replace(
        updates(old, first_steps=1, steps=1, learning_rate=0.0),
        recipe="world",
        data=str(data),
        env="",
        epochs=1,
        init_from=str(path),
        networks=("denoiser",),
        compile="off",
    )
    train(config, tmp_path / "new")
    before, after = (RunFolder(folder).load() for folder in (path, tmp_path / "new"))
    assert before is not None and after is not None
    for name, tensor in after.weights.items():
        assert name.startswith("denoiser.") and torch.equal(tensor, before.weights[name])
