"""Settings with a range, declared where the field is declared, and data from files checked against dataclasses."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from diffworld.runtime.errors import UserError, one_line

LARGEST = 2**31 - 1
Count = Annotated[int, Ge(1), Le(LARGEST)]
"""A whole number of at least 1."""
MOST_GAMES = 1024
Games = Annotated[int, Ge(1), Le(MOST_GAMES)]
"""Games played side by side."""
Natural = Annotated[int, Ge(0), Le(LARGEST)]
"""A whole number of at least 0."""
Share = Annotated[float, Ge(0), Le(1)]
"""A share or probability."""
Amount = Annotated[float, Ge(0), Lt(1e30)]
"""A finite number of at least 0."""
Positive = Annotated[float, Gt(0), Lt(1e30)]
"""A finite number above 0."""
Number = Annotated[float, Gt(-1e30), Lt(1e30)]
"""A finite number."""

T = TypeVar("T")

_SAID = {
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be above {gt}",
    "less_than_equal": "it must be at most {le}",
    "less_than": "it must be a finite number",
    "literal_error": "choose {expected}",
}


def checked(value: Any, prefix: str = "") -> None:
    """UserError, naming field and range, if a dataclass holds a value that its annotations do not allow."""
    _validate(type(value), dataclasses.asdict(value), prefix)


def read_as(cls: type[T], data: Any, where: str) -> T:
    """Dataclass `cls` from JSON data that has exactly its fields; UserError, one line, for anything else."""
    if not isinstance(data, dict):
        raise UserError(f"{where} should be a JSON object")
    value = _validate(cls, data, f"{where}: ")
    if odd := _odd_field(data, dataclasses.asdict(value)):  # type: ignore[call-overload]
        raise UserError(f"{where} has {odd}: another version wrote it")
    return value


def _validate(cls: type[T], data: dict[str, Any], prefix: str) -> T:
    from pydantic import ValidationError

    try:
        # As JSON: strict there means that "3" and true are no numbers, while a list may be a tuple, and text a path.
        # Of a path that the locale could not decode, the bytes themselves.
        text = json.dumps(data, default=str, ensure_ascii=False).encode(errors="surrogateescape")
        value: T = _adapter(cls).validate_json(text, strict=True)  # type: ignore[arg-type]
        return value
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise UserError(f"{prefix}it holds text that is not UTF-8") from None
        name = ".".join(str(step) for step in first["loc"] if not isinstance(step, int)) or "it"
        said = _SAID.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
        given = one_line(first["input"], 60)
        raise UserError(f"{prefix}{name} is {given}; {said[0].lower()}{said[1:]}") from None
    except (RecursionError, TypeError, UnicodeEncodeError):
        raise UserError(f"{prefix}it is no configuration") from None


@functools.cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _odd_field(data: Any, expected: Any) -> str:
    """In words, a field that one of two trees has and the other has not; empty if there is none."""
    if not isinstance(data, dict) or not isinstance(expected, dict):
        return ""
    for name in sorted(data.keys() ^ expected.keys()):
        return f"an unknown field '{one_line(name)}'" if name in data else f"no field '{name}'"
    return next((odd for name in data if (odd := _odd_field(data[name], expected[name]))), "")
