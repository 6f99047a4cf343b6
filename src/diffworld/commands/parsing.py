"""Options from the command line, with every mistake as one line."""

import io
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TypeVar

import tyro

from diffworld.runtime.checked import checked
from diffworld.runtime.errors import HelpShown, UserError, one_line

T = TypeVar("T")

_PLAINLY = {
    r"invalid literal for int\(\) with base 10: (.*?)(?= Argument|$)": r"\1 is no whole number",
    r"could not convert string to float: (.*?)(?= Argument|$)": r"\1 is no number",
    r"Error parsing (\S+:)": r"\1",
    r" Argument helptext: ": r"; ",
}
"""What Python and tyro say, and what a user understands."""


def parse(options: type[T], program: str, arguments: list[str], default: T | None = None) -> T:
    """Parse arguments into a dataclass with tyro, from `default` where given.

    Raises: UserError, one line, in place of tyro's boxes; HelpShown after `--help` was printed.
    """
    kwargs: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    wants_help = "-h" in arguments or "--help" in arguments
    try:
        with redirect_stderr(said), redirect_stderr(said) if wants_help else redirect_stdout(said):
            return tyro.cli(options, prog=program, args=arguments, **kwargs)
    except SystemExit as exit_:
        if not exit_.code:
            raise HelpShown(0) from None
        raise UserError(f"{one_line(_in_one_line(said.getvalue()), 300)} (try: {program} --help)") from None


def parse_checked(options: type[T], program: str, arguments: list[str], default: T | None = None) -> T:
    """As `parse`, and UserError, one line, for a value out of the range that its annotation names."""
    found = parse(options, program, arguments, default)
    try:
        checked(found)
    except UserError as error:
        name, _, rest = str(error).partition(" ")
        raise UserError(f"--{name.rpartition('.')[2].replace('_', '-')} {rest}") from None
    return found


def until_stopped(action: Callable[[], None], stopped: str) -> int:
    """The exit code of an action: 0, or 130 on Ctrl-C, with a line that says what became of it."""
    try:
        action()
    except KeyboardInterrupt:
        print(f"stopped: {stopped}", file=sys.stderr)
        return 130
    return 0


def _in_one_line(box: str) -> str:
    """What a box of tyro's says between rules of dashes, without its title and its last part, which names --help."""
    title, *parts = [" ".join(part.split()) for part in re.split(r"^[ -]*--[ -]*$", box, flags=re.MULTILINE)]
    said = " ".join(part for part in parts if not part.startswith("For full helptext")) or title
    for python, plain in _PLAINLY.items():
        said = re.sub(python, plain, said)
    return said


def demo_named(arguments: list[str], *before: str) -> list[str]:
    """`--demo [NAME]` as what it stands for: "demo/NAME", a model that comes with the package, after `before`."""
    named: list[str] = []
    for i, argument in enumerate(arguments):
        if argument == "--demo":
            named += [*before, "demo"]
        elif i and arguments[i - 1] == "--demo" and not argument.startswith("-"):
            named[-1] = f"demo/{argument}"
        else:
            named.append(argument)
    return named


def given_option(arguments: list[str], name: str) -> str | None:
    """The value that an option has on the command line, looked up before the rest is parsed.

    UserError if it is given twice with different values.
    """
    values = []
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            values.append(arguments[i + 1])
        elif argument.startswith(f"{name}="):
            values.append(argument.removeprefix(f"{name}="))
    if len(set(values)) > 1:
        raise UserError(f"{name} is given twice, as {values[0]} and as {values[1]}: choose one of them")
    return values[0] if values else None


def split_commas(arguments: list[str], but: tuple[str, ...] = ()) -> list[str]:
    """Let lists be given as `--networks denoiser,reward_end` or `--networks=denoiser,reward_end`.

    Values of the options named in `but` (such as paths) are left whole.
    """
    split: list[str] = []
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            listed = bool(equals) and "," in value and name not in but
            split += [name, *value.split(",")] if listed else [argument]
        else:
            split += [argument] if i and arguments[i - 1] in but else argument.split(",")
    return split
