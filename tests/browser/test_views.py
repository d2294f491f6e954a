"""The views in a plain page of a real browser, without a notebook: what they draw, and what a user does with them.

Pictures of the documentation come from here: ``RXMPS3_PICTURES=docs/images python -m pytest -m browser``.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import os
import random
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from pydantic import BaseModel, Field
from reactivex.subject import BehaviorSubject
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import rxmps3
from rxmps3.jupyter import viewmodel
from rxmps3.jupyter.charts import ChartModel
from rxmps3.jupyter.forms import ControlsModel
from rxmps3.jupyter.html import drawn
from rxmps3.jupyter.inspecting import InspectorModel
from rxmps3.jupyter.people import PeopleModel
from rxmps3.jupyter.showing import LiveModel
from rxmps3.jupyter.tables import TableModel, field_writer
from rxmps3.jupyter.timelines import TimelineModel
from rxmps3.jupyter.viewmodel import ViewModel
from tests.browser.bare import bare_page
from tests.browser.pages import chromium
from tests.docs.blocks import ROOT
from tests.mutating import Mutant

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]

EVIL = "<img src=x onerror='window.failed=1'></script><script>window.failed=2</script>"
BIDI = "invoice\u202egpj.exe \x1b[31mred\x1b[0m"
LINK = "javascript:window.failed=3"


class Optimizer(BaseModel):
    name: Literal["adam", "sgd", "lion"] = "adam"
    momentum: float = Field(0.9, ge=0, le=1)


class Training(BaseModel):
    """How a training is steered."""

    learning_rate: float = Field(0.02, ge=0, le=0.1, description="the step of the optimizer")
    batch_size: int = Field(32, ge=1, le=256)
    paused: bool = False
    note: str = ""
    until: datetime.date | None = None
    optimizer: Optimizer = Optimizer()


class Tab:
    """A page with views, and a browser that is asked from a thread."""

    def __init__(self, chrome: webdriver.Chrome, url: str) -> None:
        self.chrome, self.url = chrome, url

    async def do(self, action: Callable[[webdriver.Chrome], Any]) -> Any:
        return await asyncio.to_thread(action, self.chrome)

    async def open(self, theme: str = "light") -> None:
        await self.do(lambda chrome: chrome.get(f"{self.url}?theme={theme}"))
        await self.wait("return window.shown")

    async def ask(self, script: str) -> Any:
        return await self.do(lambda chrome: chrome.execute_script(script))

    async def wait(self, script: str) -> Any:
        end = time.monotonic() + 30
        while not (found := await self.ask(script)):
            assert time.monotonic() < end, f"never true: {script}"
            await asyncio.sleep(0.05)
        return found

    async def press(self, *keys: str) -> None:
        await self.do(lambda chrome: ActionChains(chrome).send_keys(*keys).perform())

    async def click(self, selector: str, at: int = 0, *, twice: bool = False) -> None:
        def action(chrome: webdriver.Chrome) -> None:
            element = chrome.find_elements(By.CSS_SELECTOR, selector)[at]
            chain = ActionChains(chrome)
            (chain.double_click if twice else chain.click)(element).perform()

        await self.do(action)

    async def picture(self, selector: str, path: Path) -> None:
        """One view, with its surroundings cut off."""
        await self.do(lambda chrome: chrome.find_element(By.CSS_SELECTOR, selector).screenshot(str(path)))
        assert path.stat().st_size > 3000
        if "RXMPS3_PICTURES" in os.environ and path.stem.endswith("-light"):
            shutil.copy(path, ROOT / os.environ["RXMPS3_PICTURES"])


@asynccontextmanager
async def page_of(tmp_path: Path, *, height: int = 900, **models: ViewModel) -> AsyncIterator[Tab]:
    async with bare_page(models) as url:
        starting = chromium(tmp_path / "profile")
        chrome = await asyncio.to_thread(starting.__enter__)
        try:
            chrome.set_window_size(960, height)
            tab = Tab(chrome, url)
            await tab.open()
            yield tab
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
            for model in models.values():
                model.dispose()


def table_of(db: Any, prefix: str = "") -> TableModel:
    model = TableModel(db, prefix, None, field_writer(db), prefix, 30, asyncio.get_running_loop())
    model.follow_status(db.status)
    return model


CELLS = "[...document.querySelectorAll('.rx-space .rx-tr')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(row => [...row.children].map(cell => cell.textContent))"


async def test_a_table_is_sorted_filtered_searched_and_edited_by_mouse_and_keyboard(tmp_path: Path) -> None:
    async with (
        rxmps3.connect("memory:browser-table", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-table", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put_all(
            {f"job/{n}": {"state": ["ready", "running", "done"][n % 3], "cost": n * 1.5} for n in range(9)}
        )
        model = table_of(db, "job/")
        async with page_of(tmp_path, jobs=model) as tab:
            await tab.wait(f"return {CELLS}.length === 9")
            assert await tab.ask("return document.querySelector('[role=grid]').ariaRowCount") == "10"
            await tab.click(".rx-sort", 1)
            await tab.click(".rx-sort", 1)
            await tab.wait(f"return {CELLS}[0][1] === '12'")
            assert await tab.ask("return document.querySelectorAll('[role=columnheader]')[1].ariaSort") == "descending"
            await tab.click(".rx-filter", 2)
            await tab.press("!=done")
            await tab.wait(f"return {CELLS}.length === 6")
            await tab.click(".rx-search")
            await tab.press("run")
            await tab.wait(f"return {CELLS}.length === 3")
            assert await tab.ask("return document.querySelector('.rx-total').textContent") == "3 of 9"

            await tab.click(".rx-space .rx-tr:first-child .rx-td", 0)
            await tab.press(Keys.ARROW_RIGHT, Keys.ENTER)
            await tab.press("99.5", Keys.ENTER)
            await tab.wait(f"return {CELLS}[0][1] === '99.5'")
            assert 99.5 in [job["cost"] for job in (await db.get_prefix("job/")).values()]
            await tab.press(Keys.ENTER)
            await tab.press("a lot", Keys.ENTER)
            bubble = await tab.wait("return document.querySelector('.rx-bubble')?.textContent")
            assert bubble == "Not written: 'a lot' is not a number"
            assert (await tab.ask(f"return {CELLS}"))[0][1] == "99.5"
            assert "Not written" in await tab.ask("return document.querySelector('[aria-live]').textContent")

            key = (await tab.ask(f"return {CELLS}"))[1][0]
            await other.patch(f"job/{key}", {"cost": 1})
            await tab.wait("return document.querySelectorAll('.rx-flash').length > 0")
            await tab.wait(f"return {CELLS}.some(row => row.at(-1).includes('bob'))")
            await tab.press(Keys.ESCAPE)
            await tab.wait("return document.querySelectorAll('.rx-chosen').length === 0")
            await tab.click(".rx-space .rx-tr:first-child .rx-td", 0)
            await tab.wait("return document.querySelectorAll('.rx-chosen').length === 1")
            step = Keys.ARROW_DOWN if await tab.ask(f"return {CELLS}[0][0]") == await tab.ask(
                "return document.querySelector('.rx-chosen .rx-key').textContent"
            ) else Keys.ARROW_UP  # fmt: skip
            await tab.do(
                lambda chrome: ActionChains(chrome).key_down(Keys.SHIFT).send_keys(step).key_up(Keys.SHIFT).perform()
            )
            await tab.wait("return document.querySelectorAll('[aria-selected=true]').length === 2")
            assert len(model.selection.value) == 2


async def test_a_hundred_thousand_rows_at_a_thousand_changes_a_second(tmp_path: Path) -> None:
    """Scrolled, sorted and edited meanwhile: the page is never held up for long, and the loop goes on answering."""
    async with rxmps3.connect("memory:browser-many", by="ana", poll=0.2, inline_limit=200) as db:
        chance = random.Random(5)
        for first in range(0, 100_000, 5_000):
            await db.put_all({f"row/{n:06}": {"n": n, "x": chance.random()} for n in range(first, first + 5_000)})
        model = table_of(db, "row/")
        going, late, made = True, [0.0], 0

        async def change() -> None:
            nonlocal made
            while going:
                db.put_all(
                    {f"row/{chance.randrange(100_000):06}": {"n": made + i, "x": chance.random()} for i in range(50)}
                )
                made += 50
                await asyncio.sleep(0.05)

        async def answer() -> None:
            while going:
                begun = time.monotonic()
                await asyncio.sleep(0.01)
                late.append(time.monotonic() - begun - 0.01)

        async with page_of(tmp_path, rows=model) as tab:
            await tab.wait("return document.querySelector('.rx-total').textContent === '100,000 rows'")
            await tab.wait(f"return {CELLS}.length > 10")
            await tab.ask(
                """
                window.tasks = []; window.frames_ = 0; window.received = models.rows.received.length;
                new PerformanceObserver((list) => list.getEntries().forEach((one) => tasks.push(one.duration))).observe({ type: 'longtask' });
                const tick = () => { frames_++; requestAnimationFrame(tick); }; tick(); window.begun = performance.now();
                """
            )
            tasks = [asyncio.create_task(change()), asyncio.create_task(answer())]
            scroller = "document.querySelector('.rx-scroll')"
            for step in range(40):
                await tab.ask(f"{scroller}.scrollTop += {5000 if step % 4 else 400000}")
                await asyncio.sleep(0.05)
            await tab.wait(f"return {CELLS}.filter(row => row[0]).length > 10")
            await tab.ask(f"{scroller}.scrollTop = 0")
            await tab.click(".rx-sort", 1)
            await tab.wait("return document.querySelectorAll('[role=columnheader]')[1].ariaSort === 'ascending'")
            await asyncio.sleep(1)
            await tab.click(".rx-filter", 1)
            await tab.press("=99999")
            await tab.wait(f"return {CELLS}.length <= 3")
            await tab.click(".rx-space .rx-tr:first-child .rx-td", 2, twice=True)
            await tab.press("0.5", Keys.ENTER)
            await tab.wait(f"return {CELLS}.some(row => row[2] === '0.5')")
            going = False
            await asyncio.gather(*tasks)
            frames, seconds, longest, biggest = await tab.ask(
                """
                const seconds = (performance.now() - begun) / 1000;
                return [frames_, seconds, Math.max(0, ...tasks), Math.max(...models.rows.received.slice(received))];
                """
            )
        print(f"{made} changes, {frames / seconds:.0f} frames a second, longest task {longest:.0f} ms, "
              f"largest message {biggest} bytes, the loop late by {max(late):.2f} s at most")  # fmt: skip
        assert made > 1000
        assert biggest < 40_000, "a window of rows at most, never the table"
        assert max(late) < 5


async def test_whatever_is_in_the_data_is_text(tmp_path: Path) -> None:
    hostile = {"value": EVIL, "link": LINK, "bidi": BIDI, EVIL: 1, BIDI: 2, "__proto__": {"polluted": 1}}
    async with rxmps3.connect("memory:browser-evil", by=EVIL, poll=0.05) as db:
        await db.put_all({EVIL: hostile, BIDI: hostile, LINK: 3, "cfg": {"note": EVIL}})
        loop = asyncio.get_running_loop()
        models: dict[str, ViewModel] = {
            "table": TableModel(db, "", None, field_writer(db), EVIL, 30, loop),
            "lines": ChartModel(db, "", None, None, "line", 30, EVIL, 30, loop),
            "bars": ChartModel(db, "", None, None, "bar", 0, BIDI, 30, loop),
            "sparks": ChartModel(db, "", None, None, "spark", 0, LINK, 30, loop),
            "line": TimelineModel(db, "", loop),
            "people": PeopleModel(db.presence({"name": EVIL, BIDI: LINK}, every=1, ttl=5), True, loop),
            "inspector": InspectorModel(db, loop),
            "form": ControlsModel(Training, db.key("cfg"), 30, loop),
            "live": LiveModel(db.observe_prefix(), drawn, 30, loop),
            "error": LiveModel(BehaviorSubject(1), lambda _: 1 / 0, 30, loop),
        }
        models["error"].set("problem", EVIL)
        async with page_of(tmp_path, height=3000, **models) as tab:
            await db.put(EVIL, hostile | {"n": 1})
            await asyncio.sleep(1.5)
            await tab.ask("for (const one of document.querySelectorAll('#inspector .rx-item')) one.click()")
            await asyncio.sleep(0.5)
            assert not await tab.ask("return window.failed")
            assert (
                await tab.ask("return document.querySelectorAll('img, a[href], body > div script, [onerror]').length")
                == 0
            )
            assert await tab.ask("return ({}).polluted") is None
            for name in ("table", "line", "people", "inspector", "live", "error", "bars"):
                text = await tab.ask(f"return document.getElementById('{name}').textContent")
                assert "<img src=x" in text, name
            assert await tab.ask("return document.querySelector('#form input[type=text]').value") == EVIL
            whole = await tab.ask("return document.body.textContent")
            assert "\\u202egpj.exe \\x1b[31m" in whole
            assert "\u202e" not in whole
            assert "\x1b" not in whole
            await tab.do(lambda chrome: chrome.save_screenshot(str(tmp_path / "evil.png")))


async def test_a_badge_says_whether_anybody_is_there(tmp_path: Path) -> None:
    source: BehaviorSubject[Any] = BehaviorSubject("x")
    model = LiveModel(source, drawn, 30, asyncio.get_running_loop())
    async with page_of(tmp_path, live=model) as tab:
        badge = "document.querySelector('.rx-badge').textContent"
        await tab.wait(f"return {badge} === 'live'")
        await tab.ask("window.real = Date.now; Date.now = () => real() + 7000")
        await tab.wait(f"return /^live · [0-9]+ s old$/.test({badge})")
        for status, text in (
            ({"online": False, "pending": 0, "trouble": EVIL}, "offline"),
            ({"online": True, "pending": 3, "trouble": None}, "3 pending"),
            ({"closed": True}, "closed"),
        ):
            model.set("status", status)
            await tab.wait(f"return {badge}.startsWith('{text}')")
        model.set("status", None)
        model.receive = lambda message: None  # type: ignore[method-assign]  # the kernel hangs
        await asyncio.sleep(5)  # a "here" that nobody answers
        await tab.ask("Date.now = () => real() + 20000")
        await tab.wait(f"return {badge}.startsWith('no answer')")
        await tab.ask("Date.now = () => real() + 70000")
        await tab.wait(f"return {badge} === 'server gone'")
        assert await tab.ask("return document.querySelector('.rx-stale') !== null")


async def test_what_was_lost_on_the_way_is_asked_for_anew(tmp_path: Path, mutant: Mutant) -> None:
    """By a socket that was down, a kernel that dropped it, or since the page was hidden and forgotten."""
    async with rxmps3.connect("memory:browser-lost", by="ana", poll=0.05) as db:
        await db.put_all({"t/1": {"x": 1}, "t/2": {"x": 2}})
        loop = asyncio.get_running_loop()
        views: dict[str, ViewModel] = {
            "table": table_of(db, "t/"),
            "chart": ChartModel(db, "t/", None, None, "spark", 60, "", 30, loop),
            "keys": InspectorModel(db, loop),
        }
        async with page_of(tmp_path, **views) as tab:
            shown = {
                "table": "document.querySelector('#table .rx-space').innerText.includes('{x}')",
                "chart": "document.querySelector('#chart .rx-spark-value')?.innerText === '{x}'",
                "keys": "document.querySelector('#keys .rx-value').innerText.includes('{x}')",
            }
            await tab.wait("return document.querySelectorAll('#keys .rx-item').length === 1")
            await tab.click("#keys .rx-item")
            await tab.wait("return document.querySelectorAll('#keys .rx-item').length === 3")
            await tab.click("#keys .rx-item", at=1)
            for one in shown.values():
                await tab.wait("return " + one.format(x=1))

            async def until(true: Callable[[], bool]) -> None:
                async with asyncio.timeout(60):
                    while not true():
                        await asyncio.sleep(0.02)

            unheard: list[Any] = []
            for one in views.values():
                one.receive = unheard.append  # type: ignore[method-assign]
            await tab.click("#table .rx-sort")
            await until(lambda: any(said.get("sort") is not None for said in unheard))
            for one in views.values():
                del one.receive
            await tab.wait(f"return {CELLS}[0][0] === '2'")

            lost: dict[Any, list[str]] = {}

            def dropped(self: Any, message: Any) -> None:
                """What goes to a socket that is down."""
                lost.setdefault(self, []).append(json.dumps(message))

            def is_lost(view: ViewModel) -> bool:
                number = re.compile(r"(?<![\d.])4321(\.0)?(?![\d.])")
                return view._behind or any(map(number.search, lost.get(view._carrier, ())))

            def is_forgotten(view: ViewModel) -> bool:
                return view._behind

            for x, what, by, gone in (
                (4321, type(views["table"]._carrier).send, dropped, is_lost),
                (8642, viewmodel.AWAY_AFTER, 0.0, is_forgotten),
            ):
                mutant.replace(what, by, within=viewmodel if by == 0.0 else None)
                await db.put("t/1", {"x": x})
                await until(lambda gone=gone: all(map(gone, views.values())))
                assert not await tab.ask("return " + shown["table"].format(x=x)), "it was lost"
                mutant.undo()
                for one in shown.values():
                    await tab.wait("return " + one.format(x=x))


async def test_a_user_learns_what_was_not_written(tmp_path: Path, mutant: Mutant) -> None:
    """Since it was lost, nobody is there, or the view has stopped; until it is known, what was typed stays there."""
    async with rxmps3.connect("memory:browser-unwritten", by="ana", poll=0.05) as db:
        await db.put_all({"t/1": {"x": 1}, "cfg": {"batch_size": 7}})
        loop = asyncio.get_running_loop()
        table, form = table_of(db, "t/"), ControlsModel(Training, db.key("cfg"), 30, loop)
        shown = LiveModel(db.key("t/1"), drawn, 30, loop)
        cell = "document.querySelectorAll('#table .rx-space .rx-td')[1]"
        typed = "document.querySelectorAll('#form .rx-typed')[1]"
        wrong = "document.querySelectorAll('#form .rx-wrong')[1].textContent"
        bubble = "[...document.querySelectorAll('#table .rx-bubble')].at(-1)?.textContent"
        async with page_of(tmp_path, height=1200, table=table, form=form, live=shown) as tab:

            async def edit(text: str) -> None:
                await tab.click("#table .rx-space .rx-td", 1, twice=True)
                await tab.press(text, Keys.ENTER)

            async def move(number: int) -> None:
                await tab.ask(f"{typed}.value = {number}; {typed}.dispatchEvent(new Event('change'))")

            await tab.wait(f"return {cell}?.textContent === '1' && {typed}.value === '7'")
            for model in (table, form):
                receive = model.receive
                model.receive = lambda said, receive=receive: None if said.get("act") else receive(said)  # type: ignore
            await edit("2")
            await move(8)
            assert await tab.ask(f"return [{cell}.textContent, {cell}.classList.contains('rx-sent')]") == ["2", True]
            await tab.wait(f"return {bubble} === 'Not written: it may be lost on the way, look whether it is there'")
            await tab.wait(f"return {wrong} === 'Not written: it may be lost on the way, look whether it is there'")
            assert await tab.ask(f"return {cell}.textContent") == "1"
            await db.put("cfg", {"batch_size": 9})
            await tab.wait(f"return {typed}.value === '9' && {wrong} === ''")

            waiting: list[Callable[[], None]] = []
            for model in (table, form):
                del model.receive
                receive = model.receive
                model.receive = lambda said, receive=receive: waiting.append(lambda: receive(said))  # type: ignore
            await edit("3")
            await move(10)
            await asyncio.sleep(1)  # a kernel that computes meanwhile
            assert await tab.ask(f"return [{cell}.textContent, {typed}.value]") == ["3", "10"]
            for model in (table, form):
                del model.receive
            for one in waiting:
                one()
            await tab.wait(f"return {cell}.textContent === '3' && !{cell}.classList.contains('rx-sent')")
            assert await tab.ask(f"return {cell}.classList.contains('rx-focus')")
            assert (await db.get("t/1"), (await db.get("cfg"))["batch_size"]) == ({"x": 3}, 10)

            mutant.replace(type(shown._carrier).set_states, lambda self, states, again=False: None)
            await db.put("t/1", {"x": 4})
            await asyncio.sleep(0.3)
            mutant.undo()
            assert await tab.ask("return document.querySelector('#live .rxmps3-live').innerText.includes('3')"), "lost"
            await tab.wait("return document.querySelector('#live .rxmps3-live').innerText.includes('4')")

            await tab.ask("window.was = models.table.socket; was.close()")
            await tab.wait("return !models.table.connected")
            await edit("5")
            await tab.wait(f"return {bubble} === 'Not written: nobody answers'")
            await db.put("t/1", {"x": 6})
            await tab.ask("window.cut = Date.now()")
            await tab.wait(f"return {cell}.textContent === '6'")
            assert await tab.ask("return Date.now() - cut") < 3000, "as soon as it is connected, not at the next beat"
            table.dispose()
            await tab.wait("return document.querySelector('#table .rx-badge').textContent === 'stopped'")
            await edit("7")
            await tab.wait(f"return {bubble}.includes('this view has stopped')")
            assert await db.get("t/1") == {"x": 6}


async def test_a_form_is_moved_by_mouse_and_keyboard_and_moves_with_others(tmp_path: Path) -> None:
    async with (
        rxmps3.connect("memory:browser-form", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-form", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put("cfg", Training().model_dump(mode="json"))
        model = ControlsModel(Training, db.key("cfg", Training, default=Training()), 30, asyncio.get_running_loop())
        async with page_of(tmp_path, form=model) as tab:
            await tab.click(".rx-switch")
            await tab.wait("return models.form.state.value.paused")
            await tab.ask("document.querySelectorAll('.rx-range')[1].focus()")
            await tab.press(Keys.ARROW_RIGHT)
            await tab.click("input[type=text]")
            await tab.press("hi")
            await tab.ask(
                "const one = document.querySelector('select'); one.value = '\"lion\"'; one.dispatchEvent(new Event('change'))"
            )
            await asyncio.sleep(1)
            cfg = await db.get("cfg")
            assert (cfg["paused"], cfg["batch_size"], cfg["note"], cfg["optimizer"]["name"]) == (True, 33, "hi", "lion")
            await other.patch("cfg", {"batch_size": 64})
            await tab.wait("return document.querySelectorAll('.rx-typed')[1].value === '64'")
            await tab.wait("return document.querySelector('.rx-head').textContent.includes('by bob')")


async def test_pictures_in_light_and_dark(tmp_path: Path) -> None:
    async with (
        rxmps3.connect("memory:browser-pictures", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-pictures", by="bob", poll=0.05, shared=False) as other,
    ):
        chance, loop = random.Random(1), asyncio.get_running_loop()
        for n in range(60):
            client = (db, other)[n % 2]
            await client.put(f"job/{n:04}", {
                "state": chance.choice(["ready", "running", "done", "done"]), "worker": chance.choice(["eva", "max", "lin"]),
                "loss": round(1 / (n + 1) + chance.random() / 30, 4), "seconds": chance.randrange(900), "gpu": n % 3 == 0,
            })  # fmt: skip
        await db.put("cfg", Training(note="warm-up first").model_dump(mode="json"))
        await db.refresh()
        models: dict[str, ViewModel] = {
            "table": table_of(db, "job/"),
            "chart": ChartModel(db, "metric/", None, None, "line", 20, "metric/", 30, loop),
            "timeline": TimelineModel(db, "job/", loop),
            "presence": PeopleModel(db.presence({"name": "Ana", "looks at": "job/0017"}, every=1, ttl=9), True, loop),
            "inspector": InspectorModel(db, loop),
            "controls": ControlsModel(Training, db.key("cfg", Training, default=Training()), 30, loop),
        }
        for model in models.values():
            if model.state["status"] is None:
                model.follow_status(db.status)
        going = True

        async def work() -> None:
            n = 0
            while going:
                n += 1
                db.put_all(
                    {
                        "metric/loss": 3 * math.exp(-n / 90) + chance.random() / 5,
                        "metric/accuracy": 3 - 3 * math.exp(-n / 70),
                    }
                )
                if n % 6 == 0:
                    other.patch(f"job/{chance.randrange(12):04}", {"seconds": chance.randrange(900)})
                await asyncio.sleep(0.06)

        there = other.presence(
            {"name": "Bob Miller", "looks at": "metric/loss", "cursor": {"x": 0.66, "y": 0.3}}, every=1, ttl=9
        )
        with there:
            working = asyncio.create_task(work())
            async with page_of(tmp_path, height=2400, **models) as tab:
                await asyncio.sleep(12)
                for theme in ("light", "dark"):
                    await tab.open(theme)
                    await asyncio.sleep(1.5)
                    await tab.ask(
                        "models.timeline.send({kind: 'go', at: 55, view: 'x'}); models.presence.send({kind: 'cursor', x: .3, y: .6, view: 'x'})"
                    )
                    await tab.ask(
                        "[...document.querySelectorAll('#inspector .rx-item')].find(one => one.textContent.startsWith('job/')).click()"
                    )
                    await tab.wait("return document.querySelectorAll('#inspector .rx-item').length > 20")
                    await tab.ask(
                        "[...document.querySelectorAll('#inspector .rx-item')].find(one => one.textContent.includes('0003')).click()"
                    )
                    await tab.wait("return document.querySelectorAll('.rx-pointer').length === 2")
                    await asyncio.sleep(1)
                    for name in models:
                        await tab.picture(f"#{name}", tmp_path / f"{name}-{theme}.png")
                going = False
                await working


async def test_charts_with_scripts_of_their_own_are_drawn_in_a_frame_that_nothing_gets_out_of(tmp_path: Path) -> None:
    graph, plotting = pytest.importorskip("plotly.graph_objects"), pytest.importorskip("bokeh.plotting")
    figure = plotting.figure(width=300, height=200)
    figure.line([1, 2, 3], [3, 1, 2])
    source: BehaviorSubject[Any] = BehaviorSubject(
        graph.Figure(graph.Scatter(y=[1, 3, 2]), {"title": EVIL, "height": 240})
    )
    loop = asyncio.get_running_loop()
    models = {"one": LiveModel(source, drawn, 30, loop), "two": LiveModel(BehaviorSubject(figure), drawn, 30, loop)}
    async with page_of(tmp_path, **models) as tab:
        inside = "return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"

        def traces(chrome: webdriver.Chrome, script: str, frame: int) -> Any:
            chrome.switch_to.frame(chrome.find_elements(By.TAG_NAME, "iframe")[frame])
            try:
                return chrome.execute_script(script)
            finally:
                chrome.switch_to.default_content()

        async def until(script: str, frame: int, wanted: Any) -> None:
            end = time.monotonic() + 60
            while await tab.do(lambda chrome: traces(chrome, script, frame)) != wanted:
                assert time.monotonic() < end, script
                await asyncio.sleep(0.2)

        await until(inside, 0, 1)
        await until("return document.querySelectorAll('#place > *').length", 1, 1)
        source.on_next(graph.Figure([graph.Scatter(y=[1, 2]), graph.Scatter(y=[2, 1])]))
        await until(inside, 0, 2)
        sent = [len(part) for part in (models["one"].state["chart"]["data"],)]
        assert sent[0] < 50_000, "the library is sent once, the figure each time"
        assert (
            await tab.ask("return [...document.querySelectorAll('iframe')].map(one => one.sandbox.value)")
            == ["allow-scripts"] * 2
        )
        assert not await tab.ask("return window.failed")
        refused = "try { return parent.document.title } catch (error) { return error.name }"
        assert await tab.do(lambda chrome: traces(chrome, refused, 0)) == "SecurityError"
        source.on_next({"a": 1})
        await tab.wait("return document.querySelectorAll('iframe').length === 1")


async def test_what_is_typed_into_a_cell_stays_while_others_change_the_table(tmp_path: Path) -> None:
    """New rows, new columns, another order, a row deleted: nothing half-typed is written, and typing goes on."""
    async with (
        rxmps3.connect("memory:browser-typing", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-typing", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put_all({f"t/{n}": {"x": n, "y": n} for n in range(3)})
        model = table_of(db, "t/")
        field = "document.querySelector('.rx-edit')"
        async with page_of(tmp_path, jobs=model) as tab:
            await tab.wait(f"return {CELLS}.length === 3")
            await tab.click(".rx-sort", 2)
            await tab.click(".rx-space .rx-td", 1, twice=True)
            await tab.press("1")
            for number, change in enumerate((
                {"t/8": {"x": 8, "y": 8}},
                {"t/1": {"x": 1, "y": 1, "z": 1}},
                {"t/0": {"x": 0, "y": 99}},  # it is the last row now
                {f"t/1{n:03}": {"x": n, "y": -n} for n in range(300)},  # and out of sight
            )):  # fmt: skip
                await other.put_all(change)
                await tab.wait(f"return document.querySelector('.rx-total').textContent === '{len(await db.get_prefix('t/'))} rows'")  # fmt: skip
                await asyncio.sleep(0.3)
                await tab.press(str(number))
                assert await tab.ask(f"return [{field}.value, document.activeElement === {field}]") == [
                    "10123"[: number + 2],
                    True,
                ]
                assert (await db.get("t/0"))["x"] == 0
            await tab.press(Keys.ENTER)
            await tab.wait("return !document.querySelector('.rx-edit')")
            await asyncio.sleep(0.3)
            assert await db.get("t/0") == {"x": 10123, "y": 99}

            await tab.ask("document.querySelector('.rx-scroll').scrollTop = 0")
            await tab.click(".rx-space .rx-tr:first-child .rx-td", 1, twice=True)
            await tab.press("5")
            key = "t/" + (await tab.ask(f"return {field}.closest('.rx-tr').querySelector('.rx-key').textContent"))
            await other.delete(key)
            await asyncio.sleep(0.3)
            await tab.press(Keys.ENTER)
            await tab.wait("return document.querySelector('.rx-bubble')?.textContent === 'Not written: this row is not there any more'")  # fmt: skip
            await tab.wait("return !document.querySelector('.rx-edit')")


async def test_all_of_a_table_is_reached_by_keys_alone(tmp_path: Path) -> None:
    """Columns beyond the edge, rows beyond the window, headings; more than can be selected is said."""
    async with rxmps3.connect("memory:browser-reach", by="ana", poll=0.05) as db:
        for first in range(0, 10_500, 3_500):
            await db.put_all({f"w/{n:05}": {f"f{i:02}": i * n for i in range(20)} for n in range(first, first + 3_500)})
        model = table_of(db, "w/")
        seen = """
            const cell = document.querySelector('.rx-focus').getBoundingClientRect();
            const [frame, key] = ['.rx-scroll', '.rx-space .rx-key'].map(one => document.querySelector(one).getBoundingClientRect());
            return cell.left >= key.right - 1 && cell.right <= frame.right + 1
        """
        async with page_of(tmp_path, jobs=model) as tab:
            await tab.wait(f"return {CELLS}.length > 10")
            await tab.click(".rx-space .rx-td", 1)
            for key in (Keys.ARROW_RIGHT,) * 20 + (Keys.ARROW_LEFT,) * 20:
                await tab.press(key)
                assert await tab.ask(seen), await tab.ask("return document.querySelector('.rx-focus').textContent")
            shift = lambda *keys: tab.do(  # noqa: E731
                lambda chrome: ActionChains(chrome).key_down(Keys.SHIFT).send_keys(*keys).key_up(Keys.SHIFT).perform()
            )
            await shift(*[Keys.PAGE_DOWN] * 30)
            await tab.wait("return models.jobs.state.selected.length > 200")
            at = int(await tab.ask("return document.querySelector('.rx-focus').parentElement.ariaRowIndex")) - 2
            await tab.wait(f"return models.jobs.state.selected.length === {at + 1}")
            assert model.selection.value == tuple(f"w/{n:05}" for n in range(at + 1))
            await tab.do(lambda chrome: ActionChains(chrome).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform())  # fmt: skip
            await tab.wait("return document.querySelector('.rx-problem').textContent.startsWith('Not selected: ')")
            assert "10,500 rows are more than the 10,000" in await tab.ask("return document.querySelector('.rx-problem').textContent")  # fmt: skip
            assert len(model.selection.value) == at + 1
            await tab.ask("document.querySelectorAll('.rx-sort')[1].focus()")
            await tab.press(Keys.ENTER)
            await tab.wait("return document.querySelectorAll('[role=columnheader]')[1].ariaSort === 'ascending'")
            assert await tab.ask("return document.activeElement === document.querySelectorAll('.rx-sort')[1]")


async def test_numbers_are_shown_as_people_read_them_and_say_what_they_are(tmp_path: Path) -> None:
    shown = {
        "0.30000000000000004": "0.3", "0.3333333333333333": "0.333333", "999.9999999": "1000", "1234.5678": "1234.57",
        "12345.678": "12,345.68", "1764494152.123": "1,764,494,152.12", "-1234567.891": "-1,234,567.89", "0.0000123": "1.230e-5",
        "1e300": "1.000e+300", "9999": "9999", "12345": "12,345", "0": "0",
    }  # fmt: skip
    source = BehaviorSubject({text: {"x": float(text)} for text in shown})
    model = TableModel(source, "", None, None, "", 30, asyncio.get_running_loop())
    async with page_of(tmp_path, numbers=model, live=LiveModel(source, drawn, 30, model.loop)) as tab:
        await tab.wait(f"return {CELLS}.length === {len(shown)}")
        assert {row[0]: row[1] for row in await tab.ask(f"return {CELLS}")} == shown
        titles = "return [...document.querySelectorAll('.rx-space .rx-td')].map(cell => cell.title)"
        assert "0.30000000000000004" in await tab.ask(titles)
        await tab.do(lambda chrome: chrome.save_screenshot(str(tmp_path / "numbers.png")))


async def test_presses_count_while_a_timeline_reads_a_version(tmp_path: Path, mutant: Mutant) -> None:
    async with rxmps3.connect("memory:browser-presses", by="ana", poll=0.05) as db:
        for n in range(12):
            await db.put("n", n)
        async with page_of(tmp_path, line=TimelineModel(db, "", asyncio.get_running_loop())) as tab:
            await tab.wait("return document.querySelector('.rx-changes ins')?.textContent === '11'")
            held = asyncio.Event()
            moment = TimelineModel._moment

            async def slow(self: TimelineModel, at: int) -> Any:
                await held.wait()
                return await moment(self, at)

            mutant.replace(TimelineModel._moment, slow)
            for _ in range(3):
                await tab.click("[aria-label='One version back']")
                await asyncio.sleep(0.1)  # until it is heard, and the version is being read
            await tab.ask("document.querySelector('.rx-range').focus()")
            await tab.press(Keys.ARROW_LEFT)
            await tab.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
            await tab.click("[aria-label='One version forward']")
            await asyncio.sleep(0.2)
            assert await tab.ask("return document.querySelector('.rx-place').textContent") == "7 / 12"
            assert await tab.ask("return document.querySelector('.rx-range').value") == "7"
            assert await tab.ask("return document.querySelector('[aria-busy=true] .rx-changes').textContent") == "n1011"
            held.set()
            await tab.wait("return document.querySelector('[aria-busy=false] .rx-changes ins')?.textContent === '6'")
            await asyncio.sleep(0.2)
            assert await tab.ask("return document.querySelector('.rx-place').textContent") == "7 / 12"


async def test_a_timeline_shows_a_large_value_once_its_size_is_pressed(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-large", by="ana", poll=0.05) as db:
        await db.put_all({"book": EVIL + "b" * 1_234_567, "n": 1})
        async with page_of(tmp_path, line=TimelineModel(db, "", asyncio.get_running_loop())) as tab:
            large = "[...document.querySelectorAll('.rx-large')]"
            await tab.wait(f"return {large}.map(one => one.textContent).join() === '1.2 MB,1.2 MB'")
            await tab.ask(f"{large}[0].focus()")
            await tab.press(Keys.ENTER)
            await tab.wait("return document.querySelector('.rx-changes ins').textContent.includes('bbb')")
            assert await tab.ask(f"return {large}.length") == 0, "it is known in both places"
            assert not await tab.ask("return window.failed")


async def test_a_table_downloads_a_large_value_once_it_is_asked_to(tmp_path: Path) -> None:
    async with (
        rxmps3.connect("memory:browser-large-cell", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-large-cell", by="bob", poll=0.05, shared=False) as other,
    ):
        await other.put_all({"t/book": EVIL + "b" * 1_234_567, "t/n": 1})
        await db.refresh()
        async with page_of(tmp_path, jobs=table_of(db, "t/")) as tab:
            await tab.wait(f"return {CELLS}.map(row => row[1]).join() === '1.2 MB,1'")
            await tab.do(lambda chrome: chrome.save_screenshot(str(tmp_path / "large.png")))
            await tab.click(".rx-space .rx-td", 1)
            await tab.press(Keys.ENTER)
            await tab.wait(f"return {CELLS}[0][1].includes('bbb')")
            assert not await tab.ask("return window.failed")


async def test_a_page_is_scrolled_over_a_table_that_has_nothing_to_scroll(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-wheel", by="ana", poll=0.05) as db:
        await db.put_all({f"t/{n}": {"x": n} for n in range(3)})
        models: dict[str, ViewModel] = {f"table{n}": table_of(db, "t/") for n in range(8)}
        async with page_of(tmp_path, height=600, **models) as tab:
            await tab.wait("return document.querySelectorAll('.rx-space .rx-tr').length === 24")
            wheel = {"type": "mouseWheel", "x": 100, "y": 140, "deltaX": 0, "deltaY": 300}
            assert await tab.ask("return document.elementFromPoint(100, 140).closest('.rx-scroll') !== null")
            await tab.do(lambda chrome: chrome.execute_cdp_cmd("Input.dispatchMouseEvent", wheel))
            await tab.wait("return scrollY > 200")


async def test_a_table_says_who_wrote_what_where_that_is_known(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-signed", by="ana", poll=0.05) as db:
        await db.put("t/1", {"x": 1})
        loop = asyncio.get_running_loop()
        models: dict[str, ViewModel] = {
            "of_db": table_of(db, "t/"),
            "of_values": TableModel(BehaviorSubject([{"x": 1}, {"x": 2}]), "", None, None, "", 30, loop),
            "of_changes": TableModel(db.changes("t/"), "", None, None, "", 30, loop),
        }
        async with page_of(tmp_path, height=1200, **models) as tab:
            shown = "return ['of_db', 'of_values', 'of_changes'].map(name => document.querySelector(`#${name} .rx-titles`).innerText.includes('written by'))"
            await tab.wait("return document.querySelectorAll('.rx-space .rx-tr').length === 3")
            assert await tab.ask(shown) == [True, False, False]
            assert await tab.ask("return document.querySelector('#of_values [role=grid]').ariaColCount") == "2"
            await db.patch("t/1", {"x": 2})
            await tab.wait("return document.querySelector('#of_changes .rx-space').innerText.includes('ana')")
            assert await tab.ask(shown) == [True, False, True]


async def test_a_chart_stays_zoomed_when_a_line_is_added(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-zoom", by="ana", poll=0.05) as db:
        await db.put_all({f"r/{n:03}": {"step": n, "a": n % 7} for n in range(100)})
        model = ChartModel(db, "r/", "step", None, "line", 0, "", 30, asyncio.get_running_loop())
        steps = "Number(document.querySelector('.u-legend .u-series .u-value').textContent)"

        async def first_step() -> float:
            def hover(chrome: webdriver.Chrome) -> None:
                over = chrome.find_element(By.CSS_SELECTOR, ".u-over")
                ActionChains(chrome).move_to_element_with_offset(over, -over.size["width"] // 2 + 3, 9).perform()

            await tab.do(hover)
            return float(await tab.ask(f"return {steps}"))

        def zoom(chrome: webdriver.Chrome) -> None:
            over = chrome.find_element(By.CSS_SELECTOR, ".u-over")
            chain = ActionChains(chrome).move_to_element(over).click_and_hold().move_by_offset(150, 0)
            chain.release().perform()

        async with page_of(tmp_path, chart=model) as tab:
            await tab.wait("return document.querySelectorAll('.u-legend .u-series').length === 2")
            assert await first_step() < 5
            await tab.do(zoom)
            assert 45 < await first_step() < 55
            await db.put("r/100", {"step": 100, "a": 1, "b": 2})
            await tab.wait("return document.querySelectorAll('.u-legend .u-series').length === 3")
            assert 45 < await first_step() < 55
            await tab.do(lambda chrome: ActionChains(chrome).double_click(chrome.find_element(By.CSS_SELECTOR, ".u-over")).perform())  # fmt: skip
            await asyncio.sleep(0.3)
            assert await first_step() < 5


async def test_a_chart_is_zoomed_and_moved_by_keys(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-zoom-keys", by="ana", poll=0.05) as db:
        await db.put_all({f"r/{n:03}": {"step": n, "a": n % 7} for n in range(101)})
        model = ChartModel(db, "r/", "step", None, "line", 0, "", 30, asyncio.get_running_loop())
        said = "document.querySelectorAll('.rx-away[role=status]')[0].textContent"
        async with page_of(tmp_path, chart=model) as tab:
            await tab.wait("return document.querySelectorAll('.u-legend .u-series').length === 2")
            await tab.ask("document.body.tabIndex = -1; document.body.focus()")
            for _ in range(8):
                await tab.press(Keys.TAB)
                if await tab.ask("return document.activeElement.matches('.u-wrap')"):
                    break
            assert await tab.ask("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
            hint = "return document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"
            assert "Plus and minus zoom" in await tab.ask(hint)
            for key, shown in (
                ("+", "From 25 to 75"), ("+", "From 37.5 to 62.5"), (Keys.ARROW_RIGHT, "From 42.5 to 67.5"),
                (Keys.ARROW_LEFT, "From 37.5 to 62.5"), ("-", "From 25 to 75"), ("-", "All is shown"), ("+", "From 25 to 75"),
            ):  # fmt: skip
                await tab.press(key)
                await tab.wait(f"return {said} === '{shown}'")
            for _ in range(4):
                await tab.press(Keys.ARROW_LEFT)
            await tab.wait(f"return {said} === 'From 0 to 50'")
            await db.put("r/101", {"step": 101, "a": 1, "b": 2})
            await tab.wait("return document.querySelectorAll('.u-legend .u-series').length === 3")
            assert await tab.ask("return document.activeElement.matches('.u-wrap')"), "a line was added"
            await tab.do(lambda chrome: chrome.save_screenshot(str(tmp_path / "chart.png")))
            for back in (Keys.HOME, "0"):
                await tab.press("+")
                await tab.wait(f"return {said} !== 'All is shown'")
                await tab.press(back)
                await tab.wait(f"return {said} === 'All is shown'")
            await tab.ask("document.querySelectorAll('.u-legend .u-label')[1].focus()")
            await db.put("r/102", {"step": 102, "c": 1})
            await tab.wait("return document.querySelectorAll('.u-legend .u-series').length === 4")
            assert await tab.ask("return document.activeElement.textContent") == "a"


async def test_a_key_in_the_tree_is_chosen_while_others_change_it(tmp_path: Path) -> None:
    """What is pressed is still there when the button is let go."""
    async with rxmps3.connect("memory:browser-tree", by="ana", poll=0.05) as db:
        await db.put_all({"a/one": 1, "b/x/y": 1, "Straße": 1})
        model = InspectorModel(db, asyncio.get_running_loop())
        place = "const one = [...document.querySelectorAll('.rx-item')].find(one => one.dataset.name === 'a/'), box = one.getBoundingClientRect(); return [box.left + 40, box.top + 8, one.ariaExpanded]"
        async with page_of(tmp_path, keys=model) as tab:
            await tab.wait("return document.querySelectorAll('.rx-item').length === 3")
            x, y, expanded = await tab.ask(place)
            assert expanded == "false"
            mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
            down, up = ({"type": kind, **mouse} for kind in ("mousePressed", "mouseReleased"))
            await tab.do(lambda chrome: chrome.execute_cdp_cmd("Input.dispatchMouseEvent", down))
            await db.put("b/new", 2)
            await tab.wait("return [...document.querySelectorAll('.rx-count')].some(one => one.textContent === '2')")
            await tab.do(lambda chrome: chrome.execute_cdp_cmd("Input.dispatchMouseEvent", up))
            await tab.wait("return document.querySelectorAll('.rx-item').length === 4")
            assert (await tab.ask(place))[2] == "true"
            focused = "return document.activeElement.dataset.name"
            await tab.ask("document.querySelectorAll('.rx-item')[3].focus()")
            for key, name in (
                (Keys.ARROW_UP, "a/one"), (Keys.ARROW_LEFT, "a/"), (Keys.ARROW_RIGHT, "a/one"),
                (Keys.ARROW_LEFT, "a/"), (Keys.ARROW_LEFT, "a/"), (Keys.ARROW_DOWN, "b/"),
            ):  # fmt: skip
                await tab.press(key)
                await tab.wait(f"{focused} === '{name}'")
            await tab.click("input[type=search]")
            await tab.press("STRASSE")
            await tab.wait("return document.querySelectorAll('.rx-item').length === 1")
            assert await tab.ask("return document.querySelector('.rx-label').textContent") == "Straße"


async def test_the_focus_stays_while_others_write(tmp_path: Path) -> None:
    async with rxmps3.connect("memory:browser-focus", by="ana", poll=0.05) as db:
        await db.put_all({f"t/{n}": {"x": n} for n in (2, 4, 6)})
        loop = asyncio.get_running_loop()
        folded = lambda now: f"<details><summary>x</summary>{now['x']}</details>"  # noqa: E731
        models: dict[str, ViewModel] = {
            "table": table_of(db, "t/"),
            "keys": InspectorModel(db, loop),
            "line": TimelineModel(db, "t/", loop),
            "latest": LiveModel(db.observe("t/4"), folded, 30, loop),
        }
        async with page_of(tmp_path, height=1600, **models) as tab:
            held = "return document.activeElement === held"

            async def hold(selector: str) -> None:
                await tab.wait(f"return document.querySelector({selector!r}) !== null")
                await tab.ask(f"window.held = document.querySelector({selector!r}); held.focus()")
                assert await tab.ask(held), selector

            await tab.wait(f"return {CELLS}.length === 3")
            await tab.click(".rx-space .rx-td", 2)
            focused = "return document.querySelector('.rx-focus')?.parentElement.querySelector('.rx-key').textContent"
            await tab.press(Keys.ARROW_DOWN)
            assert await tab.ask(focused) == "4"
            await db.put_all({"t/1": {"x": 1}, "t/3": {"x": 3}})
            await tab.wait(f"return {CELLS}.length === 5")
            assert await tab.ask(focused) == "4", "the row that had it, wherever that is now"
            await tab.press(Keys.ARROW_UP)
            assert await tab.ask(focused) == "3"

            await tab.ask("document.querySelector('#keys [data-name=\"t/\"]').click()")
            await tab.wait("return document.querySelector('#keys [data-name=\"t/4\"]') !== null")
            await tab.ask("document.querySelector('#keys [data-name=\"t/4\"]').click()")
            await tab.wait("return document.querySelector('.rx-json-text').textContent.includes('4')")
            await hold(".rx-json-text")
            await db.put("t/4", {"x": 44})
            await tab.wait("return document.querySelector('.rx-json-text').textContent.includes('44')")
            assert await tab.ask(held)

            await hold("#latest summary")
            await tab.press(Keys.ENTER)
            await tab.wait("return document.querySelector('#latest details').open")
            await db.put("t/4", {"x": 444})
            await tab.wait("return document.querySelector('#latest .rxmps3-live').textContent.includes('444')")
            assert await tab.ask("return document.activeElement.matches('#latest [open] > summary')")

            await hold("#line [aria-label='One version back']")
            last, first = await tab.wait("return [models.line.state.at, models.line.state.first]")
            for at in range(last - 1, first - 1, -1):
                await tab.press(Keys.ENTER)
                await tab.wait(f"return models.line.state.at === {at}")
            await tab.wait("return held.ariaDisabled === 'true'")
            assert await tab.ask(held), "at the first version too"
            await tab.press(Keys.ENTER)
            assert models["line"].state["at"] == models["line"].state["first"]


async def test_a_problem_is_said_once(tmp_path: Path) -> None:
    model = LiveModel(BehaviorSubject(1), drawn, 30, asyncio.get_running_loop())
    async with page_of(tmp_path, latest=model) as tab:
        await tab.ask("""
            window.said = [];
            const problem = document.querySelector('.rx-problem');
            new MutationObserver(() => said.push(problem.textContent)).observe(problem, { childList: true });
        """)
        model.set("problem", "the bucket is gone")
        await tab.wait("return said.length")
        await asyncio.sleep(2.5)  # in which the frame looks at itself
        assert await tab.ask("return said") == ["the bucket is gone"]


async def test_views_fit_a_narrow_page_and_nothing_moves_for_those_who_do_not_want_it(tmp_path: Path) -> None:
    async with (
        rxmps3.connect("memory:browser-narrow", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:browser-narrow", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put_all({"k/" + "long/" * 60: {"huge": 1e300, "x": 1}, "k/b": {"x": 2, "huge": 12345.0}})
        loop = asyncio.get_running_loop()
        me = {"name": "Ana " + "x" * 200, "looks at": "y" * 200}
        models: dict[str, ViewModel] = {
            "table": table_of(db, "k/"),
            "line": TimelineModel(db, "", loop),
            "people": PeopleModel(db.presence(me, every=1, ttl=9), True, loop),
            "inspector": InspectorModel(db, loop),
            "form": ControlsModel(Training, db.key("cfg", Training, default=Training()), 30, loop),
            "live": LiveModel(db.observe_prefix("k/"), drawn, 30, loop),
        }
        async with page_of(tmp_path, height=2000, **models) as tab:
            await tab.do(lambda chrome: chrome.set_window_size(500, 2000))
            await tab.ask("document.body.style.width = '380px'")
            await tab.wait("return document.querySelectorAll('#people .rx-person').length === 1")
            await tab.wait(f"return {CELLS}.length === 2")
            wide = (
                "return [...document.body.children].filter(one => one.scrollWidth > one.clientWidth).map(one => one.id)"
            )
            assert await tab.ask(wide) == []
            assert await tab.ask("return document.querySelector('#people .rx-person').offsetHeight") < 220
            assert await tab.ask("return document.querySelector('#line .rx-range').offsetWidth") > 100
            assert await tab.ask("return document.querySelector('#line select').offsetWidth") > 80
            assert await tab.ask("return document.querySelector('#table .rx-td.rx-key').offsetWidth") < 200
            assert await tab.ask("return document.querySelector('#live tbody th').offsetWidth") < 700
            assert "1.000e+300" in {cell for row in await tab.ask(f"return {CELLS}") for cell in row}
            media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
            await tab.do(lambda chrome: chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media))
            await other.patch("k/b", {"x": 3})
            moving = """
                return [...document.querySelectorAll('.rxmps3 *')].map(one => getComputedStyle(one)).filter(style =>
                    style.transitionDuration !== '0s' || (style.animationName !== 'none' && !style.animationTimingFunction.startsWith('steps'))).length
            """
            await tab.wait("return document.querySelector('.rx-flash') !== null")
            assert await tab.ask(moving) == 0
