"""A sweep file: games x seeds x settings, and the runs they make, each with its options of `diffworld train`."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from diffworld.config.presets import preset
from diffworld.runs.folder import RunFolder
from diffworld.runtime.errors import UserError

REPORT = "report"
GIVEN_ABOVE = {"env": "games", "seed": "seeds", "out": "out"}  # options of a run that other keys decide
NOT_A_RUN = ("dry-run", "show-config", "help")


@dataclass(frozen=True)
class Key:
    """A key of the file: what its value is, an example line, and whether a value is of that kind."""

    kind: str
    example: str
    fits: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(fits, value))


def _is_number(value: Any, least: float, most: float) -> bool:
    return type(value) in (int, float) and (value == 0 >= least or 0.01 <= value <= most)


def _bytes(value: Any) -> int:
    """An amount of memory in bytes; 0 if it is none."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(MiB|GiB)", value) if isinstance(value, str) else None
    return int(float(found[1]) * {"MiB": 2**20, "GiB": 2**30}[found[2]]) if found else 0


KEYS = {
    "out": Key("a folder", 'out = "runs/ablation"', _is_text),
    "preset": Key("the name of a preset", 'preset = "demo"', _is_text),
    "games": Key("a list of games", 'games = ["atari/Freeway", "atari/Boxing"]', _list_of(_is_text)),
    "seeds": Key("a list of whole numbers from 0", "seeds = [0, 1, 2]", _list_of(_is_seed)),
    "resources": Key("a table", "[resources]", lambda value: isinstance(value, dict)),
    "options": Key("a table of options", "[options]", lambda value: isinstance(value, dict)),
    "settings": Key("a table of tables", "[settings.three-steps]", lambda value: isinstance(value, dict)),
}
RESOURCES = {
    "gpus": Key("a number from 0 to 1", "gpus = 0.25", lambda value: _is_number(value, 0, 1)),
    "cpus": Key("a number of cores", "cpus = 2", lambda value: _is_number(value, 0.01, 10_000)),
    "memory": Key("an amount in MiB or GiB", 'memory = "8 GiB"', lambda value: _bytes(value) > 0),
}


@dataclass(frozen=True)
class Resources:
    """What a run takes of a node in a cluster; nothing else is given to others."""

    gpus: float | None = None
    """A GPU or a part of one; None: a whole one where the run would use it and the cluster has any."""
    cpus: float = 1.0
    memory: int = 0
    """Bytes; 0: not counted."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: its place in it, its run folder, and the options of its train command."""

    setting: str
    game: str
    seed: int
    folder: Path
    options: tuple[str, ...]
    resources: Resources = Resources()

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.setting}, {self.game}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """What the command printed, over all its sittings; beside the run folder, which only a run may fill."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return RunFolder(self.folder).summary_path.is_file()

    @property
    def state(self) -> str:
        """In a word, how far it is."""
        if self.finished:
            return "finished"
        run = RunFolder(self.folder)
        return "running" if run.claimed_by else "unfinished" if self.log.exists() or run.exists() else "not begun"


@dataclass(frozen=True)
class Sweep:
    """What a sweep file asks for; `settings` are options of `diffworld train`, by name."""

    out: Path
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, tuple[str, ...]]
    resources: Mapping[str, Resources]
    """Of each setting's runs."""

    def runs(self) -> list[PlannedRun]:
        """Every run, seeds outermost: after the first round each setting has a result on each game."""
        found = []
        for seed, game, (setting, options) in product(self.seeds, self.games, self.settings.items()):
            folder = self.out / setting / folder_name(game) / f"seed-{seed}"
            own = (f"--env={game}", f"--seed={seed}", f"--out={folder}")
            found.append(PlannedRun(setting, game, seed, folder, (*options, *own), self.resources[setting]))
        return found


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file; UserError, one line, for what is wrong with it. Options are not looked into."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give a sweep file (see --help for one)") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no TOML file: {error}") from error
    with naming(str(file)):
        return _sweep(data)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say what a UserError in the block is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def folder_name(game: str) -> str:
    """A game as the name of a folder."""
    return game.replace("/", "-")


