"""What a live view draws, in a page of a real browser."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from tests.browser.lab import jupyterlab
from tests.browser.pages import NotebookPage, chromium

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(400)]

CELLS = [
    """
from reactivex import Subject
from rxmps3.jupyter import live

class Frame:
    def _repr_html_(self):
        return "<table class=frame><tr><td>1</td></tr></table><script>window.ran = (window.ran ?? 0) + 1</script>"

Frame()
""",
    "frames = Subject(); view = live(frames); view",
    "frames.on_next(Frame())",
    "view.html = ''; live(frames)",
    "frames.on_next({'<b>key</b>': '<img src=x onerror=\"window.failed = true\">'})",
    "live(frames, render=lambda value: f'<p class=made>{list(value.values())[0]}</p>')",
    "frames.on_next({'key': '<img src=x onerror=\"window.failed = true\"><script>window.failed = true</script>'})",
]


def test_what_draws_itself_looks_as_in_other_outputs_and_what_does_not_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "notebooks/drawing.ipynb")
    with jupyterlab(tmp_path / "notebooks", tmp_path / "home") as lab, chromium(tmp_path / "profile") as chrome:
        page = NotebookPage(chrome, lab, "drawing.ipynb", code_cells=len(CELLS))
        page.run(0, 2)
        page.wait("return document.querySelectorAll('table.frame').length === 2")
        places = page.ask(
            "return [...document.querySelectorAll('table.frame')].map(one => one.getBoundingClientRect().x)"
        )
        assert places[1] - places[0] == pytest.approx(5), "on the left, inside of the view's padding"
        assert page.ask("return window.ran") == 1, (
            "JupyterLab runs the script of the cell's own output, a view runs none"
        )

        page.run(3, 4)
        page.wait("return document.querySelector('.rxmps3-live th')?.innerText === '<b>key</b>'")
        assert page.ask("return document.querySelectorAll('.rxmps3-live img').length") == 0
        assert not page.ask("return window.failed")

        page.run(3, 3)
        page.wait("return document.querySelectorAll('.rxmps3-live').length === 2")
        assert page.ask("return document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]').length") == 0

        page.run(5, 6)
        page.wait("return document.querySelector('.rxmps3-live p.made > img') !== null")
        page.ask("return new Promise(done => setTimeout(done, 500))")  # an image that is not there has failed by then
        assert not page.ask("return window.failed"), "a value in HTML that a program makes runs no script"
