"""The three networks of a run: sizes, and weights taken in part or refused."""

from dataclasses import replace

import pytest
import torch

from diffworld.config import Config
from diffworld.config.presets import preset
from diffworld.recipes.networks import Networks, build_networks
from diffworld.runtime.errors import UserError

CPU = torch.device("cpu")


def networks(config: Config | None = None, seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return build_networks(config or preset("demo"), 6, CPU)


def test_paper_size() -> None:
    with torch.device("meta"):
        counts = build_networks(preset("atari100k"), 4, torch.device("meta")).parameter_counts()
    assert counts == {"denoiser": 4_405_955, "reward_end": 5_900_864, "actor_critic": 3_229_637}


def test_only_the_parts_asked_for_are_loaded() -> None:
    source, target = networks(seed=1), networks(seed=2)
    before = {name: tensor.clone() for name, tensor in target.tensors().items()}
    target.load(source.tensors(), ("denoiser", "actor_critic"))
    for name, tensor in target.tensors().items():
        wanted = before[name] if name.startswith("reward_end.") else source.tensors()[name]
        assert torch.equal(tensor, wanted), name
    assert any(not torch.equal(tensor, before[name]) for name, tensor in target.tensors().items())


def test_weights_of_other_networks_are_refused_in_one_line() -> None:
    wider = replace(preset("demo"), denoiser=replace(preset("demo").denoiser, channels=(16, 16, 32)))
    with pytest.raises(UserError, match="weights of the denoiser do not fit") as error:
        networks(wider).load(networks().tensors(), ("denoiser",))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="weights of the actor_critic do not fit"):
        networks().load({}, ("actor_critic",))
