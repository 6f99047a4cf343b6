"""Parity with the published numbers, and a check that can fail: altered numbers, weights and files."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffworld.agent.actor_critic import ActorCritic
from diffworld.compat.golden import Result, build_parts, fill_weights, verify_golden
from diffworld.compat.names import load_published, name_map, to_published
from diffworld.config import Config
from diffworld.errors import UserError
from diffworld.world_model.denoiser import Denoiser
from diffworld.world_model.diffusion import NoiseLevels
from diffworld.world_model.reward_end import RewardEndModel
from diffworld.world_model.sampler import SamplerConfig, karras_schedule
from diffworld.world_model.upsampler import NUM_KEYS, shooter_denoiser_config, upsampler_config

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(path.stem for path in GOLDEN.glob("*.npz"))

# --- the published numbers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Result]:
    return {result.name: result for result in verify_golden(GOLDEN)}


def test_there_are_numbers_for_every_part() -> None:
    assert len(FILES) == 21


@pytest.mark.parametrize("name", FILES)
def test_published_numbers(verdicts: dict[str, Result], name: str) -> None:
    assert verdicts[name].passed, verdicts[name]


def copy_golden(folder: Path, *files: str, config: str = "atari_config.json") -> Path:
    for file in (config, *files):
        shutil.copy(GOLDEN / file, folder)
    return folder


def alter(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(path) as data:
        arrays = {name: data[name].copy() for name in data.files}
    change(arrays)
    np.savez(path, **arrays)


def add_to(name: str, amount: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].reshape(-1)[-1] += amount

    return change


@pytest.mark.parametrize("quantity", ["lambda_returns", "loss", "loss_actions", "loss_values", "loss_entropy"])
def test_an_altered_published_number_fails(tmp_path: Path, quantity: str) -> None:
    copy_golden(tmp_path, "actor_critic_loss.npz")
    alter(tmp_path / "actor_critic_loss.npz", add_to(quantity, 1e-3))
    assert [result.passed for result in verify_golden(tmp_path)] == [False]


def test_another_rule_for_the_weights_fails(tmp_path: Path) -> None:
    copy_golden(tmp_path, "denoiser_forward.npz", "reward_end_forward.npz", "actor_critic_forward.npz")
    results = list(verify_golden(tmp_path, salt="pepper"))
    assert [(result.name, result.passed) for result in results] == [
        ("actor_critic_forward", False),
        ("denoiser_forward", False),
        ("reward_end_forward", False),
    ]


# --- published names -------------------------------------------------------------------------------------------------


def published_keys(family: str) -> dict[str, tuple[int, ...]]:
    keys = json.loads((GOLDEN / f"{family}_published_keys.json").read_text())
    return {name: tuple(shape) for name, shape in keys.items()}


def atari_parts() -> dict[str, nn.Module]:
    config = Config()
    return {
        "denoiser": Denoiser(config.denoiser, 4),
        "reward_end": RewardEndModel(config.reward_end, 4, (64, 64)),
        "actor_critic": ActorCritic(config.actor_critic, 4, (64, 64)),
    }


def shooter_parts() -> dict[str, nn.Module]:
    return {
        "denoiser": Denoiser(shooter_denoiser_config(), NUM_KEYS),
        "upsampler": Denoiser(upsampler_config(), NUM_KEYS),
    }


@pytest.mark.parametrize(
    ("family", "build", "counts"),
    [
        ("atari", atari_parts, {"denoiser": 4_405_955, "reward_end": 5_900_864, "actor_critic": 3_229_637}),
        ("csgo", shooter_parts, {"denoiser": 330_489_219, "upsampler": 51_149_187}),
    ],
    ids=["atari", "shooter"],
)
def test_paper_size_networks_have_the_published_names_shapes_and_sizes(
    family: str, build: Callable[[], dict[str, nn.Module]], counts: dict[str, int]
) -> None:
    with torch.device("meta"):
        parts = build()
    assert {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()} == counts
    assert {name: tuple(tensor.shape) for name, tensor in to_published(parts).items()} == published_keys(family)
    names = name_map(parts)
    assert names.keys() == published_keys(family).keys()
    ours = {(part, name) for part, module in parts.items() for name in module.state_dict()}
    assert set(names.values()) == ours and len(names) == len(ours), "one to one"


def test_published_tensors_go_in_and_come_out() -> None:
    config = small_atari()
    theirs = {name: torch.randn(t.shape) for name, t in to_published(build_parts(config)).items()}
    parts = build_parts(config)
    load_published(parts, theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in to_published(parts).items())
    for wrong in (
        {name: t for name, t in theirs.items() if "lstm" not in name},
        theirs | {"denoiser.inner_model.surplus": torch.zeros(1)},
        theirs | {"actor_critic.actor_linear.bias": torch.zeros(99)},
    ):
        with pytest.raises(UserError, match="check the configuration"):
            load_published(parts, wrong)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in to_published(parts).items())


# --- folders of the same form with other networks --------------------------------------------------------------------


def small_atari() -> dict[str, Any]:
    """Another size, action count, number of levels, attention and context than the published."""
    return {
        "image_size": [12, 20],
        "num_actions": 7,
        "denoiser": {
            "sigma_offset_noise": 0.2,
            "num_steps_conditioning": 3,
            "cond_channels": 12,
            "depths": [1, 2],
            "channels": [8, 16],
            "attn_depths": [0, 1],
        },
        "reward_end": {
            "lstm_dim": 10,
            "cond_channels": 6,
            "depths": [1, 1, 2],
            "channels": [8, 8, 16],
            "attn_depths": [1, 0, 0],
        },
        "actor_critic": {"lstm_dim": 9, "channels": [8, 16, 16], "down": [1, 0, 1]},
    }


def small_csgo() -> dict[str, Any]:
    return {
        "low_res": [6, 7],
        "full_res": [18, 21],
        "num_actions": 11,
        "denoiser": {
            "sigma_offset_noise": 0.1,
            "noise_previous_obs": True,
            "num_steps_conditioning": 2,
            "cond_channels": 8,
            "depths": [1, 1, 1],
            "channels": [8, 8, 16],
            "attn_depths": [0, 0, 1],
        },
        "upsampler": {
            "sigma_offset_noise": 0.1,
            "noise_previous_obs": False,
            "upsampling_factor": 3,
            "num_steps_conditioning": 1,
            "cond_channels": 8,
            "depths": [2],
            "channels": [16],
            "attn_depths": [0],
        },
    }


def tensors_by_the_rule(shapes: dict[str, list[int]], salt: str) -> dict[str, Tensor]:
    """The README's rule, written a second time."""
    tensors = {}
    for name, shape in shapes.items():
        seed = zlib.crc32(f"{salt}{name}".encode())
        v = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        fixed = name.endswith("noise_emb.weight") or name.endswith("noise_cond_emb.weight")
        if not fixed and v.ndim > 1:
            v = v / np.sqrt(v[0].size)
        elif not fixed:
            v = 1 + 0.1 * v if name.endswith("norm.weight") else 0.02 * v
        tensors[name] = torch.from_numpy(v.astype(np.float32))
    return tensors


