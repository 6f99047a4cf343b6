"""The `diffworld` command."""

import difflib
import io
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from diffworld import __version__
from diffworld.config import Config
from diffworld.errors import UserError
from diffworld.presets import PRESETS, preset

USAGE = f"""diffworld {__version__}: reinforcement learning inside a diffusion world model

  diffworld train --preset demo             learn a real Atari game from its dreams (about 10 minutes)
  diffworld train --preset NAME --help      every option, with the preset's values
  diffworld verify-golden FOLDER            check the networks against published numbers

presets: {", ".join(PRESETS)}
"""


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


@dataclass(frozen=True)
class VerifyOptions:
    """Check the networks against the numbers of the published implementation; one line a file."""

    folder: tyro.conf.Positional[Path]
    """Folder with atari_config.json or csgo_config.json and .npz files."""
    salt: str = ""
    """Text that goes before each name in the rule that gives the weights."""


def run_train(arguments: list[str]) -> int:
    """`diffworld train`."""
    name = _preset_name(arguments)
    default = TrainOptions(preset(name), preset=name)
    options = _parse(TrainOptions, "diffworld train", _split_commas(arguments), default)
    config = options.config
    out = options.out or Path("runs") / f"{name}-{config.env.replace('/', '-')}-{config.seed}"
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


def run_verify_golden(arguments: list[str]) -> int:
    """`diffworld verify-golden`."""
    from diffworld.compat.golden import verify_golden

    options = _parse(VerifyOptions, "diffworld verify-golden", arguments)
    failed = 0
    for result in verify_golden(options.folder, options.salt):
        verdict = "PASS" if result.passed else "FAIL"
        print(
            f"{verdict}  {result.name:26} largest error {result.error:.2e}  {result.note}".rstrip(),
            flush=True,
        )
        failed += not result.passed
    return 1 if failed else 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {"train": run_train, "verify-golden": run_verify_golden}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a UserError becomes one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    try:
        if arguments[0] not in COMMANDS:
            raise UserError(f"unknown command '{arguments[0]}'{_did_you_mean(arguments[0], list(COMMANDS))}")
        return COMMANDS[arguments[0]](arguments[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


T = TypeVar("T")


def _parse(options: type[T], program: str, arguments: list[str], default: T | None = None) -> T:
    """Parse with tyro; its boxes of errors become one line."""
    kwargs: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with (
            redirect_stderr(said),
            redirect_stdout(said) if not _wants_help(arguments) else redirect_stderr(said),
        ):
            return tyro.cli(options, prog=program, args=arguments, **kwargs)
    except SystemExit as exit_:
        if not exit_.code:
            raise
        words = " ".join(line.strip("╭╰│─╮╯ ") for line in said.getvalue().splitlines())
        raise UserError(f"{' '.join(words.split())[:300]} (try: {program} --help)") from None


def _wants_help(arguments: list[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _preset_name(arguments: list[str]) -> str:
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--preset="):
            return argument.removeprefix("--preset=")
    return "demo"


def _split_commas(arguments: list[str]) -> list[str]:
    """Lists may be given as `--parts denoiser,reward_end`."""
    split: list[str] = []
    for i, argument in enumerate(arguments):
        option = arguments[i - 1] if i else ""
        is_path = option in ("--out", "--data", "--init-from", "--env")
        split += [argument] if is_path or argument.startswith("-") else argument.split(",")
    return split


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{close[0]}'?" if close else f": choose one of {', '.join(known)}"


if __name__ == "__main__":
    sys.exit(main())
