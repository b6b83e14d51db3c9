from dataclasses import dataclass

import pytest

from edgevit.core.records import is_int, is_number, parse_record, strict_record
from edgevit.errors import SpecError


@dataclass(frozen=True)
class Point:
    name: str
    position: tuple[int, ...]


def test_a_record_has_exactly_the_fields_and_lists_become_tuples():
    point = parse_record(Point, {"name": "a", "position": [1, 2]}, "a point")
    assert point == Point("a", (1, 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a point lacks the key 'name'"),
        ({"name": "a", "posision": []}, "unknown key 'posision'.*did you mean 'position'"),
        ([], "a point must be a mapping, not list"),
        ({"name": "a", "position": [], 3: 4}, "unknown key 3"),
    ],
    ids=["missing", "misspelt", "list", "number"],
)
def test_other_records_are_refused(data, message):
    with pytest.raises(SpecError, match=message):
        strict_record(data, ("name", "position"), "a point")


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [(1, True, True), (1.0, False, True), (True, False, False), ("1", False, False)],
    ids=repr,
)
def test_a_bool_is_no_number(value, whole, number):
    assert (is_int(value), is_number(value)) == (whole, number)
