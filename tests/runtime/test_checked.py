"""Ranges that stand where a field is declared, and data from files that are held against them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffworld.runtime.checked import Amount, Count, Natural, Number, Positive, Share, checked, read_as
from diffworld.runtime.errors import UserError


@dataclass(frozen=True)
class Inner:
    share: Share = 0.5
    number: Number = -1.0


@dataclass(frozen=True)
class Outer:
    count: Count = 1
    natural: Natural = 0
    amount: Amount = 0.0
    positive: Positive = 1.0
    kind: Literal["a", "b"] = "a"
    name: str = ""
    flag: bool = False
    path: Path | None = None
    sizes: tuple[Count, ...] = (1,)
    values: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "count": 3,
        "natural": 0,
        "amount": 0,
        "positive": 1.5,
        "kind": "b",
        "name": "x",
        "flag": True,
        "path": "/somewhere",
        "sizes": [1, 2],
        "values": {"a": 1.5},
        "inner": {"share": 1, "number": -2.5},
    } | changes


def test_what_is_in_range_is_read_in_its_own_types() -> None:
    outer = read_as(Outer, plain(), "file")
    assert outer == Outer(3, 0, 0.0, 1.5, "b", "x", True, Path("/somewhere"), (1, 2), {"a": 1.5}, Inner(1.0, -2.5))
    assert type(outer.amount) is float and type(outer.inner.share) is float
    checked(outer)
    checked(Outer())


WRONG = [
    ("count", 0, "count is 0; it must be at least 1"),
    ("count", 2**31, "it must be at most 2147483647"),
    ("count", 1.0, "count is 1.0;"),
    ("count", True, "count is True;"),
    ("count", "1", "count is 1;"),
    ("count", None, "count is None;"),
    ("natural", -1, "natural is -1; it must be at least 0"),
    ("amount", -0.5, "amount is -0.5; it must be at least 0"),
    ("amount", 1e300, "amount is 1e+300; it must be a finite number"),
    ("positive", 0, "positive is 0; it must be above 0"),
    ("kind", "c", "kind is c; choose 'a' or 'b'"),
    ("kind", "two\nlines", "kind is two lines; choose 'a' or 'b'"),
    ("name", 3, "name is 3;"),
    ("flag", 1, "flag is 1;"),
    ("sizes", [1, 0], "sizes is 0; it must be at least 1"),
    ("sizes", 1, "sizes is 1;"),
    ("values", {"a": "b"}, "values.a is b;"),
    ("inner", {"share": 1.5, "number": 0}, "inner.share is 1.5; it must be at most 1"),
    ("inner", [], "inner is [];"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_what_is_out_of_range_is_one_line(name: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        read_as(Outer, plain(**{name: value}), "file")
    assert str(error.value).startswith("file: ") and said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["amount", "positive"])
def test_no_number_that_is_not_finite(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name} is"):
        checked(Outer(**{name: value}))
    with pytest.raises(UserError, match=r"^section\.inner\.number is"):
        checked(Outer(inner=Inner(number=value)), "section.")


def test_a_field_too_many_or_too_few() -> None:
    for data, said in (
        (plain(surprise=1), "file has an unknown field 'surprise': another version wrote it"),
        ({k: v for k, v in plain().items() if k != "name"}, "file has no field 'name': another version wrote it"),
        (plain(inner={"share": 0}), "file has no field 'number'"),
        (plain(inner={"share": 0, "number": 0, "more": 1}), "file has an unknown field 'more'"),
    ):
        with pytest.raises(UserError) as error:
            read_as(Outer, data, "file")
        assert said in str(error.value)


@settings(max_examples=100)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=6,
    )
)
def test_any_other_data_is_one_line(data: Any) -> None:
    with pytest.raises(UserError) as error:
        read_as(Outer, data, "file")
    assert "\n" not in str(error.value)


def test_data_too_deep_to_read() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UserError):
        read_as(Outer, plain(inner=deep), "file")
