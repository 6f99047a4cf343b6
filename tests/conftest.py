"""Every test begins from the same random state, and none fails because the machine was busy."""

import os
from collections import Counter
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
import torch
from hypothesis import settings

from diffworld.config import NETWORKS, Config
from diffworld.envs import EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig, UpsamplerConfig
from diffworld.models.reward_end import RewardEndConfig

LEVELS = {"channels": (8, 8), "depths": (1, 1), "attention": (False, False)}

LONG = ("browser", "end_to_end", "commands", "benchmarks")
"""Folders whose tests take longest."""

settings.register_profile("diffworld", deadline=None, max_examples=100 if os.environ.get("CI") else 25)
settings.load_profile("diffworld")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files come first: side by side, a file's tests stay in one process and share its fixtures.

    Outside of CI some are left out (`left_out`).
    """
    if not os.environ.get("CI") and not config.option.keyword and not any("::" in arg for arg in config.args):
        out = left_out(items)
        config.hook.pytest_deselected(items=[item for item in items if item in out])
        items[:] = [item for item in items if item not in out]
    items.sort(key=lambda item: LONG.index(name) if (name := item.path.parent.name) in LONG else len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side, each process takes whole files. Two take all that drive a browser, so that no more than two run at
    once, and one those of several ranks, which are forked from one that has imported everything."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if "browser" in file:
                return f"browser {crc32(file.encode()) % 2}"
            return "ranks" if file.endswith(("test_ranks.py", "test_shared_updates.py")) else file

    return Together(config, log)


def left_out(items: list[pytest.Item]) -> set[pytest.Item]:
    """Tests that only CI runs: those marked `thorough`, and of those marked `cases(every=n)` all but each n-th case."""
    out, cases = {item for item in items if item.get_closest_marker("thorough")}, Counter[str]()
    for item in items:
        if marker := item.get_closest_marker("cases"):
            function = item.nodeid.partition("[")[0]
            if cases[function] % marker.kwargs["every"]:
                out.add(item)
            cases[function] += 1
    return out


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def small() -> Config:
    """A configuration whose networks take milliseconds."""
    config = Config(
        device="cpu",
        precision="float32",
        compile="off",
        horizon=2,
        environment=EnvironmentConfig(height=12, width=12),
        denoiser=DenoiserConfig(cond_channels=8, **LEVELS),  # type: ignore[arg-type]
        upsampler=UpsamplerConfig(cond_channels=8, factor=2, **LEVELS),  # type: ignore[arg-type]
        reward_end=RewardEndConfig(cond_channels=8, lstm_channels=8, window=3, **LEVELS),  # type: ignore[arg-type]
        actor_critic=ActorCriticConfig(lstm_channels=8, channels=(8,), pool=(True,)),
    )
    updates = {f"{name}_updates": replace(config.updates(name), batch_size=2) for name in NETWORKS}
    return replace(config, **updates)  # type: ignore[arg-type]
