"""The cells of the page on notebooks run in a real kernel."""

from __future__ import annotations

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("nbclient")

from tests.docs.blocks import ROOT, blocks_of
from tests.jupyter.kernels import kernel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def test_the_cells_of_the_page_run_and_those_that_show_something_show_a_widget() -> None:
    cells = [block for block in blocks_of(ROOT / "docs/jupyter.md") if block.language == "python3"]
    assert len(cells) >= 10
    shown = 0
    async with kernel() as running:
        for block in cells:
            cell = running.cell(block.text)
            await running.run(cell)
            assert not any(output["output_type"] == "error" for output in cell["outputs"]), block
            kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
            shown += "application/vnd.jupyter.widget-view+json" in kinds
        await running.run("await db.close()")
    assert shown == len(cells)


def test_every_view_has_a_place_on_the_page() -> None:
    from rxmps3 import jupyter

    page = (ROOT / "docs/jupyter.md").read_text()
    for name in jupyter.__all__:
        if name[0].islower():
            assert f"\n## {name}\n" in page, name
