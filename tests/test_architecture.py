"""Imports point one way: each room may know only the rooms the table names."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "diffworld"

# A room is a folder of the package, or a module at its top. `diffworld` itself (its version) is open to all.
PARTS = "errors files device envs replay nn world_model agent config"
MAY_IMPORT: dict[str, str] = {
    "errors": "",
    "files": "errors",
    "memory": "",
    "device": "errors",
    "envs": "errors",
    "replay": "errors files",
    "nn": "errors",
    "world_model": "errors nn replay",
    "agent": "errors nn replay world_model",
    "config": "errors files envs replay nn world_model agent",
    "presets": "errors envs replay nn world_model agent config",
    "networks": PARTS,
    "run_folder": "errors files config",
    "evaluation": f"{PARTS} networks run_folder",
    "shooter": f"{PARTS} networks run_folder",
    "compat": f"{PARTS} networks run_folder presets",
    "play": f"{PARTS} networks run_folder presets evaluation shooter compat",
    "training": f"{PARTS} networks run_folder presets evaluation",
    "report": f"{PARTS} networks run_folder presets evaluation",
    "sweep": f"{PARTS} networks run_folder presets evaluation training",
    "commands": f"{PARTS} networks run_folder presets evaluation shooter compat play training report sweep",
    "cli": "errors memory config presets commands",
    "__main__": "errors cli",
    "__init__": "",
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str, package: str) -> Iterator[str]:
    """The rooms that a module's text imports anywhere; `package` is the dotted package the module lies in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "diffworld" and len(parts) > 1 and is_room(parts[1]):
                yield parts[1]


def is_room(name: str) -> bool:
    return name in MAY_IMPORT or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_room_may(path: Path) -> None:
    own = room(path)
    assert own in MAY_IMPORT, f"give the new room {own} a line in MAY_IMPORT, and say why in docs/architecture.md"
    package = ".".join(["diffworld", *path.relative_to(PACKAGE).parent.parts])
    allowed = {own, *MAY_IMPORT[own].split()}
    wrong = set(imported_rooms(path.read_text(encoding="utf-8"), package)) - allowed
    assert not wrong, f"{own} must not import {', '.join(sorted(wrong))}"


def test_the_table_has_no_circle_and_names_only_rooms() -> None:
    graph = {name: allowed.split() for name, allowed in MAY_IMPORT.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(MAY_IMPORT)


@pytest.mark.parametrize(
    "source",
    [
        "import diffworld.runtime.metrics",
        "from diffworld import training",
        "from diffworld.training import metrics",
        "from diffworld.runtime.metrics import MetricsLog as FrameLog",
        "from ..training import metrics",
        "from .. import training",
        "def later():\n    from diffworld.training import metrics",
        "if TYPE_CHECKING:\n    import torch, diffworld.training",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    assert list(imported_rooms(source, "diffworld.play")) == ["training"]


@pytest.mark.parametrize("source", ["import torch", "from diffworld import __version__", "from torch import nn"])
def test_what_is_not_ours_is_not_counted(source: str) -> None:
    assert list(imported_rooms(source, "diffworld.play")) == []


def test_an_import_from_beside_is_the_same_room() -> None:
    assert list(imported_rooms("from .session import Session", "diffworld.play")) == ["play"]
