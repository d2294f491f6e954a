"""How the notebooks are run, and saved with what they show.

``python -m tests.docs.notebooks [NAME…]`` runs notebooks and saves them with their texts. The pictures of their views
come from a browser, which keeps the texts: ``RXMPS3_PICTURES=docs/images python -m pytest -m browser
tests/browser/test_notebooks.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

__all__ = ["NOTEBOOKS", "ROOT", "WIDGET", "code_cells", "run", "said", "said_by", "saved_form", "temporary_files_in"]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
VARIES = r"0x[0-9a-f]+|'[0-9a-v]{12}-\d+'|[\d,]+(?= throws)|(?<=π ≈ )\d\.\d+"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell["cell_type"] == "code"]


def said(notebook: Any) -> list[list[str]]:
    """What its cells say."""
    return said_by(code_cells(notebook))


def said_by(cells: Sequence[Any]) -> list[list[str]]:
    """Per cell the texts of its outputs; what differs each time, as ids and counts, is left out."""
    return [
        [re.sub(VARIES, "…", output.get("text") or output["data"].get("text/plain", "")) for output in cell["outputs"]]
        for cell in cells
    ]


async def run(path: Path, folder: Path) -> Any:
    """A notebook, run in a kernel of its own.

    Args:
        path: the notebook.
        folder: where its kernel has temporary files, so that nothing of an earlier run is there.
    """
    notebook = nbformat.read(path, 4)
    for cell in code_cells(notebook):
        cell["outputs"] = []
    with temporary_files_in(folder):
        client = NotebookClient(notebook, timeout=60, kernel_name="python3")
        await client.async_execute()
    return notebook


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def saved_form(notebook: Any) -> Any:
    """A notebook that was run, as it is saved: a widget is an error message without its kernel, so its text stays."""
    for cell in code_cells(notebook):
        cell["metadata"] = {}
        for output in cell["outputs"]:
            output.get("data", {}).pop(WIDGET, None)
            output.get("metadata", {}).pop(WIDGET, None)
    notebook["metadata"].pop("widgets", None)
    return notebook


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # one for all: what Ana leaves there is what Ben finds
        for path in NOTEBOOKS:
            if not names or path.stem in names:
                nbformat.write(saved_form(asyncio.run(run(path, Path(folder)))), path)


if __name__ == "__main__":
    main(sys.argv[1:])
