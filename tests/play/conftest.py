"""One tiny run and one server for the tests that only look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served, serving
from tiny_run import make_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("play") / "run")


@pytest.fixture(scope="module")
def served(run_folder: Path) -> Iterator[Served]:
    with serving(run_folder) as running:
        yield running


@pytest.fixture
def no_traceback(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing that a client does may reach a traceback on the server."""
    yield
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
