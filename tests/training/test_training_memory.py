"""A training that cannot fit into memory is refused before it begins, with the settings to lower."""

from dataclasses import replace

import pytest
import torch

from diffworld.config import NETWORKS, Config, UpdateConfig
from diffworld.recipes import build_networks
from diffworld.runtime.errors import UserError
from diffworld.spec import ActionSpace, GameSpec
from diffworld.training.memory import check_memory, kept_bytes
from tests.tiny_training import SHOOTER

CPU = torch.device("cpu")
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


def test_what_is_kept_grows_with_the_frames(small: Config) -> None:
    for name in NETWORKS:
        sizes = []
        for side in (16, 32):
            spec = replace(SPEC, height=side, width=side)
            with torch.device("meta"):
                networks = build_networks(small, spec, torch.device("meta"))
            sizes.append(kept_bytes(getattr(networks, name), spec))
        assert 2 * sizes[0] < sizes[1] < 8 * sizes[0], name
