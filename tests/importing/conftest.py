"""Imports as a user runs them."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from diffworld.cli import main


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(*arguments: str | Path) -> Done:
    """A command line of `diffworld`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


Import = Callable[..., Done]


@pytest.fixture
def import_to(tmp_path: Path) -> Import:
    """Import sources with options to `tmp_path / "data"`; the command must do."""

    def do(*arguments: str | Path) -> Done:
        done = run("import-data", *arguments, "--out", tmp_path / "data")
        assert done.code == 0, done.err
        return done

    return do


@pytest.fixture
def refused(tmp_path: Path) -> Import:
    """Import sources that must be refused in one line, with nothing written."""

    def do(*arguments: str | Path) -> str:
        done = run("import-data", *arguments, "--out", tmp_path / "refused")
        assert done.code == 2 and done.err.count("\n") == 1, (done.code, done.err)
        assert not (tmp_path / "refused").exists()
        return done.err

    return do


@pytest.fixture
def keymap(tmp_path: Path) -> Callable[[object], Path]:
    """A key map with that content."""

    def write(content: object) -> Path:
        path = tmp_path / "map.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write
