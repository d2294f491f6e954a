"""The code of every notebook runs, cell by cell, as a kernel would run it."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


async def run(source: str, names: dict[str, Any], where: str) -> None:
    code: CodeType = compile(source, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
async def test_a_notebook_runs(notebook: Path) -> None:
    names: dict[str, Any] = {}
    for number, source in enumerate(cells(notebook)):
        await run(source, names, f"{notebook.name}, cell {number}")
    if notebook.stem == "quickstart":
        assert names["seen"][0] == {}
        assert {"todo/1": {"title": "milk"}, "todo/2": {"title": "bread"}} in names["seen"]
        assert names["titles"] == [["bread", "milk"], ["bread"]]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
