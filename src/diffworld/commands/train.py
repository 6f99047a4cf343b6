"""`diffworld train`."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import given_option, parse, split_commas
from diffworld.config import Config, preset
from diffworld.config.presets import WORLDS
from diffworld.data import DatasetSchema
from diffworld.runtime.errors import UserError
from diffworld.runtime.ranks import Ranks, joined


@dataclass(frozen=True)
class TrainOptions:
    """Train a world model and an agent inside it. The same command resumes a run that was stopped.

    With --data DIR the world model of any data set is trained (recipe world); no game is needed then.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str = "demo"
    """The configuration to start from; every option below overrides a field of it (with --data: world-small, or
    world-medium or world-large, whose networks are as deep as the data's frames are large)."""
    out: Path | None = None
    """The run folder (default: runs/PRESET-GAME-SEED)."""
    dry_run: bool = False
    """Open the game or the data, measure a little of each phase, print time, memory and sizes, and train nothing."""
    show_config: bool = False
    """Print the whole configuration as JSON, and train nothing."""
    shard_optimisers: bool = False
    """Under torchrun: share out the optimisers' state, so that large networks need less memory of each GPU."""


def main(arguments: list[str]) -> int:
    """Train, resume, or only say what would be trained; under torchrun as one of several ranks."""
    with joined() as ranks:
        return train_among(ranks, arguments)


def train_among(ranks: Ranks, arguments: list[str]) -> int:
    """What `main` does, as this one of the ranks."""
    if not arguments:
        raise UserError(
            "say what to train: --preset demo (MinAtar Breakout, some minutes) or another preset, or --data DIR; "
            "diffworld train --help explains every option"
        )
    options = resolve(arguments)
    config = options.config
    game = (Path(config.data).name if config.data else config.env).replace("/", "-")
    out = options.out or Path("runs") / f"{options.preset}-{game}-{config.seed}"
    if options.show_config and ranks.first:
        config.check()
        print(config.to_json(), end="")
    if options.dry_run and ranks.first:
        from diffworld.training.dry_run import dry_run

        if ranks.several:
            print(f"what each of {ranks.count} ranks takes for its part of every batch; gradients do not travel here")
        dry_run(config.of_rank(ranks.count), options.preset)
    if options.show_config or options.dry_run:
        return 0
    from diffworld.training.interrupt import Interrupted
    from diffworld.training.run import train

    try:
        train(config, out, options.preset, ranks, options.shard_optimisers)
    except Interrupted:
        if ranks.first:
            print(f"stopped; everything is saved in {out}, and the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def resolve(arguments: list[str]) -> TrainOptions:
    """What the arguments of `diffworld train` mean, not yet checked to work together; UserError, one line."""
    data = given_option(arguments, "--data")
    name = given_option(arguments, "--preset") or ("demo" if data is None else "world-small")
    config = preset(name, *([DatasetSchema.read(Path(data)).spec.frame_size] if data and name in WORLDS else []))
    arguments = split_commas(arguments, but=("--out", "--data", "--init-from", "--env"))
    options = parse(TrainOptions, "diffworld train", arguments, TrainOptions(config, preset=name))
    asked = given_option(arguments, "--recipe")
    if options.config.data and asked is None and options.config.recipe == "diamond":  # a preset's sizes, on data
        options = replace(options, config=replace(options.config, recipe="world"))
    return options
