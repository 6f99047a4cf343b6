"""The house as a whole: imports point one way, rooms have few doors, functions fit a screen, settings stay home."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "diffworld"
MOST_ARROWS, LONGEST_FUNCTION, MOST_WITH_CONFIG = 100, 60, 15

# A room is a folder of the package, or a module at its top. Each may import the rooms that stand before it in this
# order, but for those named beside it. `diffworld` itself (its version, `load`) is open to all.
FLOORS: dict[str, str] = {
    "runtime": "",
    "game": "",
    "data": "",
    "importing": "",
    "envs": "importing",
    "nn": "game data importing envs",
    "models": "data importing envs",
    "world": "data importing envs",
    "agents": "data importing envs",
    "config": "data importing world",
    "evaluation": "importing config",
    "recipes": "importing evaluation",
    "runs": "importing evaluation",
    "compat": "importing",
    "dream_env": "importing evaluation recipes compat config",
    "training": "importing compat dream_env",
    "report": "importing compat dream_env training recipes",
    "play": "importing compat dream_env training report recipes",
    "sweep": "importing compat dream_env play recipes",
    "commands": "",
    "cli": "",
    "__main__": "",
}
ROOMS = list(FLOORS)
MAY_IMPORT = {room: set(ROOMS[:place]) - set(FLOORS[room].split()) for place, room in enumerate(ROOMS)}


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
    return name in FLOORS or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if room(path) != "__init__"]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_room_may(path: Path) -> None:
    own = room(path)
    assert own in FLOORS, f"give the new room {own} a line in FLOORS, and say why in docs/architecture.md"
    package = ".".join(["diffworld", *path.relative_to(PACKAGE).parent.parts])
    wrong = set(imported_rooms(path.read_text(encoding="utf-8"), package)) - MAY_IMPORT[own] - {own}
    assert not wrong, f"{own} must not import {', '.join(sorted(wrong))}"


def test_few_arrows_between_rooms_and_no_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for path in MODULES:
        package = ".".join(["diffworld", *path.relative_to(PACKAGE).parent.parts])
        found = set(imported_rooms(path.read_text(encoding="utf-8"), package)) - {room(path)}
        arrows[room(path)] = arrows.get(room(path), set()) | found
    count = sum(len(found) for found in arrows.values())
    print(f"{count} arrows between {len(arrows)} rooms")
    for name, found in arrows.items():
        print(f"  {name} -> {', '.join(sorted(found, key=ROOMS.index))}")
    assert set(TopologicalSorter(arrows).static_order()) >= set(arrows)  # raises on a circle
    assert count <= MOST_ARROWS


def test_functions_fit_a_screen() -> None:
    lengths = {(path.name, node.name): (node.end_lineno or 0) - node.lineno + 1 for path, node in functions()}
    print(f"the longest function has {max(lengths.values())} lines")
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_the_whole_configuration_is_passed_to_few() -> None:
    with_config = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path, node in functions()
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation).strip("'\"") == "Config"
    ]
    print(f"the whole configuration is passed to {len(with_config)} functions")
    assert len(with_config) <= MOST_WITH_CONFIG, "\n".join(with_config)


@pytest.mark.parametrize(
    "source",
    [
        "import diffworld.training.loop",
        "from diffworld import training",
        "from diffworld.training import loop",
        "from diffworld.training.loop import Loop as L",
        "from ..training import loop",
        "from .. import training",
        "def later():\n    from diffworld.training import loop",
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