def weighted_parts(config: dict[str, Any], salt: str) -> dict[str, nn.Module]:
    parts = build_parts(config)
    config["state_dict"] = {name: list(tensor.shape) for name, tensor in to_published(parts).items()}
    load_published(parts, tensors_by_the_rule(config["state_dict"], salt))
    return parts


def frames(*shape: int) -> Tensor:
    return torch.rand(shape) * 2 - 1


class Draws:
    """Noise that is kept, under the names of a golden file."""

    def __init__(self) -> None:
        self.arrays: dict[str, Tensor] = {}

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(shape)
        self.arrays[f"noise_{len(self.arrays)}"] = noise
        return noise


Arrays = dict[str, Tensor]


def forward_arrays(denoiser: Denoiser, context: Arrays, size: tuple[int, int]) -> Arrays:
    inputs = {"noisy": torch.randn(2, 3, *size), "sigma": torch.tensor([0.4, 3.0])}
    with torch.no_grad():
        encoded = denoiser.encode(
            context["context_obs"], context["context_act"], sigma_context=context.get("sigma_cond")
        )
        output, c = denoiser.network_output(inputs["noisy"], inputs["sigma"], encoded)
        denoised = denoiser.denoise(inputs["noisy"], inputs["sigma"], encoded)
    return context | inputs | {"network_output": output, "denoised": denoised, "c_in": c.c_in, "c_skip": c.c_skip}


def loss_arrays(denoiser: Denoiser, inputs: Arrays, levels: NoiseLevels) -> Arrays:
    noise, upsampler = Draws(), denoiser.config.upsampling_factor > 1
    object.__setattr__(denoiser.config, "noise_levels", levels)
    windows = inputs["full_res"] if upsampler else inputs["obs"]
    low_res = inputs["low_res"] if upsampler else None
    loss = denoiser.loss(windows, inputs.get("act"), inputs["mask"], noise, low_res=low_res)
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in denoiser.parameters() if p.grad is not None]).norm()
    return inputs | noise.arrays | {"loss": loss.detach(), "grad_norm": norm}


def sampler_arrays(denoiser: Denoiser, context: Arrays, config: SamplerConfig) -> Arrays:
    noise = Draws()
    sample, trajectory = denoiser.sample(context["context_obs"], context["context_act"], config, noise)
    sigmas = torch.tensor(karras_schedule(config))
    return context | noise.arrays | {"sample": sample, "trajectory": torch.stack(trajectory), "sigmas": sigmas}


