"""A training that cannot fit into memory is refused before it begins, with the settings to lower."""

from dataclasses import replace

import pytest
import torch

from diffworld.config import RECIPE_NETWORKS, Config, UpdateConfig
from diffworld.game import ActionSpace, GameSpec
from diffworld.recipes import build_networks
from diffworld.runtime.errors import UserError
from diffworld.training.footprint import Way
from diffworld.training.memory import check_memory, kept_bytes
from tests.tiny_training import SHOOTER

CPU = torch.device("cpu")
PLAIN = Way("cpu", torch.float32, False)
SPEC = GameSpec("noise", 12, 12, ActionSpace.discrete(3))


def test_what_fits_is_let_through(small: Config) -> None:
    check_memory(small, SPEC, CPU)
    check_memory(small, replace(SPEC, actions=SHOOTER), CPU)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor_critic_updates": UpdateConfig(1, 1, batch_size=10**8)}, "lower --actor-critic-updates.batch-size"),
        ({"denoiser_updates": UpdateConfig(1, 1, batch_size=10**8)}, "lower --denoiser-updates.batch-size"),
        ({"reward_end_updates": UpdateConfig(1, 1, batch_size=10**8)}, "or --reward-end.window"),
        ({"horizon": 2 * 10**9}, "or --horizon"),
    ],
)
def test_settings_that_cannot_fit_are_named(small: Config, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_memory(replace(small, **changes), SPEC, CPU)  # type: ignore[arg-type]
    assert said in str(refused.value) and "of memory, and " in str(refused.value)


def test_networks_that_cannot_fit_are_named(small: Config) -> None:
    wide = replace(small, denoiser=replace(small.denoiser, channels=(2**20, 2**20)))
    with pytest.raises(UserError, match=r"--denoiser.channels|lower their channels"):
        check_memory(wide, SPEC, CPU)


def test_the_stages_of_a_shooter_are_counted_at_their_own_sizes(small: Config) -> None:
    shooter = replace(small, recipe="shooter", data="x", upsampler=replace(small.upsampler, factor=3))
    spec = replace(SPEC, actions=SHOOTER)
    check_memory(shooter, spec, CPU)
    with pytest.raises(UserError, match="lower --upsampler-updates"):
        check_memory(replace(shooter, upsampler_updates=UpdateConfig(1, 1, batch_size=10**8)), spec, CPU)
    with torch.device("meta"):
        networks = build_networks(shooter, spec, torch.device("meta"))
    assert networks.denoiser and networks.upsampler
    assert kept_bytes(networks.upsampler, spec, PLAIN) > 4 * kept_bytes(
        networks.denoiser, replace(spec, height=4, width=4), PLAIN
    )
    with pytest.raises(UserError, match="frames of 12x12 cannot be made 5 times smaller"):
        check_memory(replace(shooter, upsampler=replace(small.upsampler, factor=5)), spec, CPU)


def test_what_is_kept_grows_with_the_frames(small: Config) -> None:
    for name in RECIPE_NETWORKS["world"]:
        sizes = []
        for side in (16, 32):
            spec = replace(SPEC, height=side, width=side)
            with torch.device("meta"):
                networks = build_networks(small, spec, torch.device("meta"))
            sizes.append(kept_bytes(getattr(networks, name), spec, PLAIN))
        assert 2 * sizes[0] < sizes[1] < 8 * sizes[0], name
