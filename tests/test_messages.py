"""What messages and docstrings name exists."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec

import pytest
from paths import ROOT

SOURCES = sorted(
    path for folder in ("edgevit", "backends", "examples") for path in (ROOT / folder).rglob("*.py")
)
NAME = re.compile(r"\bedgevit(?:\.[A-Za-z_]\w*)+")

# Keys of a model file's metadata, the entry points' group, and files: no names of Python.
OTHERS = {"edgevit.spec", "edgevit.multiply_adds", "edgevit.backends", "edgevit.onnx"}


def names_in(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from NAME.findall(node.value)


def resolves(name):
    """Follow the name from the package on, as a user would type it."""
    found = import_module("edgevit")
    path = "edgevit"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        try:
            found = getattr(found, part, None) or import_module(path)
        except ModuleNotFoundError as exc:  # PyTorch, say; or no such module of edgevit's
            return not exc.name.startswith("edgevit") and find_spec(exc.name) is None
    return True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_of_edgevit_in_a_string_exists(path):
    assert [name for name in names_in(path) if name not in OTHERS and not resolves(name)] == []
