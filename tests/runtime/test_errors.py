"""What reaches the user is one line, cut between words, and nothing that a terminal takes for an order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffworld.runtime.errors import UserError, one_line


@pytest.mark.parametrize(
    ("said", "most", "expected"),
    [
        ("short", 10, "short"),
        ("two\n  lines", 10, "two lines"),
        ("exactly ten", 11, "exactly ten"),
        ("not in the middle of a word", 20, "not in the ..."),
        ("x" * 30, 10, "x" * 6 + " ..."),
        (ValueError("what a library said"), 100, "what a library said"),
    ],
)
def test_one_line_is_cut_between_words(said: object, most: int, expected: str) -> None:
    assert one_line(said, most) == expected


@given(st.text(), st.integers(5, 40))
def test_one_line_keeps_to_its_length(said: str, most: int) -> None:
    assert len(one_line(said, most)) <= most


@given(st.text())
def test_a_user_error_is_one_line_that_can_be_printed(said: str) -> None:
    message = str(UserError(said))
    assert len(message.splitlines()) <= 1
    message.encode()
    assert message.isprintable()


def test_what_can_be_printed_stays() -> None:
    assert str(UserError("é  'σ' \x1b[2J a\nb \udcc3")) == "é  'σ' \\x1b[2J a b \\udcc3"
