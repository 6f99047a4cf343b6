"""Published tensor names: mapped one to one, both ways."""

import json
from collections.abc import Callable

import pytest
import torch
from golden_folders import GOLDEN, small_atari
from torch import nn

from diffworld.compat.names import load_published, name_map, to_published
from diffworld.compat.sizes import build_parts
from diffworld.config import Config
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Denoiser
from diffworld.models.reward_end import RewardEndModel
from diffworld.models.shooter import NUM_KEYS, shooter_denoiser_config, upsampler_config
from diffworld.runtime.errors import UserError


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
