"""The dashboard of the notebooks in JupyterLab, in two pages of a real browser.

The picture of `docs/jupyter.md` comes from here: ``RXMPS3_PICTURES=docs/images python -m pytest -m browser``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from selenium.webdriver.common.keys import Keys

from rxmps3.blocking import Database, connect
from tests.browser.lab import jupyterlab
from tests.browser.pages import NotebookPage, chromium
from tests.browser.pictures import save_in_docs, save_pictures
from tests.docs.blocks import ROOT

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(400)]

NAME = "dashboard.ipynb"
LIVE, PACE, STOP = ".rxmps3-live", ".rx-typed", ".rx-switch"
LIVE_CELL, FORM_CELL, LAST_BEFORE_WATCHING, LAST = 2, 4, 6, 7  # code cells
OUTSIDE = """
return performance.getEntriesByType('resource').map(one => one.name).filter(one => /^(https?|wss?):/.test(one))
    .filter(one => new URL(one).host !== location.host)
"""
END_KERNELS = """
const headers = {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)[1]};
fetch('/api/kernels').then(answer => answer.json()).then(kernels => {
    for (const kernel of kernels) fetch(`/api/kernels/${kernel.id}`, {method: 'DELETE', headers});
});
"""


def without_outputs(folder: Path) -> Path:
    """The notebook as somebody gets it who has not run it."""
    notebook = nbformat.read(ROOT / "notebooks" / NAME, 4)
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    folder.mkdir()
    nbformat.write(notebook, folder / NAME)
    return folder / NAME


def saved_text(notebook: Path) -> str | None:
    """What the live view is saved as; None while it is not."""
    try:
        code = [cell for cell in nbformat.read(notebook, 4).cells if cell["cell_type"] == "code"]
    except ValueError:
        return None  # in the middle of being written
    outputs = code[LIVE_CELL]["outputs"]
    return outputs[0]["data"]["text/plain"] if outputs else None


@contextmanager
def stopping_workers(db: Database) -> Iterator[None]:
    """Have the notebook's workers end in any case: they outlive its kernel."""
    try:
        yield
    finally:
        db.put("steering", {"pace": 20, "stop": True}).wait(30)


def save(page: NotebookPage, notebook: Path) -> None:
    before = notebook.stat().st_mtime_ns
    page.press(Keys.CONTROL, "s")
    page.until(lambda: notebook.stat().st_mtime_ns != before and bool(saved_text(notebook)), "the notebook was saved")


def test_two_pages_show_what_changes_while_no_cell_runs(tmp_path: Path) -> None:
    notebook, home, url = without_outputs(tmp_path / "notebooks"), tmp_path / "home", f"file:{tmp_path}/bucket"
    with (
        connect(url, manifest="pi", by="test", poll=0.2) as db,
        stopping_workers(db),
        jupyterlab(notebook.parent, home, RXMPS3_URL=url) as lab,
        chromium(tmp_path / "profile") as chrome,
    ):
        one = NotebookPage(chrome, lab, NAME, code_cells=LAST + 1)
        one.run(0, LAST_BEFORE_WATCHING)
        save(one, notebook)
        two = NotebookPage(chrome, lab, NAME, code_cells=LAST + 1)
        pages = (one, two)
        for page in pages:
            page.wait(f"return document.querySelector('{LIVE}')?.innerText.includes('together')")
            page.record(LIVE)
        for page in pages:
            page.wait("return new Set(window.recorded.map(one => one[1])).size >= 10")

        first, second = (page.recorded() for page in pages)
        assert {numbers for _, _, numbers in first + second} == {"[1]: [2]: [3]: [4]: [5]: [6]: [7]: [ ]:"}, (
            "no cell runs"
        )
        assert first[0][0] < second[-1][0], "both change at the same time"
        assert second[0][0] < first[-1][0]
        assert {text for _, text, _ in first} & {text for _, text, _ in second}, "and show the same"

        for page in pages:
            page.wait("return document.querySelectorAll('.rx-table .rx-space .rx-tr').length === 2")
            page.wait("return document.querySelectorAll('.rx-chart canvas').length === 1")
            page.wait("return document.querySelectorAll('.rx-person').length === 3")
            page.wait(
                "return [...document.querySelectorAll('.rx-badge')].every(one => /live|pending/.test(one.textContent))"
            )
            assert page.ask(OUTSIDE) == [], "nothing comes from elsewhere"

        db.put("steering", {"pace": 50, "stop": False})
        for page in pages:
            page.wait(f"return document.querySelector('{PACE}').value === '50'")
        one.picture(tmp_path / "dashboard.png", from_cell=1, height=1560)
        save_pictures(chrome, "dashboard", seconds=0)
        two.type_into(PACE, "10")
        one.wait(f"return document.querySelector('{PACE}').value === '10'")
        one.until(lambda: db["steering"] == {"pace": 10, "stop": False}, "what is done in a page is in the bucket")

        one.run(LAST, LAST)
        two.ask(f"document.querySelector('{STOP}').click()")
        one.wait(f"return document.querySelector('{STOP}').checked")
        for page in pages:
            page.wait("return document.querySelectorAll('.rx-person').length === 1")
        db.refresh()
        throws = sum(worker["throws"] for worker in db.get_prefix("worker/").values())
        for page in pages:
            page.wait(f"return document.querySelector('{LIVE}').innerText.includes('{throws:,} throws')")
        assert one.ask("return document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]').length") == 0

        one.ask(END_KERNELS)
        one.wait("return [...document.querySelectorAll('.rx-badge')].some(one => one.textContent === 'kernel gone')")
    save_in_docs("dashboard.png", tmp_path / "dashboard.png")
