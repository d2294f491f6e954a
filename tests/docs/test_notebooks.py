"""Every notebook runs in a real kernel, and what it is saved with is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.docs.notebooks import NOTEBOOKS, ROOT, WIDGET, code_cells, run, said, said_by, temporary_files_in
from tests.jupyter.kernels import kernel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAMES = [
    *("composing", "dashboard", "live_queries", "multiplayer_ana", "multiplayer_ben", "offline", "quickstart"),
    "time_travel",
]
LONG = {"live_queries"}
ALONE = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.heavy, pytest.mark.timeout(200)] if path.stem in LONG else [])
    for path in NOTEBOOKS
    if not path.stem.startswith("multiplayer")
]


@pytest.mark.parametrize("path", ALONE)
async def test_a_notebook_says_what_it_is_saved_with(path: Path, tmp_path: Path) -> None:
    saved = nbformat.read(path, 4)
    assert said(await run(path, tmp_path)) == said(saved)
    assert any(said(saved)), "saved with its outputs"


async def test_the_notebooks_of_two_people_share_one_state(tmp_path: Path) -> None:
    with temporary_files_in(tmp_path):
        async with kernel() as ana, kernel() as ben:
            for name, running in (("ana", ana), ("ben", ben)):
                saved = nbformat.read(ROOT / f"notebooks/multiplayer_{name}.ipynb", 4)
                cells = [running.cell(cell["source"]) for cell in code_cells(saved)]
                for cell in cells:
                    await running.run(cell)
                assert said_by(cells) == said(saved)
            await ben.run("slider.value = 80\nawait db.put('list/3', {'what': 'map', 'who': 'Ben'})")
            await ana.run(until("volume", "item == 80"))
            await ana.run(until("db.presence(poll=0.1)", "len(item) == 2"))
            await ana.run("await db.refresh()")
            assert await ana.run("slider.value, (await db.get('list/2'))['who'], db.keys('list/')") == (
                "(80, 'Ben', ['list/1', 'list/2', 'list/3'])"
            )
            assert await ana.run("sorted(one.me['name'] for one in item.values())") == "['Ana', 'Ben']"


def until(source: str, condition: str) -> str:
    """A cell that waits for an item."""
    return f"async with db.iterate({source}) as items:\n  async for item in items:\n    if {condition}: break"


def test_these_are_the_notebooks_and_they_name_no_place_on_a_machine() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES
    for path in NOTEBOOKS:
        assert not re.search(r"[\"'( ]/(tmp|root|home|work|var)/", path.read_text()), path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_saved_can_be_read_where_nothing_runs(path: Path) -> None:
    """A widget is an error message without its kernel: it is saved as a text and a picture of it."""
    pictures = 0
    for cell in code_cells(nbformat.read(path, 4)):
        for output in cell["outputs"]:
            data = output.get("data", {})
            assert WIDGET not in data
            assert " object at 0x" not in str(data.get("text/plain", ""))
            pictures += "image/png" in data
    assert pictures >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)]+)\)", cell["source"]):
                assert link.startswith("https://") or (path.parent / link.split("#")[0]).exists(), link
