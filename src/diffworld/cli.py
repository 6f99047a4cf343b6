"""The `diffworld` command."""

import difflib
import importlib
import os
import sys
import warnings
from dataclasses import dataclass

from diffworld import __version__
from diffworld.runtime.errors import UserError
from diffworld.runtime.malloc import keep_memory


@dataclass(frozen=True)
class Command:
    """What a command is called with, what it is for, and what it runs."""

    usage: str
    summary: str

    def main(self, arguments: list[str]) -> int:
        """Import the command's module, and run it."""
        name = self.usage.split()[0].replace("-", "_")
        module = importlib.import_module(f"diffworld.commands.{name}")
        return int(module.main(arguments))


COMMANDS = {
    "train": Command("train --preset demo", "learn a real Atari game from its dreams"),
    "play": Command("play RUN", "play in the dream, in a browser (or: play --demo)"),
    "evaluate": Command("evaluate RUN", "play whole games with a run's agent, and save every score"),
    "fidelity": Command("fidelity RUN", "measure how long a run's dream stays true to the game"),
    "report": Command("report [RUN...]", "compare runs with every published Atari 100k method"),
    "sweep": Command("sweep FILE", "train games x seeds x settings, then report on them"),
    "record": Command("record --env ID --out DIR", "record a data set of real episodes"),
    "import-data": Command("import-data SOURCE... --out DATA", "make a data set of recordings of your own game"),
    "data": Command("data DATA", "look at a data set before training on it"),
    "import-weights": Command("import-weights FILE --env ID", "make a run of published weights"),
    "verify-golden": Command("verify-golden FOLDER", "check the networks against published numbers"),
}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"diffworld {__version__}: reinforcement learning inside a diffusion world model", ""]
    lines += [f"  diffworld {command.usage:32} {command.summary}" for command in COMMANDS.values()]
    lines += ["", "diffworld COMMAND --help explains every option."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a UserError becomes one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    keep_memory()
    try:
        if arguments[0] not in COMMANDS:
            raise UserError(f"unknown command '{arguments[0]}'{_did_you_mean(arguments[0], list(COMMANDS))}")
        return COMMANDS[arguments[0]].main(arguments[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may Python complain at its end
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{close[0]}'?" if close else f": choose one of {', '.join(known)}"


if __name__ == "__main__":
    sys.exit(main())
