"""Keys pressed in a view are the view's, not JupyterLab's."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.lab import jupyterlab
from tests.browser.pages import STATUS, NotebookPage, chromium

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(400)]

CELLS = [
    """
import rxmps3
from rxmps3.jupyter import live, table
db = await rxmps3.connect("memory:keys", by="ana")
db.put_all({f"job/{n}": {"cost": n, "state": "ready"} for n in range(5)})
table(db, "job/")
""",
    "live(db.observe_prefix('job/'))",
    "db.key('job/1')",
]
FOCUS = "document.querySelector('.rx-focus')?.textContent"


def test_a_table_in_jupyterlab_is_worked_by_keys(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "notebooks/keys.ipynb")
    with jupyterlab(tmp_path / "notebooks", tmp_path / "home") as lab, chromium(tmp_path / "profile") as chrome:
        page = NotebookPage(chrome, lab, "keys.ipynb", code_cells=len(CELLS))
        page.run(0, len(CELLS) - 1)
        page.wait("return document.querySelectorAll('.rx-space .rx-tr').length === 5")
        chrome.find_elements(By.CSS_SELECTOR, ".rx-space .rx-td")[1].click()
        count = page.ask("return document.querySelectorAll('.jp-CodeCell').length")  # the last one made a new one below
        before = page.wait(f"return {FOCUS}")
        page.press(Keys.ARROW_DOWN)
        page.wait(f"return {FOCUS} !== '{before}'")
        page.press(Keys.ENTER)
        page.press(Keys.CONTROL, "a")
        page.press("17", Keys.ENTER)
        page.wait("return document.querySelectorAll('.rxmps3-live')[0].innerText.includes('17')")
        for keys in ("d", "d", "b", "x", "j"):  # what deletes cells and makes them, in JupyterLab's command mode
            page.press(keys)
        page.press(Keys.END)
        page.wait(f"return {FOCUS} === 'ready'")
        assert page.ask("return document.querySelectorAll('.jp-CodeCell').length") == count
        assert page.ask("return document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]').length") == 0

        saved = tmp_path / "notebooks/keys.ipynb"
        before_saving = saved.stat().st_mtime_ns
        page.press(Keys.CONTROL, "s")
        page.until(lambda: saved.stat().st_mtime_ns != before_saving, "the notebook was saved")
        badges = "[...document.querySelectorAll('.rx-badge')].map(badge => badge.textContent)"
        other = NotebookPage(chrome, lab, "keys.ipynb", code_cells=len(CELLS) + 1)
        other.wait(f"return {badges}.length === 3 && {badges}.every(text => text.startsWith('live'))")

        page.ask("document.querySelector('.jp-Notebook').focus()")
        for keys in (Keys.ESCAPE, "0", "0"):  # restart the kernel
            page.press(keys)
        page.wait("return document.querySelector('.jp-Dialog .jp-mod-accept') !== null")
        page.press(Keys.ENTER)
        page.wait("return document.querySelector('.jp-Dialog') === null")
        asked = time.monotonic()
        page.wait(f"return {STATUS} === 'idle' && {badges}.every(text => text === 'kernel gone')")
        other.wait(f"return {badges}.every(text => text === 'kernel gone')")
        assert time.monotonic() - asked < 30, "a page is told, and does not have to wait for an answer that never comes"
