"""How long a newcomer takes to a live table: ``python -m tests.browser.newcomer``.

From nothing but Python: the command of `docs/jupyter.md` installs this checkout and JupyterLab into an empty environment,
and its first five lines are one cell, which is run in a real browser until the table shows both rows; then a key is
changed elsewhere, until the table shows that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat

from rxmps3.blocking import connect
from tests.browser.lab import jupyterlab
from tests.browser.pages import NotebookPage, chromium
from tests.docs.blocks import ROOT, blocks_of

NAME = "first.ipynb"
ROWS = "document.querySelectorAll('.rx-table .rx-space .rx-tr').length"


def first_cell(url: str) -> str:
    """The first lines of the page on notebooks, of a database at this URL."""
    lines = next(block.text for block in blocks_of(ROOT / "docs/jupyter.md") if block.language == "python3")
    assert len([line for line in lines.splitlines() if line]) == 5
    return lines.replace("memory:lab", url)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.1f} s", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebooks, python, url = folder / "notebooks", folder / "venv/bin/python", f"file:{folder}/bucket"
        notebooks.mkdir()
        cell = nbformat.v4.new_code_cell(first_cell(url))
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), notebooks / NAME)
        with _timed("an empty environment, installed into"):
            subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
            subprocess.run([python, "-m", "pip", "install", "-qq", f"{ROOT}[jupyter]", "jupyterlab"], check=True)
        with chromium(folder / "profile") as chrome:
            began = time.perf_counter()
            with jupyterlab(notebooks, folder / "home", python=str(python), PYTHONPATH="") as lab:
                page = NotebookPage(chrome, lab, NAME, code_cells=1)
                print(f"JupyterLab started, with the notebook open: {time.perf_counter() - began:.1f} s", flush=True)
                with _timed("the cell run, until the table shows its rows"):
                    page.run(0, 0)
                    page.wait(f"return {ROWS} === 2")
                with (
                    connect(url, poll=0.05) as db,
                    _timed("a key changed by another process, until the table shows it"),
                ):
                    db.put("job/1", {"state": "elsewhere", "cost": 3})
                    page.wait("return document.querySelector('.rx-table').innerText.includes('elsewhere')")
    return 0


if __name__ == "__main__":
    sys.exit(main())
