"""What our messages tell a user to do."""

import sys
from pathlib import Path

import pytest

from edgevit.errors import EXTRAS, install_hint, suggestion

ROOT = Path(__file__).parents[1]


def test_the_extras_are_those_of_pyproject():
    tomllib = pytest.importorskip("tomllib", reason="Python reads TOML from 3.11 on")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {
        name: tuple(requirements)
        for name, requirements in project["optional-dependencies"].items()
        if name not in ("all", "dev", "docs")
    }
    assert ours == EXTRAS


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_install_line_names_packages_and_not_this_project(extra):
    words = install_hint(extra).split()
    assert words[:4] == ["python", "-m", "pip", "install"]
    assert not any("edgevit" in word for word in words)


def test_what_is_not_made_for_this_processor_is_left_out(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert install_hint("tensorrt") == "python -m pip install 'cuda-bindings>=12.8'"


@pytest.mark.parametrize("folder", ["edgevit", "backends", "examples"])
def test_nobody_is_sent_to_an_index_that_does_not_hold_this_project(folder):
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")}
    assert [path for path, text in texts.items() if "'edgevit[" in text] == []


def test_a_message_with_a_suggestion_stays_a_sentence():
    known = ["onnxruntime", "openvino"]
    assert suggestion("openvinno", known) == " (did you mean 'openvino'?)"
    assert suggestion("tpu", known) == ""


def test_a_start_reads_no_metadata_for_its_hints(monkeypatch):
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)
    assert "'openvino>=" in install_hint("openvino")
