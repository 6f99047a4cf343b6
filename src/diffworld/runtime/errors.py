"""The one exception that reaches the user as a single line instead of a traceback."""


class UserError(Exception):
    """Something the user can put right; the message is one line and says what to do."""
