"""Mistakes on the command line are told in one line that says each thing once."""

import pytest

from diffworld.commands.evaluate import EvaluateOptions
from diffworld.commands.parsing import parse
from diffworld.runtime.errors import UserError

HELP = " (try: diffworld evaluate --help)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--games", "3"], "Unrecognized options: --games, 3"),
        (["run", "--episode", "3"], "Unrecognized options: --episode, 3 Perhaps you meant: --episodes INT"),
        (["run", "--policy", "best"], "invalid choice 'best' for argument '--policy'. Expected one of"),
        (["run", "--episodes", "x"], "--episodes: 'x' is no whole number"),
        ([], "Missing from diffworld evaluate: PATH The run folder."),
    ],
)
def test_a_mistake_is_told_once_in_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(EvaluateOptions, "diffworld evaluate", arguments)
    message = str(error.value)
    assert message.startswith(said)
    assert message.endswith(HELP)
    assert "helptext," not in message and "\n" not in message
