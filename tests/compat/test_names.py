"""Published tensor names: mapped one to one, both ways."""

import json
from collections.abc import Callable

import pytest
import torch
from golden_folders import GOLDEN, small_atari
from torch import nn

from diffworld.compat.names import load_published, name_map
from diffworld.compat.sizes import build_parts
from diffworld.config import Config
from diffworld.game import ActionSpace, Choice, Keys
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Conditioning, Denoiser, DenoiserConfig
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.errors import UserError
from published import to_published

SHOOTER_ACTIONS = ActionSpace(
    (
        Keys((*"wasd", "space", "ctrl", "shift", "1", "2", "3", "r", "left click", "right click")),
        Choice("mouse x", tuple(map(str, range(23)))),
        Choice("mouse y", tuple(map(str, range(15)))),
    )
)


def published_keys(family: str) -> dict[str, tuple[int, ...]]:
    keys = json.loads((GOLDEN / f"{family}_published_keys.json").read_text())
    return {name: tuple(shape) for name, shape in keys.items()}


def atari_parts() -> dict[str, nn.Module]:
    config, actions = Config(), ActionSpace.discrete(4)
    return {
        "denoiser": Denoiser(config.denoiser, actions),
        "reward_end": RewardEndModel(config.reward_end, actions, (64, 64)),
        "actor_critic": ActorCritic(config.actor_critic, actions, (64, 64)),
    }


def shooter_parts() -> dict[str, nn.Module]:
    dreams = DenoiserConfig(4, 2048, (128, 256, 512, 1024), (2, 2, 2, 2), (False, False, True, True), sigma_offset=0.1)
    enlarges = DenoiserConfig(1, 2048, (64, 64, 128, 256), (2, 2, 2, 2), (False, False, False, True), sigma_offset=0.1)
    return {
        "denoiser": Denoiser(dreams, SHOOTER_ACTIONS, Conditioning(noise_context=True)),
        "upsampler": Denoiser(enlarges, SHOOTER_ACTIONS, Conditioning(upsampling_factor=5)),
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
