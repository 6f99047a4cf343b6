"""Every test begins from the same random state, and none fails because the machine was busy."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("diffworld", deadline=None)
settings.load_profile("diffworld")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