def write_atari_folder(folder: Path, salt: str = "") -> Path:
    config = small_atari()
    parts = weighted_parts(config, salt)
    denoiser, reward_end, actor_critic = parts["denoiser"], parts["reward_end"], parts["actor_critic"]
    assert isinstance(denoiser, Denoiser)
    context = {"context_obs": frames(2, 3, 3, 12, 20), "context_act": torch.randint(7, (2, 3))}
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3] = False
    window = {"obs": frames(2, 5, 3, 12, 20), "act": torch.randint(7, (2, 5)), "mask": mask}
    with torch.no_grad():
        obs, act = frames(2, 4, 3, 12, 20), torch.randint(7, (2, 4))
        reward, end, (h, c) = reward_end(obs[:, :-1], act[:, :-1], obs[:, 1:], (torch.zeros(2, 10), torch.zeros(2, 10)))
        rewards = {"obs": obs, "act": act, "logits_reward": reward, "logits_end": end, "hx": h[None], "cx": c[None]}
        obs = frames(3, 2, 3, 12, 20)
        steps, state = [], (torch.zeros(2, 9), torch.zeros(2, 9))
        for frame in obs:
            logits, value, state = actor_critic(frame, state)
            steps.append((logits, value))
        logits, values = (torch.stack(column) for column in zip(*steps, strict=True))
        acting = {"obs": obs, "logits": logits, "value": values, "hx": state[0], "cx": state[1]}
    save(
        folder,
        "atari",
        config,
        {
            "denoiser_forward": forward_arrays(denoiser, context, (12, 20)),
            "denoiser_loss": loss_arrays(denoiser, window, NoiseLevels()),
            "sampler_euler3": sampler_arrays(denoiser, context, SamplerConfig()),
            "reward_end_forward": rewards,
            "actor_critic_forward": acting,
        },
    )
    return folder


def write_csgo_folder(folder: Path, salt: str = "") -> Path:
    config = small_csgo()
    parts = weighted_parts(config, salt)
    denoiser, upsampler = parts["denoiser"], parts["upsampler"]
    assert isinstance(denoiser, Denoiser) and isinstance(upsampler, Denoiser)
    acts = torch.randint(2, (2, 2, 11))
    context = {"context_obs": frames(2, 2, 3, 6, 7), "context_act": acts}
    mask = torch.ones(2, 3, dtype=torch.bool)
    full = {"full_res": frames(2, 3, 3, 18, 21), "low_res": frames(2, 3, 3, 6, 7), "mask": mask}
    save(
        folder,
        "csgo",
        config,
        {
            "csgo_denoiser_forward": forward_arrays(
                denoiser, context | {"sigma_cond": torch.tensor([0.1, 2.0])}, (6, 7)
            ),
            "csgo_sampler_quality": sampler_arrays(denoiser, context, SamplerConfig(3, sigma_context=0.005)),
            "csgo_upsampler_loss": loss_arrays(upsampler, full, NoiseLevels(mean=-1.2)),
        },
    )
    return folder


def save(folder: Path, family: str, config: dict[str, Any], files: dict[str, Arrays]) -> None:
    (folder / f"{family}_config.json").write_text(json.dumps(config))
    for name, arrays in files.items():
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})


def passed(folder: Path, salt: str = "") -> dict[str, bool]:
    return {result.name: result.passed for result in verify_golden(folder, salt)}


@pytest.mark.parametrize("write", [write_atari_folder, write_csgo_folder])
@pytest.mark.parametrize("salt", ["", "sea "])
def test_a_folder_of_other_networks_passes_with_its_own_salt_only(
    tmp_path: Path, write: Callable[[Path, str], Path], salt: str
) -> None:
    verdicts = passed(write(tmp_path, salt), salt)
    assert len(verdicts) >= 3 and all(verdicts.values()), list(verify_golden(tmp_path, salt))
    assert not any(passed(tmp_path, salt + "x").values())


@pytest.mark.parametrize(
    ("file", "quantity", "amount"),
    [
        ("denoiser_forward", "network_output", 1e-3),
        ("denoiser_forward", "c_skip", 1e-3),
        ("denoiser_forward", "denoised", 0.1),
        ("denoiser_forward", "noisy", 1.0),
        ("denoiser_loss", "loss", 1e-3),
        ("denoiser_loss", "grad_norm", 1e-2),
        ("denoiser_loss", "noise_2", 3.0),
        ("sampler_euler3", "sample", 0.1),
        ("sampler_euler3", "sigmas", 0.01),
        ("reward_end_forward", "logits_end", 1e-3),
        ("reward_end_forward", "cx", 1e-3),
        ("actor_critic_forward", "logits", 1e-3),
        ("actor_critic_forward", "value", float("nan")),
        ("actor_critic_forward", "hx", float("inf")),
    ],
)
def test_one_altered_number_fails_its_file_alone(tmp_path: Path, file: str, quantity: str, amount: float) -> None:
    write_atari_folder(tmp_path)
    alter(tmp_path / f"{file}.npz", add_to(quantity, amount))
    verdicts = passed(tmp_path)
    assert [name for name, verdict in verdicts.items() if not verdict] == [file]


