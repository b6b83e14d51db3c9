"""Plain YAML, read strictly: no tags, no aliases, no duplicate keys, bounded size and depth."""

from pathlib import Path
from typing import Any

import yaml

from edgevit.errors import SpecError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 20
MERGE = "tag:yaml.org,2002:merge"


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without aliases (which expand without bound), tags, equal keys, deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted")
        event = self.peek_event()  # type: ignore[no-untyped-call]  # it has no types
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError("tags (!name) are not accepted")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                raise yaml.YAMLError("a key must be a text; lists and merges (<<) are not accepted")
            name = self.construct_object(key)
            if name in mapping:
                raise yaml.YAMLError(f"the key {key.value!r} occurs twice")
            mapping[name] = self.construct_object(value, deep)
        return mapping


def read_yaml(path: Path) -> Any:  # YAML holds any value; callers check its shape
    """Read one YAML document.

    Args:
        path: a UTF-8 file of at most 4 MiB.

    Returns:
        Its value: mappings, lists, texts, numbers, booleans, None.

    Raises:
        SpecError: if the file is absent, too large, not UTF-8, or not plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise SpecError(f"the file {str(path)!r} cannot be read: {exc}") from exc
    if len(content) > MAX_BYTES:
        raise SpecError(f"the file {str(path)!r} is larger than {MAX_BYTES} bytes")
    try:
        return yaml.load(content.decode("utf-8"), _StrictLoader)
    except (yaml.YAMLError, ValueError) as exc:
        raise SpecError(f"the file {str(path)!r} is not plain YAML: {exc}") from exc