def _sweep(data: Mapping[str, Any]) -> Sweep:
    _fit(data, KEYS)
    for name in ("out", "games", "seeds"):
        if name not in data:
            raise UserError(f"'{name}' is missing, such as {KEYS[name].example}; it goes before the first [table]")
    if "://" in data["out"]:
        raise UserError("'out' is an address: runs need a folder, with renames and locks, as no store of objects has")
    _distinct("games", data["games"], folder_name)
    _distinct("seeds", data["seeds"])
    base = data.get("preset", "demo")
    preset(base)  # UserError where there is none
    settings = data.get("settings") or {base: {}}
    _distinct("settings", settings)
    shared = {"preset": base, **_flat(data.get("options", {}))}
    return Sweep(
        out=Path(data["out"]),
        games=tuple(data["games"]),
        seeds=tuple(data["seeds"]),
        settings={name: _setting(name, settings[name], shared) for name in settings},
        resources={name: _resources(name, settings[name], data.get("resources", {})) for name in settings},
    )


def _fit(data: Mapping[str, Any], keys: Mapping[str, Key]) -> None:
    """UserError unless a table has known keys alone, with values of their kinds."""
    for name, value in data.items():
        if name not in keys:
            raise UserError(f"unknown key '{name}': choose from {', '.join(keys)}")
        if not keys[name].fits(value):
            raise UserError(f"'{name}' should be {keys[name].kind}, such as {keys[name].example}")


def _resources(name: str, changes: Mapping[str, Any], shared: Mapping[str, Any]) -> Resources:
    """What a setting's runs take: as all runs do, but for its own [settings.NAME.resources]."""
    with naming("[resources]"):
        _fit(shared, RESOURCES)
    own = changes.get("resources", {})
    with naming(f"[settings.{name}.resources]"):
        if not isinstance(own, dict):
            raise UserError("it should be a table")
        _fit(own, RESOURCES)
    asked = {**shared, **own}
    return Resources(asked.get("gpus"), asked.get("cpus", 1.0), _bytes(asked.get("memory")))


def _setting(name: str, changes: Any, shared: Mapping[str, Any]) -> tuple[str, ...]:
    """A setting's options: those of all runs, then its own, of which train takes the last."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name.lower() == REPORT:
        raise UserError(
            f"setting '{name}' would name a folder: take letters, digits, '.', '_' and '-', and not '{REPORT}'"
        )
    if not isinstance(changes, dict):
        raise UserError(f"setting '{name}' should be a table: [settings.{name}], and below it its options")
    with naming(f"setting '{name}'"):
        options = {**shared, **_flat({key: value for key, value in changes.items() if key != "resources"})}
        return tuple(word for option, value in options.items() for word in _arguments(option, value))


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by full name: TOML reads a dotted name without quotes as tables within tables."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _arguments(option: str, value: Any) -> Iterator[str]:
    """An option and its value as words of the command line."""
    plain = option.replace("_", "-")
    if plain in GIVEN_ABOVE:
        raise UserError(f"'{option}' is no option of a setting: '{GIVEN_ABOVE[plain]}' at the top decides it")
    if plain in NOT_A_RUN or not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", option):
        raise UserError(f"'{option}' is no option of a run (see: diffworld train --help)")
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str | int | float) and str(word).isprintable() for word in words):
        raise UserError(f"'{option}' should be a string, a number, true, false or a list of them")
    if isinstance(value, bool):
        group, dot, last = option.rpartition(".")
        yield f"--{option}" if value else f"--{group}{dot}no-{last}"
    elif isinstance(value, list):
        if any(str(word).startswith("-") and isinstance(word, str) for word in words):
            raise UserError(f"'{option}' has an entry that begins with '-'")
        yield from (f"--{option}", *map(str, words))
    else:
        yield f"--{option}={value}"


def _distinct(key: str, values: Iterable[Any], name: Callable[[Any], str] = str) -> None:
    """UserError if two values would share a folder, also on a disk that does not tell capitals apart."""
    seen: dict[str, Any] = {}
    for value in values:
        place = name(value).lower()
        if place in seen:
            both = f"has {value!r} twice" if seen[place] == value else f"has {seen[place]!r} and {value!r}"
            raise UserError(f"'{key}' {both}: each needs a folder of its own")
        seen[place] = value
