"""Parity with the published numbers, and with folders of other networks: altered numbers and weights fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_folders import (
    GOLDEN,
    add_to,
    alter,
    copy_golden,
    frames,
    passed,
    tensors_by_the_rule,
    write_atari_folder,
    write_csgo_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.compat.checks import Result
from diffworld.compat.golden import fill_weights, verify_golden
from diffworld.compat.sizes import build_parts
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Denoiser
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.sampler import SamplerConfig
from published import to_published

FILES = sorted(path.stem for path in GOLDEN.glob("*.npz"))


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Result]:
    return {result.name: result for result in verify_golden(GOLDEN)}


def test_there_are_numbers_for_every_part() -> None:
    assert len(FILES) == 21


@pytest.mark.parametrize("name", FILES)
def test_published_numbers(verdicts: dict[str, Result], name: str) -> None:
    assert verdicts[name].passed, verdicts[name]


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
@pytest.mark.cases(every=7)
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
@pytest.mark.thorough
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
