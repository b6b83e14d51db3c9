from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit.core.records import (
    OPTIONAL,
    is_int,
    is_number,
    parse,
    parse_json,
    require_count,
    shown,
    without_defaults,
)
from edgevit.errors import SpecError

HUGE = 16**5000  # Python refuses to write it in decimal digits
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@dataclass(frozen=True)
class Point:
    name: str
    position: tuple[int, ...]
    weight: float = 1.0

    def __post_init__(self):
        for at, value in enumerate(self.position):
            require_count(f"position[{at}]", value)


@dataclass(frozen=True)
class Shape:
    start: Point
    end: Point | None
    pair: tuple[str, bool]
    points: Mapping[str, Point]


def doubled(value, where):
    return value * 2


@dataclass(frozen=True)
class Odd:
    twice: Annotated[bytes, doubled]
    note: str | None
    more: "Point | None"
    kind: str = field(default="plain", metadata=OPTIONAL)


POINT = {"name": "a", "position": [1, 2], "weight": 1}


def test_a_record_has_exactly_the_fields_and_lists_become_tuples():
    point = parse(Point, POINT, "point")
    assert point == Point("a", (1, 2), 1)
    assert isinstance(point.weight, int)  # so that it is written as it was


def test_records_lie_in_records_lists_and_mappings():
    data = {"start": POINT, "end": None, "pair": ["x", True], "points": {"p q": POINT}}
    point = Point("a", (1, 2))
    assert parse(Shape, data, "shape") == Shape(point, None, ("x", True), {"p q": point})


def test_a_type_that_json_lacks_is_read_by_its_own_function():
    odd = parse(Odd, {"twice": b"ab", "note": None, "more": POINT}, "odd")
    assert odd == Odd(b"abab", None, Point("a", (1, 2)), "plain")


def test_optional_keys_are_written_only_where_they_say_something():
    assert without_defaults(Odd, {"note": "", "kind": "plain"}) == {"note": ""}
    assert without_defaults(Odd, {"note": "", "kind": "odd"}) == {"note": "", "kind": "odd"}


def test_keys_beside_the_fields_must_be_given_and_are_left_to_the_caller():
    assert parse(Point, {**POINT, "schema": 3}, "point", beside=("schema",)) == Point("a", (1, 2))
    with pytest.raises(SpecError, match="point lacks the key 'schema'"):
        parse(Point, POINT, "point", beside=("schema",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "point lacks the key 'name'"),
        ({"name": "a", "position": []}, "lacks the key 'weight'; every key must be given"),
        ({"name": "a", "posision": []}, "unknown key 'posision'.*did you mean 'position'"),
        ([], "point must be a mapping, not list"),
        ({**POINT, 3: 4}, "unknown key 3"),
        ({**POINT, HUGE: 4}, "unknown key a whole number of 20001 bits"),
        ({**POINT, "name": 3}, r"point\.name must be a text, not 3"),
        ({**POINT, "position": "ab"}, r"point\.position must be a list, not 'ab'"),
        ({**POINT, "position": DEEP}, r"point\.position\[0\] must be a whole number, not \[\["),
        ({**POINT, "position": [1, 2.0]}, r"point\.position\[1\] must be a whole number, not 2\.0"),
        ({**POINT, "position": [1, 0]}, r"point\.position\[1\] must be a whole number from 1 up"),
        ({**POINT, "weight": True}, r"point\.weight must be a number, not True"),
    ],
    ids=lambda value: None if isinstance(value, str) else shown(value),
)
def test_other_records_are_refused(data, message):
    with pytest.raises(SpecError, match=message):
        parse(Point, data, "point")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": None}, r"shape\.start must be a mapping, not NoneType"),
        ({"end": {}}, r"shape\.end lacks the key 'name'"),
        ({"pair": ["x"]}, r"shape\.pair must be a list of 2, not \['x'\]"),
        ({"pair": ["x", 1]}, r"shape\.pair\[1\] must be true or false, not 1"),
        ({"points": [1]}, r"shape\.points must be a mapping with texts as keys, not \[1\]"),
        ({"points": {1: POINT}}, r"shape\.points must be a mapping with texts as keys"),
        ({"points": {"\x1b": {}}}, r"shape\.points\['\\x1b'\] lacks the key 'name'"),
    ],
)
def test_a_message_names_the_key_path(change, message):
    data = {"start": POINT, "end": None, "pair": ["x", True], "points": {}, **change}
    with pytest.raises(SpecError, match=f"^{message}"):
        parse(Shape, data, "shape")


def test_a_text_that_may_be_null_says_so():
    with pytest.raises(SpecError, match=r"odd\.note must be a text or null, not 3"):
        parse(Odd, {"twice": b"", "note": 3, "more": None}, "odd")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5000], ids=lambda t: t[:5])
def test_text_that_is_no_json_is_refused(text):
    with pytest.raises(SpecError, match="the file is not JSON"):
        parse_json(text, "the file")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(5000).map(lambda digits: 16**digits),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=6,
)


@given(st.fixed_dictionaries({"name": values, "position": values, "weight": values}) | values)
def test_any_data_is_read_or_refused(data):
    try:
        assert isinstance(parse(Point, data, "point"), Point)
    except SpecError as exc:
        assert str(exc).isprintable()


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [(1, True, True), (1.0, False, True), (True, False, False), ("1", False, False)],
    ids=repr,
)
def test_a_bool_is_no_number(value, whole, number):
    assert (is_int(value), is_number(value)) == (whole, number)
