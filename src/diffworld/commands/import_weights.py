"""`diffworld import-weights`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diffworld.commands.parsing import parse
from diffworld.runtime.errors import UserError

if TYPE_CHECKING:  # what they bring takes a second to import
    from diffworld.compat.published import Published
    from diffworld.config import Config
    from diffworld.envs import VectorEnv
    from diffworld.recipes.networks import Networks
    from diffworld.runs.folder import RunFolder

PROGRAM = "diffworld import-weights"


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
    steps: int = 1000
    """Real steps the imported agent plays at once, so that dreams have windows to start from; 0 plays none."""


def main(arguments: list[str]) -> int:
    """Import one file of weights; the run folder appears whole or not at all."""
    options = parse(ImportOptions, PROGRAM, arguments)
    if options.steps < 0:
        raise UserError(f"--steps is {options.steps}; it must be at least 0")
    game = _game(options)
    out = options.out or Path("runs") / f"published-{game}"
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists: choose another --out, or move it away")
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
    from diffworld.compat.hub import published_game

    game = published_game(options.from_hub)
    if options.env not in ("", f"atari/{game}") or options.config is not None:
        raise UserError(f"leave out --env and --config: --from-hub {game} brings both")
    return game


def _published(options: ImportOptions, game: str) -> "Published":
    from diffworld.compat.hub import download
    from diffworld.compat.published import Published, read_config

    if options.file is None:
        return download(game)
    config = read_config(options.config) if options.config is not None else None
    return Published(options.file, config, options.file.name)


def _import(published: "Published", env_id: str, out: Path, steps: int) -> None:
    """Make the run folder `out`: configuration, replay of `steps` real steps, checkpoint 0."""
    from contextlib import closing

    from diffworld.compat.published import begin_imported_run, imported_config, imported_networks, read_tensors
    from diffworld.evaluation.games import make_game
    from diffworld.runs.folder import Checkpoint, RunFolder
    from diffworld.runtime.files import atomic_folder

    tensors = read_tensors(published.file)
    config = imported_config(env_id, published.config, tensors)
    with closing(make_game(config, 1)) as env:
        networks = imported_networks(config, env.num_actions, tensors)
        with atomic_folder(out) as folder:
            run = RunFolder(folder)
            begin_imported_run(run, config, published)
            rows = _collect(run, config, networks, env, steps) if steps else 0
            # No optimisers, no random states: it can be read as any checkpoint, but not be resumed.
            run.save(0, Checkpoint(networks.tensors(), {}, {"progress": {}, "replay_rows": rows}), keep=1)
    size = sum(networks.parameter_counts().values())
    started = f"{steps:,} real steps to start dreams from" if steps else "no real steps"
    print(f"{out}: {config.env}, {size:,} parameters from {published.source}, {started}")


def _collect(run: "RunFolder", config: "Config", networks: "Networks", env: "VectorEnv", steps: int) -> int:
    """Let the agent play into the run's replay; returns the rows written."""
    import torch

    from diffworld.agents.policy import ActorCriticPolicy
    from diffworld.data import Dataset
    from diffworld.recipes.collection import Collector
    from diffworld.runtime.progress import Display

    # As in a test: no random actions, and draws from a generator of its own.
    generator, temperature = torch.Generator().manual_seed(config.seed), config.evaluation.temperature
    policy = ActorCriticPolicy(networks.actor_critic, 1, temperature=temperature, generator=generator)
    info = {"env": env.env_id, "action_names": env.action_names}
    with (
        Dataset.create(run.replay, (*env.frame_size, 3), num_actions=env.num_actions, info=info) as dataset,
        Display().bar("collecting", "steps", steps) as advance,
    ):
        collector = Collector(env, dataset, policy, config.seed)
        for _ in range(steps):
            collector.collect(1)
            advance(1)
        return dataset.num_rows
