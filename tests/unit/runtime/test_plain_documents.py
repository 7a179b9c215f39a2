"""What a caller's mapping may hold, and that a fast hash is the slow one."""

import enum
import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime.contracts.canonical import (
    canonical_json,
    canonical_json_of_simple,
    input_hash,
)
from planner_runtime.contracts.plain import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_VALUES,
    PlainError,
    plain_document,
)

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(1e-4, 1e16) | st.text()
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda below: st.lists(below) | st.lists(below).map(tuple) | st.dictionaries(st.text(), below),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), VALUES))
def test_of_a_simple_document_msgspec_writes_every_byte_as_python_does(
    document: dict[str, Any],
) -> None:
    plain = plain_document(document)
    assert plain.document is document
    if plain.is_simple:
        assert canonical_json_of_simple(document) == canonical_json(document)
    assert input_hash(document, is_simple=plain.is_simple) == input_hash(document)


@given(st.floats(1e-4, 1e16, exclude_max=True), st.sampled_from((1.0, -1.0)))
def test_ordinary_numbers_are_simple(number: float, sign: float) -> None:
    document = {"x": sign * number, "nil": 0.0, "less": -0.0}
    assert plain_document(document).is_simple
    assert canonical_json_of_simple(document) == canonical_json(document)


@pytest.mark.parametrize("number", [1e16, 9.9e-5, 1e-5, -1e-5, -1e16, 1e300, 5e-324])
def test_numbers_that_are_written_with_an_exponent_are_not(number: float) -> None:
    assert not plain_document({"a": [{"x": number}]}).is_simple


def test_every_character_is_written_alike() -> None:
    document = {
        chr(c): chr(c) for c in (*range(0x300), *range(0xD700, 0xD800), *range(0xE000, 0xE100))
    }
    document["\U0001f600"] = "\uffff\U0010ffff"
    assert plain_document(document).is_simple
    assert canonical_json_of_simple(document) == canonical_json(document)


class Word(str):
    def __str__(self) -> str:
        raise RuntimeError("read")

    def __len__(self) -> int:
        return 1


class Colour(enum.StrEnum):
    RED = "red"


class Few(enum.IntEnum):
    TWO = 2


class Share(float):
    def __float__(self) -> float:
        raise RuntimeError("read")


class Endless(dict[str, Any]):
    def items(self) -> Any:
        while True:
            yield "x", 1

    def __len__(self) -> int:
        return 0


def test_of_subclasses_what_they_hold_is_read_and_nothing_of_theirs_is_called() -> None:
    odd = Endless(a=[Word("w"), Colour.RED], b=(Few.TWO, Share(0.5)), c=OrderedDict(d=None, e=True))
    plain = plain_document(odd)
    assert plain == ({"a": ["w", "red"], "b": [2, 0.5], "c": {"d": None, "e": True}}, True)
    assert [type(one) for one in (*plain.document["a"], *plain.document["b"])] == [
        str, str, int, float,
    ]  # fmt: skip
    assert json.loads(canonical_json_of_simple(plain.document)) == plain.document


def test_keys_that_are_no_text_are_kept_for_python_to_write() -> None:
    plain = plain_document({"a": {1: 2, 10: 3, 9: 4}})
    assert not plain.is_simple
    assert input_hash(plain.document, is_simple=plain.is_simple) == input_hash(plain.document)


def holds_itself() -> dict[str, Any]:
    document: dict[str, Any] = {"x": 1}
    document["self"] = document
    return document


def laughs() -> dict[str, Any]:
    """Forty lists, each ten times in the next: small in memory, endless when written."""
    value: Any = ["ha"]
    for _ in range(40):
        value = [value] * 10
    return {"x": value}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"a": {"b": [1, float("nan")]}}, "$.a.b[1]: number is not finite"),
        ({"a": float("-inf")}, "$.a: number is not finite"),
        ({"a": "x" * (MAX_CHARS + 1)}, "$: more than"),
        ({"x" * (MAX_CHARS + 1): 1}, "$: more than"),
        ({"a": ["x" * 1_000] * 2_000}, "$: more than"),
        ({"a": [0] * (MAX_VALUES + 1)}, "$: more than"),
        (laughs(), "$: more than"),
        ({"a": [float("nan"), laughs()]}, "$.a[0]: number is not finite"),
        (holds_itself(), "$: nested too deeply"),
        ({"a": holds_itself(), "b": Colour.RED}, "$: "),
        (Endless(a=holds_itself()), "$: nested too deeply"),
        ({"a": {1, 2}}, "$: set has no JSON form"),
        ({"a": b"bytes"}, "$: bytes has no JSON form"),
        ({"a": MappingProxyType({})}, "$: mappingproxy has no JSON form"),
        ({(1, 2): 3}, "$: tuple has no JSON form"),
    ],
)  # fmt: skip
def test_what_json_could_not_have_given_is_refused(document: dict[Any, Any], where: str) -> None:
    with pytest.raises(PlainError) as refused:
        plain_document(document)
    assert str(refused.value).startswith(where)


def test_depth_is_counted_in_containers() -> None:
    document: dict[str, Any] = {}
    for _ in range(MAX_DEPTH - 1):
        document = {"a": document}
    assert plain_document(document).is_simple
    with pytest.raises(PlainError, match="nested too deeply"):
        plain_document({"a": document})
