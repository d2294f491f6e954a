"""marimo and Panel as people use them: a cell that runs again and again, pages that come and go, writes that fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from rxmps3.blocking import Database, connect
from tests.browser.pages import chrome as chrome
from tests.browser.pages import wait
from tests.browser.test_todo import EVIL, free_port, open_page, running

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(300)]

MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    import gc, threading
    import marimo as mo
    from reactivex import operators as ops
    from rxmps3.blocking import connect
    from rxmps3.homes.marimo import state
    from rxmps3.jupyter import chart, controls, inspector, presence, table, timeline
    from rxmps3.jupyter.viewmodel import ViewModel
    db = connect({place!r}, live=True, poll=0.2, by="page")
    return ViewModel, chart, controls, db, gc, inspector, mo, ops, presence, state, table, threading, timeline


@app.cell
def _(db, ops, state):
    run = state(db.observe("run", 0))
    gain = state(db.observe("gain", 50))
    failing = state(db.observe("gain", 50).pipe(ops.map(lambda gain: 1 / gain)))
    return failing, gain, run


@app.cell
def _(chart, db, mo, presence, run, state, table, timeline):
    run()
    x = state(db.observe("x", 0))
    views = [table(db, "todo/"), chart(db.observe("gain", 0)), timeline(db), presence(db)]
    mo.vstack([mo.ui.anywidget(view) for view in views])
    return (x,)


@app.cell
def _(mo, run, x):
    mo.plain_text(f"RUN={{run()}} X={{x()!r}} .")
    return


@app.cell
def _(gain, mo):
    mo.plain_text(f"GAIN={{gain()}} .")
    return


@app.cell
def _(failing, mo):
    mo.plain_text(f"FAILING={{failing()}} .")
    return


@app.cell
def _(db, gain, mo):
    mo.ui.slider(0, 100, value=gain(), on_change=lambda value: db.put("gain", value))
    return


@app.cell
def _(ViewModel, db, gc, run, threading, x):
    gc.collect()
    models = [one for one in gc.get_objects() if isinstance(one, ViewModel)]
    threads = [one for one in threading.enumerate() if "follow" in repr(getattr(one, "_target", ""))]
    db.put("count", [run(), x(), len(models), len(threads)])
    return
"""


@contextmanager
def database(place: str) -> Iterator[Database]:
    with connect(place, by="ben", live=True, poll=0.2) as db:
        yield db


