"""One tiny model for all tests of the environments: it does not change."""

from pathlib import Path

import pytest

import diffworld
from diffworld.game import GameSpec
from diffworld.runs import Model
from tests.dream_env.tiny_dream import KEYS_AND_MOUSE, SIDE, TWO_CHOICES, make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "catch")


@pytest.fixture(scope="session")
def model(run: Path) -> Model:
    return diffworld.load(run, "cpu")


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that knows neither rewards nor ends."""
    return diffworld.load(make_run(tmp_path_factory.mktemp("runs") / "blind", networks=("denoiser",)), "cpu")


@pytest.fixture(scope="session", params=[KEYS_AND_MOUSE, TWO_CHOICES], ids=["keys and mouse", "two choices"])
def other_actions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of a game that is played otherwise than with one choice."""
    spec = GameSpec("recording", SIDE, SIDE, request.param)
    return diffworld.load(make_run(tmp_path_factory.mktemp("runs") / "other", spec), "cpu")
