"""What reaches the user in one line instead of a traceback."""


class UserError(Exception):
    """Something the user can put right; the message is one line and says what to do.

    Whatever a file or a library put into the message, it stays one line, and no terminal takes it for an order.
    """

    def __init__(self, message: object) -> None:
        text = " ".join(str(message).split("\n"))
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


class HelpShown(SystemExit):
    """A command's help was asked for and printed; any other SystemExit is the doing of a library or a game."""


class SaidElsewhere(Exception):
    """Another rank of the same training has said why all of them end."""


def one_line(said: object, most: int = 120) -> str:
    """What a library or a file said, in one line of at most `most` characters, cut between words."""
    text = " ".join(str(said).split())
    if len(text) <= most:
        return text
    kept = text[: most - len(" ...")]
    return f"{kept.rpartition(' ')[0] or kept} ..."