def until(condition: Any) -> Any:
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_cells_that_run_again_and_pages_that_close_leave_nothing_in_marimo(
    chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    pytest.importorskip("marimo", reason="needs the extra 'marimo'")
    place = f"file:{tmp_path}/app"
    (tmp_path / "page.py").write_text(MARIMO.format(place=place))
    port = free_port()
    options = ["--port", str(port), "--headless", "--no-token", "--session-ttl", "1"]

    def shows(text: str) -> None:
        wait(chrome, f"document.body.innerText.includes({json.dumps(text)})")

    with running("-m", "marimo", "run", str(tmp_path / "page.py"), *options), database(place) as db:
        open_page(chrome, f"http://127.0.0.1:{port}/")
        shows("RUN=0 X=0 .")
        [_, _, *once] = until(lambda: db.get("count"))
        assert once == [4, 4]  # views, and states

        def until_only(x: int) -> None:
            """Wait until there are no more views in memory, and no more states, than at first."""
            end = time.monotonic() + 60
            while True:
                db.put("x", x)
                left = until(lambda x=x: db.get("count")[1] == x and db.get("count"))[2:]
                if left == once:
                    return
                assert time.monotonic() < end, left
                time.sleep(0.5)
                x += 1

        for run in range(1, 21):
            db.put("run", run)
            shows(f"RUN={run} X=0 .")
        until(lambda: db.get("count")[0] == 20)
        until_only(1)

        schemes = f"{INSIDE}.filter(one => one.matches('.rxmps3')).map(one => getComputedStyle(one).colorScheme).join()"
        until(lambda: chrome.execute_script(schemes) == "light,light,light,light")  # as marimo's page is
        first = chrome.current_window_handle
        pages = f"RUN=20 X={db.get('x')} ."
        for _ in range(8):
            chrome.switch_to.new_window("window")
            chrome.get(f"http://127.0.0.1:{port}/")
            shows(pages)
            chrome.close()
            chrome.switch_to.window(first)
        until_only(db.get("x") + 1)  # a session lasts for a second after its page

        for value in (None, True, 1, 1.0, [None, {"a": [1]}], "\u202eabc", EVIL):
            db.put("x", value)
            shows(f"X={value!r} .")
        for number in range(2000):
            db.put("x", number)
        shows("X=1999 .")
        with pytest.raises(Exception, match="nonsense"):
            db.put("gain", 7, if_version="nonsense-1").wait()
        shows("GAIN=50 .")
        shows("FAILING=0.02 .")
        db.put("gain", 0)
        shows("GAIN=0 .")
        wait(chrome, "!document.body.innerText.includes('FAILING=')")  # it shows that there was an error
        assert chrome.execute_script("return window.failed") is None


PANEL = """
import panel as pn
from pydantic import BaseModel
from rxmps3.blocking import connect
from rxmps3.homes.panel import bind, reactive, show
from rxmps3.jupyter import chart, controls, inspector, live, presence, table, timeline

pn.extension(notifications=True)
db = connect({place!r}, live=True, poll=0.2, by="page")


class Settings(BaseModel):
    rate: float = 0.5


def online(status):
    return f"ONLINE={{status.online}} ."


pn.Column(
    pn.widgets.StaticText(value=pn.bind(online, reactive(db.status))),
    pn.widgets.TextAreaInput(name="x", value=reactive(db.observe("x")).rx.pipe(repr)),
    bind(pn.widgets.TextInput(name="title"), db.key("title", str, default="untitled")),
    bind(pn.widgets.Checkbox(name="done"), db.key("done", bool, default=False)),
    bind(pn.widgets.RangeSlider(name="range", start=0, end=10), db.key("range", default=[1, 2])),
    show(table(db, "todo/")),
    show(chart(db.observe("gain", 0))),
    show(timeline(db)),
    show(presence(db)),
    show(inspector(db)),
    show(controls(Settings, db.key("settings"))),
    show(live(db.observe("x"))),
).servable()
"""
INSIDE = """
    const all = (node) => [node, ...[...(node.shadowRoot?.children ?? []), ...node.children].flatMap(all)];
    return all(document.body)
"""


TOLD = f"""
    window.told = [];
    const note = (changes) => told.push(...changes.flatMap(one => [...one.addedNodes]).map(one => one.textContent));
    const roots = (() => {{ {INSIDE} }})().flatMap(one => one.shadowRoot ?? []);
    for (const root of [document, ...roots]) new MutationObserver(note).observe(root, {{ childList: true, subtree: true }});
"""
"""Note from now on the text of all that comes into the page."""


def test_two_pages_of_panel_share_their_widgets_and_say_what_was_not_written(
    chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    pytest.importorskip("panel", reason="needs the extra 'panel'")
    place = f"file:{tmp_path}/app"
    (tmp_path / "page.py").write_text(PANEL.format(place=place))
    port = free_port()

    def element(selector: str) -> Any:
        return until(lambda: chrome.execute_script(f"{INSIDE}.find(one => one.matches({json.dumps(selector)}))"))

    def value(selector: str) -> Any:
        return element(selector).get_property("value")

    def all_of(selector: str) -> list[Any]:
        return chrome.execute_script(f"{INSIDE}.filter(one => one.matches({json.dumps(selector)}))")

    def text_of(selector: str) -> str:
        return " ".join(one.text for one in all_of(selector))

    def badges() -> list[str]:
        return [one.text.partition(" · ")[0] for one in all_of(".rx-badge")]  # some say how old the last news is

    with running("-m", "panel", "serve", str(tmp_path / "page.py"), "--port", str(port)), database(place) as db:
        db.put("title", EVIL)
        open_page(chrome, f"http://127.0.0.1:{port}/page")
        until(lambda: value("input[type=text]") == EVIL)
        first = chrome.current_window_handle
        chrome.switch_to.new_window("window")
        chrome.get(f"http://127.0.0.1:{port}/page")
        until(lambda: value("input[type=text]") == EVIL)
        box = element("input[type=text]")
        box.clear()
        box.send_keys("milk\n")
        element("input[type=checkbox]").click()
        until(lambda: (db.get("title"), db.get("done")) == ("milk", True))
        chrome.switch_to.window(first)
        until(lambda: value("input[type=text]") == "milk" and element("input[type=checkbox]").is_selected())
        for one in (True, 1, 1.0, None, b"\0", EVIL, [None, {"a": [1]}]):
            db.put("x", one)
            until(lambda one=one: value("textarea") == repr(db.get("x")))
        chrome.execute_script(TOLD)  # a notification goes after three seconds
        db.put_all({"title": 5, "done": None, "range": "nonsense"})
        until(lambda: "RangeSlider does not show" in chrome.execute_script("return told.join()"))
        assert value("input[type=text]") == "milk"

        db.put_all({"todo/1": {"title": EVIL, "n": 1}, "todo/2": {"title": "bread", "n": 2}})
        until(lambda: len(all_of("[role=row]")) >= 3 and EVIL in text_of("[role=grid]"))
        cell = until(lambda: [one for one in all_of("[role=gridcell]") if one.text == "bread"])[0]
        cell.click()
        webdriver.ActionChains(chrome).send_keys(Keys.ENTER, "oat bread", Keys.ENTER).perform()
        until(lambda: db.get("todo/2") == {"title": "oat bread", "n": 2})
        rate = all_of("input[type=number]")[0]
        rate.click()
        rate.send_keys("7")  # not entered yet
        typed = rate.get_property("value")
        db.put("settings", {"rate": 0.25})
        db.put("x", "after that")
        until(lambda: value("textarea") == "'after that'")
        until(lambda: "after that" in text_of("[role=region]"))
        assert rate.get_property("value") == typed
        items = until(lambda: all_of("[role=treeitem]"))
        items[0].click()
        webdriver.ActionChains(chrome).send_keys(Keys.ARROW_DOWN).perform()
        focused = "let one = document.activeElement; while (one.shadowRoot?.activeElement) one = one.shadowRoot.activeElement; return one"
        until(lambda: chrome.execute_script(focused) == all_of("[role=treeitem]")[1])
        until(lambda: len(badges()) == 7 and {one.lower() for one in badges()} == {"live"})
        for page, schemes in (
            *(("#121212", ["dark"] * 7), ("#fafafa", ["light"] * 7), ("oklch(0.2 0 0)", ["dark"] * 7)),
            *(("color(srgb 1 1 1)", ["light"] * 7), ("lab(5% 0 0)", ["dark"] * 7), ("oklch(1 0 0)", ["light"] * 7)),
        ):
            chrome.execute_script("document.body.style.background = arguments[0]", page)
            until(
                lambda schemes=schemes: (
                    [one.value_of_css_property("color-scheme") for one in all_of(".rxmps3")] == schemes
                )
            )
        assert chrome.execute_script("return window.failed") is None
