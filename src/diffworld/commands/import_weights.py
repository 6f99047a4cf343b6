"""`diffworld import-weights`."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import parse_checked
from diffworld.commands.record import record_games
from diffworld.compat.hub import SHOOTER, download, download_shooter, published_game
from diffworld.compat.published import (
    Published,
    imported_config,
    imported_networks,
    read_config,
    read_tensors,
    write_source,
)
from diffworld.compat.shooter import Spawn, imported_shooter, read_spawns
from diffworld.data import Dataset
from diffworld.envs import make_env
from diffworld.game import GameSpec
from diffworld.game.counter_strike import counter_strike
from diffworld.runs import Checkpoint, RunFolder, load
from diffworld.runs.starts import write_later_actions
from diffworld.runtime.checked import Natural
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_folder, check_writable
from diffworld.runtime.progress import Display


@dataclass(frozen=True)
class ImportOptions:
    """Turn published weights into a run folder, to evaluate, to play, and to train from with --init-from."""

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """Flat state dict of the networks, .pt or .safetensors, loaded as tensors only."""
    from_hub: str = ""
    """Instead of FILE: download this game's weights and configuration, such as Breakout, or csgo for the shooter."""
    env: str = ""
    """The game that the weights of FILE play: atari/<Game>."""
    shooter: bool = False
    """FILE holds the shooter's two networks."""
    spawn: Path | None = None
    """With --shooter: the folder of starting places, csgo/spawn as published."""
    out: Path | None = None
    """The run folder to make (default: runs/published-GAME)."""
    config: Path | None = None
    """Configuration of the networks in FILE, JSON or YAML (default: sizes follow from the tensors' shapes)."""
    steps: Natural = 1000
    """Real steps the imported agent plays at once, so that dreams have windows to start from; 0 plays none."""


def main(arguments: list[str]) -> int:
    """Import one file of weights; the run folder appears whole or not at all."""
    options = parse_checked(ImportOptions, "diffworld import-weights", arguments)
    shooter = options.shooter or options.from_hub.lower() == SHOOTER
    game = SHOOTER if shooter else _game(options)
    out = options.out or Path("runs") / f"published-{game}"
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists: choose another --out, or move it away")
    check_writable(out.parent)
    if shooter:
        _import_shooter(*_published_shooter(options), out)
    else:
        _import(_published(options, game), f"atari/{game}", out, options.steps)
    return 0


def _published_shooter(options: ImportOptions) -> tuple[Published, Path]:
    """The shooter's weights and the folder of its starting places; UserError unless the options name both."""
    if options.env or options.config is not None:
        raise UserError("leave out --env and --config: they are for the weights of an Atari agent")
    if options.from_hub:
        if options.file is not None or options.spawn is not None:
            raise UserError("leave out the file and --spawn: --from-hub csgo brings both")
        return download_shooter()
    if options.file is None or options.spawn is None:
        raise UserError("give the shooter's weights and --spawn DIR, where its dreams start, or --from-hub csgo")
    return Published(options.file, None, options.file.name), options.spawn


def _import_shooter(published: Published, spawn: Path, out: Path) -> None:
    """Make the run folder `out`: configuration, checkpoint 0, and the places its dreams start from."""
    spawns, tensors = read_spawns(spawn), read_tensors(published.file)
    config = imported_shooter(tensors, spawns[0].factor)
    spec = counter_strike(*spawns[0].frames.shape[1:3])
    networks = imported_networks(config, spec, tensors)
    with atomic_folder(out) as folder:
        run = RunFolder(folder)
        run.begin(config, spec)
        write_source(folder, published)
        run.save(0, Checkpoint(networks.tensors(), {}, {"progress": {}}))
        _write_spawns(spawns, run.starts, spec)
    size = sum(networks.parameter_counts().values())
    print(f"{out}: {spec.name}, {size:,} parameters from {published.source}, {len(spawns)} places to start dreams from")


def _game(options: ImportOptions) -> str:
    """The game meant, without its family; UserError unless the options name one file and one game."""
    if (options.file is None) == (not options.from_hub):
        raise UserError(
            "give either a file of weights with --env atari/<Game>, or with --shooter --spawn DIR, or --from-hub <Game>"
        )
    if options.file is not None:
        if not options.env.startswith("atari/"):
            raise UserError("say which game the weights play: --env atari/<Game>")
        return options.env.removeprefix("atari/")

    game = published_game(options.from_hub)
    if options.env not in ("", f"atari/{game}") or options.config is not None:
        raise UserError(f"leave out --env and --config: --from-hub {game} brings both")
    return game


def _published(options: ImportOptions, game: str) -> Published:

    if options.file is None:
        return download(game)
    config = read_config(options.config) if options.config is not None else None
    return Published(options.file, config, options.file.name)


def _import(published: Published, env_id: str, out: Path, steps: int) -> None:
    """Make the run folder `out`: configuration, checkpoint 0, replay of `steps` real steps."""

    tensors = read_tensors(published.file)
    config = imported_config(env_id, published.config, tensors)
    with closing(make_env(config.env, config.environment)) as env:
        networks = imported_networks(config, env.spec, tensors)
        with atomic_folder(out) as folder:
            run = RunFolder(folder)
            run.begin(config, env.spec)
            write_source(folder, published)
            # No optimisers, no random states: it can be read as any checkpoint, but not be resumed.
            progress = {"progress": {}, "env_steps": config.collection.total_steps}
            run.save(0, Checkpoint(networks.tensors(), {}, progress))
            if steps:  # played as in a test: no random actions
                policy = load(folder, "cpu").player(1, temperature=config.evaluation.temperature, seed=config.seed)
                with (
                    Dataset.create(run.replay, env.spec) as dataset,
                    Display().bar("collecting", "step", steps) as advance,
                ):
                    record_games(env, policy, dataset, steps, config.seed, advance)
    size = sum(networks.parameter_counts().values())
    started = f"{steps:,} real steps to start dreams from" if steps else "no real steps"
    print(f"{out}: {config.env}, {size:,} parameters from {published.source}, {started}")


def _write_spawns(spawns: Sequence[Spawn], folder: Path, spec: GameSpec) -> None:
    """The starting places as a data set, an episode each, and what was done after them."""
    later = {}
    with Dataset.create(folder, spec) as dataset:
        for spawn in spawns:
            episode = dataset.new_episode()
            for frame, action in zip(spawn.frames, spawn.actions, strict=True):
                dataset.append(episode, frame, action, 0.0, False, False)
            later[episode] = spawn.following
    write_later_actions(folder, later)