def test_denoised_frames_may_be_one_level_off_in_a_thousandth_of_the_values(tmp_path: Path) -> None:
    write_atari_folder(tmp_path)
    path, level = tmp_path / "denoiser_forward.npz", 2 / 255
    for path_ in tmp_path.glob("*.npz"):
        if path_ != path:
            path_.unlink()
    alter(path, add_to("denoised", level))
    assert passed(tmp_path) == {"denoiser_forward": True}
    alter(path, add_to("denoised", level))
    assert passed(tmp_path) == {"denoiser_forward": False}

    def many(arrays: dict[str, np.ndarray]) -> None:
        arrays["denoised"].reshape(-1)[-1] -= 2 * level
        arrays["denoised"].reshape(-1)[:5] += level

    alter(path, many)
    assert passed(tmp_path) == {"denoiser_forward": False}


def test_windows_of_padding_alone_have_no_loss(tmp_path: Path) -> None:
    write_atari_folder(tmp_path)

    def pad(arrays: dict[str, np.ndarray]) -> None:
        arrays["mask"][:] = False
        arrays["loss"][...] = arrays["grad_norm"][...] = 0

    alter(tmp_path / "denoiser_loss.npz", pad)
    assert all(passed(tmp_path).values())
    alter(tmp_path / "denoiser_loss.npz", add_to("loss", 0.1))
    assert not passed(tmp_path)["denoiser_loss"]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    def levels(most: int) -> dict[str, list[int]]:
        count = draw(st.integers(1, most))

        def column(*values: int) -> list[int]:
            return draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

        return {"channels": column(8, 16, 24, 64), "depths": column(1, 2), "attn_depths": column(0, 1)}

    n, down = draw(st.integers(1, 4)), draw(st.lists(st.integers(0, 1), min_size=1, max_size=4))
    return {
        "image_size": [draw(st.integers(16, 24)), draw(st.integers(16, 24))],
        "num_actions": draw(st.integers(1, 18)),
        "denoiser": {"sigma_offset_noise": 0.3, "num_steps_conditioning": n, "cond_channels": 4 * n, **levels(4)},
        "reward_end": {"lstm_dim": draw(st.integers(1, 12)), "cond_channels": draw(st.integers(1, 12)), **levels(5)},
        "actor_critic": {
            "lstm_dim": draw(st.integers(1, 12)),
            "channels": draw(st.lists(st.sampled_from([8, 32, 64]), min_size=len(down), max_size=len(down))),
            "down": down,
        },
    }


@settings(max_examples=20)
@given(configurations(), st.text(max_size=3))
def test_any_configuration_is_built_filled_and_run(config: dict[str, Any], salt: str) -> None:
    parts = build_parts(config)
    shapes = {name: list(tensor.shape) for name, tensor in to_published(parts).items()}
    fill_weights(parts, shapes, salt)
    filled, wanted = to_published(parts), tensors_by_the_rule(shapes, salt)
    assert all(torch.equal(filled[name], wanted[name]) for name in shapes)
    n, actions, size = config["denoiser"]["num_steps_conditioning"], config["num_actions"], config["image_size"]
    denoiser, reward_end, actor_critic = parts["denoiser"], parts["reward_end"], parts["actor_critic"]
    assert isinstance(denoiser, Denoiser) and isinstance(reward_end, RewardEndModel)
    assert isinstance(actor_critic, ActorCritic)
    obs, act = frames(1, n + 1, 3, *size), torch.randint(actions, (1, n + 1))
    with torch.no_grad():
        frame, _ = denoiser.sample(obs[:, :n], act[:, :n], SamplerConfig(1), torch.randn)
        reward, end, _ = reward_end(obs[:, :-1], act[:, :-1], obs[:, 1:], reward_end.zero_state(1))
        logits, value, _ = actor_critic(frame, actor_critic.zero_state(1))
    assert frame.shape == (1, 3, *size)
    assert reward.shape == (1, n, 3) and end.shape == (1, n, 2)
    assert logits.shape == (1, actions) and value.shape == (1,)


# --- what is not as it should be -------------------------------------------------------------------------------------


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
