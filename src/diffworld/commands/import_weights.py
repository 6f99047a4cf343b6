"""`diffworld import-weights`."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import parse_checked
from diffworld.commands.record import record_games
from diffworld.compat.hub import download, published_game
from diffworld.compat.published import (
    Published,
    imported_config,
    imported_networks,
    read_config,
    read_tensors,
    write_source,
)
from diffworld.data import Dataset
from diffworld.envs import make_env
from diffworld.runs import Checkpoint, RunFolder, load
from diffworld.runtime.checked import Natural
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_folder, check_writable
from diffworld.runtime.progress import Display


@dataclass(frozen=True)
class ImportOptions:
    """Turn published weights into a run folder, to evaluate, to play, and to train from with --init-from."""

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """Flat state dict of the three networks, .pt or .safetensors, loaded as tensors only."""
    from_hub: str = ""
    """Instead of FILE: download this game's weights and configuration, such as Breakout."""
    env: str = ""
    """The game that the weights of FILE play: atari/<Game>."""
    out: Path | None = None
    """The run folder to make (default: runs/published-GAME)."""
    config: Path | None = None
    """Configuration of the networks in FILE, JSON or YAML (default: sizes follow from the tensors' shapes)."""
    steps: Natural = 1000
    """Real steps the imported agent plays at once, so that dreams have windows to start from; 0 plays none."""


def main(arguments: list[str]) -> int:
    """Import one file of weights; the run folder appears whole or not at all."""
    options = parse_checked(ImportOptions, "diffworld import-weights", arguments)
    game = _game(options)
    out = options.out or Path("runs") / f"published-{game}"
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists: choose another --out, or move it away")
    check_writable(out.parent)
    _import(_published(options, game), f"atari/{game}", out, options.steps)
    return 0


def _game(options: ImportOptions) -> str:
    """The game meant, without its family; UserError unless the options name one file and one game."""
    if (options.file is None) == (not options.from_hub):
        raise UserError("give either a file of weights with --env atari/<Game>, or --from-hub <Game>")
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
