"""The notebooks in JupyterLab, in a real browser: every view is drawn and alive while no cell runs.

Their pictures, which are saved in them, and those of the documentation come from here:
``RXMPS3_PICTURES=docs/images python -m pytest -m browser tests/browser/test_notebooks.py``.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.browser import soak
from tests.browser.lab import jupyterlab
from tests.browser.pages import NotebookPage, chromium, wait
from tests.browser.pictures import PICTURES, save_in_docs, save_pictures
from tests.docs.notebooks import NOTEBOOKS, ROOT, code_cells

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks as somebody gets them who has not run them."""
    folder = tmp_path_factory.mktemp("notebooks")
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, 4)
        for cell in code_cells(notebook):
            cell["outputs"], cell["execution_count"] = [], None
        nbformat.write(notebook, folder / path.name)
    soak.notebook(folder)
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    temporary = tmp_path_factory.mktemp("temporary")
    with jupyterlab(folder, tmp_path_factory.mktemp("home"), TMPDIR=str(temporary)) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def chrome(browser: webdriver.Chrome, lab: str) -> Iterator[webdriver.Chrome]:
    """The browser with one empty window; afterwards no kernel is left."""
    yield browser
    with urllib.request.urlopen(f"{lab}/api/kernels") as answer:
        kernels = [kernel["id"] for kernel in json.load(answer)]
    browser.execute_script(END_KERNELS, kernels)
    wait(browser, "window.ended")
    for window in browser.window_handles[1:]:
        browser.switch_to.window(window)
        browser.close()
    browser.switch_to.window(browser.window_handles[0])
    browser.get("about:blank")


END_KERNELS = """
const headers = {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)[1]};
const end = (kernel) => fetch(`/api/kernels/${kernel}`, {method: 'DELETE', headers});
Promise.all(arguments[0].map(end)).then(() => { window.ended = true; });
"""


def open_and_run(chrome: webdriver.Chrome, lab: str, name: str) -> NotebookPage:
    cells = len(code_cells(nbformat.read(ROOT / f"notebooks/{name}.ipynb", 4)))
    page = NotebookPage(chrome, lab, f"{name}.ipynb", code_cells=cells)
    page.run(0, cells - 1)
    return page


def check(page: NotebookPage, views: int) -> None:
    page.wait(f"return document.querySelectorAll('.jp-CodeCell .rx-badge').length === {views}")
    page.wait(
        "return [...document.querySelectorAll('.rx-badge')].every(one => /live|pending|ended/.test(one.textContent))"
    )
    assert page.ask("return document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]').length") == 0


@pytest.mark.parametrize(
    ("name", "views"),
    [("time_travel", 4), ("offline", 3), ("quickstart", 2), ("composing", 2), ("live_queries", 2)],
)
def test_the_views_of_a_notebook_live_while_no_cell_runs(
    name: str, views: int, lab: str, chrome: webdriver.Chrome
) -> None:
    page = open_and_run(chrome, lab, name)
    check(page, views)
    save_pictures(chrome, name)


HANDLE = ".widget-slider .noUi-handle"


def test_two_people_in_two_notebooks(lab: str, chrome: webdriver.Chrome, tmp_path: Path) -> None:
    ana = open_and_run(chrome, lab, "multiplayer_ana")
    ben = open_and_run(chrome, lab, "multiplayer_ben")
    for page in (ana, ben):
        page.wait("return document.querySelectorAll('.rx-person').length === 2")
        page.wait("return document.querySelector('.rx-table').innerText.includes('Ben')")
    ana.wait("return document.querySelector('.rxmps3-live').innerText.includes('list/2')")

    ben.ask("document.querySelector('.widget-slider').scrollIntoView({block: 'center'})")
    handle = chrome.find_element(By.CSS_SELECTOR, HANDLE)
    ActionChains(chrome).drag_and_drop_by_offset(handle, 40, 0).perform()
    moved = ben.wait("return document.querySelector('.widget-readout').textContent.match(/^(?!50$).*/)?.[0]")
    ana.wait(f"return document.querySelector('.widget-readout').textContent === '{moved}'")

    ben.ask("document.querySelector('.rx-field').scrollIntoView({block: 'center'})")
    ActionChains(chrome).move_to_element(chrome.find_element(By.CSS_SELECTOR, ".rx-field")).perform()
    ana.wait("return document.querySelectorAll('.rx-field .rx-pointer').length >= 1")
    if PICTURES:
        taken = [tmp_path / "ana.png", tmp_path / "ben.png"]
        for page, path in zip((ana, ben), taken, strict=True):
            page.ask("return 1")  # to its window
            chrome.set_window_size(800, 800)
            page.picture(path, from_cell=1, height=1000)
            chrome.set_window_size(1120, 800)
        save_in_docs("multiplayer.png", *taken)
    for name, page in (("multiplayer_ana", ana), ("multiplayer_ben", ben)):
        page.ask("document.activeElement.blur()")
        check(page, 3 if page is ana else 2)
        save_pictures(chrome, name)


def test_a_kernel_and_a_page_keep_their_size(lab: str, chrome: webdriver.Chrome, folder: Path) -> None:
    """A short one; ``python -m tests.browser.soak`` takes ten minutes."""
    taken = list(soak.samples(chrome, lab, folder, seconds=12, every=0.5))
    assert taken[-1].changes > 4000
    page, kernel = soak.growth(taken)
    assert page < 4, taken
    assert kernel < 15, taken
