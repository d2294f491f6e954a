"""Every notebook runs in a real kernel, and what it is saved with is what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


VARIES = r"0x[0-9a-f]+|'[0-9a-v]{12}-\d+'|[\d,]+(?= throws)|(?<=π ≈ )\d\.\d+"


def said(notebook: Any) -> list[list[str]]:
    """Per code cell the texts of its outputs; what differs each time, as ids and counts, is left out."""
    return [
        [re.sub(VARIES, "…", output.get("text") or output["data"].get("text/plain", "")) for output in cell["outputs"]]
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_a_notebook_says_what_it_is_saved_with(path: Path) -> None:
    saved = nbformat.read(path, 4)
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    await NotebookClient(notebook, timeout=60, kernel_name="python3").async_execute()
    assert said(notebook) == said(saved)
    assert any(said(saved)), "saved with its outputs"


def test_there_are_three_notebooks_and_they_name_no_place_on_a_machine() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["composing", "dashboard", "quickstart"]
    for path in NOTEBOOKS:
        assert not re.search(r"/(tmp|root|home|work|var)/", path.read_text()), path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_saved_can_be_read_where_nothing_runs(path: Path) -> None:
    """A widget is an error message without its kernel: the notebooks are saved with the text that goes with it."""
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert " object at 0x" not in str(output)
