"""`diffworld train`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from diffworld.commands.parsing import parse, split_commas
from diffworld.config import Config
from diffworld.presets import preset

PROGRAM = "diffworld train"


@dataclass(frozen=True)
class TrainOptions:
    """Train a world model and an agent inside it. The same command resumes a run that was stopped."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str = "demo"
    """The configuration to start from; every option below overrides a field of it."""
    out: Path | None = None
    """The run folder (default: runs/PRESET-GAME-SEED)."""
    dry_run: bool = False
    """Print the resolved configuration, sizes and an estimated time, and train nothing."""


def main(arguments: list[str]) -> int:
    """Train, resume, or with --dry-run only say what would be trained."""
    options = resolve(arguments)
    config = options.config
    out = options.out or Path("runs") / f"{options.preset}-{config.env.replace('/', '-')}-{config.seed}"
    if options.dry_run:
        from diffworld.training.dry_run import dry_run

        dry_run(config)
        return 0
    from diffworld.training.interrupt import Interrupted
    from diffworld.training.run import train

    try:
        train(config, out)
    except Interrupted:
        print(f"stopped; everything is saved in {out}, and the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def resolve(arguments: list[str]) -> TrainOptions:
    """What the arguments of `diffworld train` mean, not yet checked to work together; UserError, one line."""
    name = _preset_name(arguments)
    arguments = split_commas(arguments, but=("--out", "--data", "--init-from", "--env"))
    return parse(TrainOptions, PROGRAM, arguments, TrainOptions(preset(name), preset=name))


def _preset_name(arguments: list[str]) -> str:
    """The preset is looked for first: it gives the defaults of everything else."""
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--preset="):
            return argument.removeprefix("--preset=")
    return "demo"
