"""The `diffworld` command."""

import difflib
import importlib
import io
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from diffworld import __version__
from diffworld.runtime.errors import HelpShown, SaidElsewhere, UserError
from diffworld.runtime.files import give_up_output, write_error
from diffworld.runtime.malloc import keep_memory
from diffworld.runtime.memory import check_room, memory_error, out_of_memory
from diffworld.runtime.openmp import sleep_when_waiting


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
    "train": Command("train --preset demo", "learn a game from nothing, in dreams of it"),
    "play": Command("play RUN", "play in the dream, in a browser (or: play --demo)"),
    "export": Command("export RUN --out FILE", "make one file of a dream, for others to play"),
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
    """Run a command; what the user can put right becomes one line on standard error and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the locale cannot write is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    return answered(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def answered(work: Callable[[], int]) -> int:
    """The exit code of a command's work: 2 after what the user can put right, which is one line on standard error."""
    try:
        code = work()
        sys.stdout.flush()  # while there is somebody to say why it cannot be
        return code
    except BrokenPipeError:  # whoever read our output has gone, as with `| head`
        give_up_output()
        return 1
    except SaidElsewhere:
        return 2
    except Exception as error:
        if (said := _in_words(error)) is None:
            raise
        return _refused(said)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except SystemExit as exit_:  # of a library or a game: only we say how a command ended
        return _refused(f"something in the command ended the program (exit code {exit_.code}): it is not done")


def _in_words(error: Exception) -> str | None:
    """What to say of an error that the user can put right; None of any other."""
    if no_memory := memory_error(error):
        return out_of_memory(no_memory)
    match error:
        case UserError():
            return str(error)
        case OSError():
            return str(_of_the_system(error))
        case UnicodeEncodeError():  # a path from a file, such as a run's data set
            return f"the locale cannot spell {error.object!a}: set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
    return None


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    if any("\0" in argument for argument in arguments):
        raise UserError("an argument holds a NUL character: no path or name has one")
    if arguments[0] not in COMMANDS:
        raise UserError(f"unknown command '{arguments[0]}'{_did_you_mean(arguments[0], list(COMMANDS))}")
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    keep_memory()
    sleep_when_waiting()
    try:
        check_room()
        return COMMANDS[arguments[0]].main(arguments[1:])
    except HelpShown:
        return 0


def _refused(said: str) -> int:
    """Say in one line what went wrong; the exit code."""
    with suppress(OSError):  # where nobody can be told, the exit code must do
        print(f"error: {' '.join(said.split())}", file=sys.stderr)
    return 2


def _of_the_system(error: OSError) -> UserError:
    """What the system refused, with the name of the file or of our own output."""
    if error.filename is not None:
        return write_error(error.filename, error, "use")
    try:
        print(flush=True)  # an empty line tells whether it is our own output that cannot be written
    except OSError:
        give_up_output()
        return write_error("to standard output", error)
    return write_error("on", error, "go")


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{close[0]}'?" if close else f": choose one of {', '.join(known)}"


if __name__ == "__main__":
    sys.exit(main())
