"""What is locked is what is asked for, complete, and free of any one machine's address."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import diffworld

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in (line.split("==") for line in LOCK.splitlines() if not line.startswith("#"))
}
ASKED_FOR = [
    Requirement(line)
    for group in [
        PROJECT["dependencies"],
        PROJECT["optional-dependencies"]["dev"],
        PROJECT["optional-dependencies"]["minatar"],
    ]
    for line in group
]


@pytest.mark.parametrize("requirement", ASKED_FOR, ids=lambda requirement: requirement.name)
def test_pin_satisfies_what_is_asked_for(requirement: Requirement) -> None:
    pin = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True), f"{pin} is not in {requirement}"


@pytest.mark.parametrize("name", PINS)
def test_what_a_pin_needs_is_pinned(name: str) -> None:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    if Version(Version(distribution.version).public) != PINS[name]:
        pytest.skip(f"{name} is installed here in another version than the lock's")
    for requirement in map(Requirement, distribution.requires or []):
        if requirement.name.startswith(("nvidia-", "cuda-", "triton")):
            continue  # torch's own CUDA parts come with the build that pip was configured for
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)], prereleases=True)


def test_lock_holds_exact_public_versions_and_no_addresses() -> None:
    lines = LOCK.splitlines()
    assert lines[0].startswith("#")
    for line in lines[1:]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*", line), line
    assert "://" not in LOCK
    assert "/" not in LOCK
    assert len(PINS) == len(lines) - 1


def test_the_build_tools_that_make_install_uses_are_locked() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in map(Requirement, build):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_make_installs_the_locked_torch_first() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH := torch=={PINS[canonicalize_name('torch')]}\n" in makefile
    recipe = makefile[makefile.index("$(INSTALLED): ") :]
    assert recipe.index("install --quiet $(TORCH)") < recipe.index("-r requirements.lock")


def test_ranges_are_closed_above_where_they_must_be() -> None:
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert any(clause.operator == "<" for clause in requirement.specifier), f"{requirement} has no upper bound"
    assert "3.11" in SpecifierSet(PROJECT["requires-python"])
    assert "3.10" not in SpecifierSet(PROJECT["requires-python"])


def test_one_version_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {diffworld.__version__}\n" in citation
    assert "version" in PROJECT["dynamic"]


def test_files_a_user_expects() -> None:
    assert "Copyright (c) 2026 The diffworld authors" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "src" / "diffworld" / "py.typed").exists()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
