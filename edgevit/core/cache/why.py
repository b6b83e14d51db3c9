"""Why a model had to be compiled: what differs from the nearest one that is there."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

MOST_SHOWN = 3  # differences; a line is to be read at a glance
LONGEST_VALUE = 60

Facts = Mapping[str, Any]  # JSON values, which ones is the plugin's choice


def why_built(facts: Facts, others: Iterable[Facts]) -> str:
    """Say in one line why none of the compiled models of a file fits.

    Args:
        facts: what the wanted one is made from.
        others: what those of the same model path were made from, the newest first.

    Returns:
        `first build`, or how `facts` differs from the nearest of the others.

    Example:
        >>> why_built({"tensorrt": "10.16.1", "options": {"threads": 2}}, [])
        'first build'
        >>> others = [{"tensorrt": "10.3.0", "options": {"threads": 2}}]
        >>> why_built({"tensorrt": "10.16.1", "options": {"threads": 4}}, others)
        'option threads 2 -> 4, tensorrt 10.3.0 -> 10.16.1'
        >>> why_built({"files": {"": "ab"}}, [{"files": {"": "cd"}}])
        'the model file changed'
    """
    differences = [_differences(other, facts) for other in others]
    if not differences:
        return "first build"
    nearest = min(differences, key=len)
    left_out = len(nearest) - MOST_SHOWN
    more = [f"{left_out} more"] if left_out > 0 else []
    return ", ".join(nearest[:MOST_SHOWN] + more) or "the cached model is gone"


def _differences(old: Facts, new: Facts) -> list[str]:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    paths = sorted({*before, *after})
    return list(
        dict.fromkeys(
            _described(path, before.get(path), after.get(path))
            for path in paths
            if before.get(path) != after.get(path)
        )
    )


def _leaves(facts: Facts, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value if isinstance(value, str) else json.dumps(value)


def _described(path: tuple[str, ...], old: str | None, new: str | None) -> str:
    if path[0] == "files":
        return f"the weights {path[-1]} changed" if path[-1] else "the model file changed"
    kind = "option" if path[0] == "options" else path[0]
    return " ".join((kind, *path[1:], _shown(old), "->", _shown(new)))


def _shown(value: str | None) -> str:
    if value is None:
        return "unset"
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
