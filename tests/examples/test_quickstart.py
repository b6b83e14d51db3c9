"""The notebook runs from top to bottom, and is stored without what it answered."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
nbformat = pytest.importorskip("nbformat", reason="nbformat and nbclient are not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")


def test_the_notebook_classifies_detects_and_segments():
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == 3
    assert "airplane" in outputs[0]["text"]


def test_the_notebook_is_stored_without_answers():
    cells = [c for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
