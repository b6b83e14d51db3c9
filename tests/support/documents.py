"""Hypothesis strategies for JSON documents, and for documents with one thing wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

HOSTILE = (float("nan"), float("inf"), 10**400, -(10**400), "\ud800", "\x1b[2J", [[[[[[[[[]]]]]]]]])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def places(document: Any) -> Iterator[Any]:
    """Every mapping and list in a document, itself included, that holds something."""
    if isinstance(document, dict | list) and document:
        yield document
        for value in document.values() if isinstance(document, dict) else document:
            yield from places(value)


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Copy a document with another value somewhere."""
    document = copy.deepcopy(document)
    place = draw(st.sampled_from(list(places(document))))
    key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = draw(json_values)
    return document


@st.composite
def with_other_keys(draw: st.DrawFn, document: Any) -> Any:
    """Copy a document with a key too many or too few somewhere."""
    document = copy.deepcopy(document)
    place = draw(st.sampled_from([place for place in places(document) if isinstance(place, dict)]))
    if draw(st.booleans()):
        place[draw(st.text().filter(lambda key: key not in place))] = draw(json_values)
    else:
        del place[draw(st.sampled_from(list(place)))]
    return document
