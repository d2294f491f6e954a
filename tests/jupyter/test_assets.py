"""The front end's sources: one module of many, offline, and what is not ours is what it says it is."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("anywidget")

from rxmps3.jupyter import assets
from rxmps3.jupyter.charts import ChartModel
from rxmps3.jupyter.forms import ControlsModel
from rxmps3.jupyter.inspecting import InspectorModel
from rxmps3.jupyter.people import PeopleModel
from rxmps3.jupyter.showing import LiveModel
from rxmps3.jupyter.tables import TableModel
from rxmps3.jupyter.timelines import TimelineModel
from tests.mutating import Mutant

VIEWS = [
    one.view for one in (LiveModel, TableModel, ChartModel, TimelineModel, PeopleModel, InspectorModel, ControlsModel)
]
STATIC = Path(str(files("rxmps3.jupyter") / "static"))
OURS = sorted(path for path in STATIC.glob("*.js"))

UPLOT = {  # of uPlot 1.6.32
    "uplot.js": "7f778de3824ca4cbafcf61d54d2910dffdda8be5041bee390f19b020aeba0d29",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.mark.parametrize("carrier", ["anywidget", "panel"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_one_module_without_imports(view: str, carrier: str) -> None:
    text = assets.module(view, carrier)
    assert not re.search(r"^\s*import\b", text, re.MULTILINE)
    assert text.count("export default") == 1
    assert len(re.findall(r"^export\b", text, re.MULTILINE)) == 1
    assert "render: $carrier.rendering" in text


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(("view", "carrier"), [*((view, "anywidget") for view in VIEWS), ("table", "panel")])
def test_the_module_can_be_read(view: str, carrier: str, tmp_path: Path) -> None:
    path = tmp_path / "view.mjs"
    path.write_text(assets.module(view, carrier))
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_put_into_one_module_is_found_at_once(mutant: Mutant) -> None:
    assets.module.cache_clear()
    mutant.replace(
        assets.source, lambda name: "import * as all from './dom.js';\nexport const render = 1;", within=assets
    )
    with pytest.raises(SyntaxError, match="cannot be put into one module"):
        assets.module("live")
    assets.module.cache_clear()


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_nothing_is_fetched_and_data_becomes_no_markup(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "a URL"
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|importScripts|eval|insertAdjacentHTML|outerHTML|document\.write)\b", text
    )
    allowed = 1 if path.name == "live.js" else 0  # what objects draw of themselves, and what was escaped in Python
    assert len(re.findall(r"innerHTML = ", text)) == allowed


@pytest.mark.parametrize("name", UPLOT)
def test_what_is_not_ours_is_as_it_was_published(name: str) -> None:
    assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == UPLOT[name]
    assert "MIT" in (STATIC / "vendor/uplot.LICENSE").read_text()


def test_hidden_characters_are_the_same_ones_on_both_sides() -> None:
    from rxmps3.jupyter import values

    in_python = values._HIDDEN.pattern
    in_javascript = re.search(r"const HIDDEN = /(.+)/g;", assets.source("dom.js"))
    assert in_javascript is not None
    assert in_javascript[1] == in_python


def test_the_style_is_of_our_own_elements_alone() -> None:
    """A notebook has one sheet for all of its page."""
    text = re.sub(r"/\*.*?\*/", "", assets.source("rxmps3.css"), flags=re.DOTALL)
    text = re.sub(r"@keyframes [^{]+\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", text)
    for selector in re.findall(r"([^{}@;]+)\{", text):
        if not selector.startswith("media "):
            assert "rxmps3" in selector, selector
