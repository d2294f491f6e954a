"""The views and the studio for those who enlarge a page, have the system's colours instead of ours, or want contrast."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from PIL import Image, ImageChops
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import rxmps3
from rxmps3.jupyter.charts import ChartModel
from rxmps3.jupyter.forms import ControlsModel
from rxmps3.jupyter.html import drawn
from rxmps3.jupyter.inspecting import InspectorModel
from rxmps3.jupyter.people import PeopleModel
from rxmps3.jupyter.showing import LiveModel
from rxmps3.jupyter.timelines import TimelineModel
from rxmps3.jupyter.viewmodel import ViewModel
from tests.browser.pages import chrome as chrome
from tests.browser.pages import wait
from tests.browser.test_studio import command
from tests.browser.test_views import Tab, Training, page_of, table_of

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]

ZOOMS = [(640, 400, 2), (320, 256, 4)]
"""A window of 1280 x 800 at 200 %, and of 1280 x 1024 at 400 %: width, height, device pixels for one of the page."""

OUT_OF_REACH = """
const wide = '.rx-scroll, .rxmps3-live, .studio-list'; // tables may be wider than the page, within their own frame
const found = [];
const page = document.scrollingElement;
if (page.scrollWidth > innerWidth) found.push(`the page is ${page.scrollWidth} wide`);
const say = (one, what) => found.push(`${one.tagName} ${one.getAttribute('class') ?? ''} ${one.textContent.slice(0, 20)}: ${what}`);
for (const one of document.querySelectorAll('body *')) {
  const box = one.getBoundingClientRect();
  if (!box.width || !box.height || one.closest('.rx-away')) continue;
  const framed = one.parentElement.closest(wide);
  if (!framed && one.tagName !== 'OPTION' && (box.right > innerWidth + 1 || box.left < -1)) say(one, `from ${box.left} to ${box.right}`);
  const style = getComputedStyle(one);
  if (/auto|scroll/.test(style.overflowY) && one.scrollHeight > one.clientHeight + 1 && one.clientHeight < 100) say(one, `${one.clientHeight} of ${one.scrollHeight} high`);
  if (style.overflowY === 'hidden' && !one.matches('.rx-field') && style.textOverflow !== 'ellipsis' && one.scrollHeight > one.clientHeight + 3) say(one, 'cut off below');
  if (!one.matches('button, input, select, textarea, [role=tab], [role=treeitem], [role=switch]') || one.disabled || one.ariaDisabled === "true") continue;
  one.scrollIntoView({ block: 'center', inline: 'center' });
  const now = one.getBoundingClientRect();
  const there = document.elementFromPoint(now.left + now.width / 2, now.top + now.height / 2);
  if (!there || !(one.contains(there) || there.contains(one))) say(one, `under ${there?.getAttribute('class')}`);
}
return found;
"""


def enlarge(chrome: webdriver.Chrome, width: int, height: int, scale: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(chrome: webdriver.Chrome, **features: str) -> None:
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


@asynccontextmanager
async def all_views(tmp_path: Path) -> AsyncIterator[Tab]:
    """A page with every view, of a database with something in it; a key is chosen in the inspector."""
    async with (
        rxmps3.connect(f"memory:{tmp_path.name}", by="ana", poll=0.05) as db,
        rxmps3.connect(f"memory:{tmp_path.name}", by="bob", poll=0.05, shared=False) as other,
    ):
        for n in range(20):
            await db.put(f"job/{n:04}", {"state": ["ready", "running", "done"][n % 3], "worker": "eva", "cost": n / 7})
        await db.put_all({"m/loss": 2.5, "m/accuracy": 0.25, "cfg": Training().model_dump(mode="json")})
        loop = asyncio.get_running_loop()
        me = {"name": "Ana", "looks at": "job/0017"}
        models: dict[str, ViewModel] = {
            "table": table_of(db, "job/"),
            "chart": ChartModel(db, "m/", None, None, "line", 20, "m/", 30, loop),
            "bars": ChartModel(db, "m/", None, None, "bar", 0, "bars", 30, loop),
            "sparks": ChartModel(db, "m/", None, None, "spark", 20, "sparks", 30, loop),
            "timeline": TimelineModel(db, "", loop),
            "presence": PeopleModel(db.presence(me, every=1, ttl=9), True, loop),
            "inspector": InspectorModel(db, loop),
            "controls": ControlsModel(Training, db.key("cfg", Training, default=Training()), 30, loop),
            "live": LiveModel(db.observe_prefix("job/"), drawn, 30, loop),
        }
        with other.presence({"name": "Bob Miller", "cursor": {"x": 0.97, "y": 0.97}}, every=1, ttl=9):
            async with page_of(tmp_path, height=2400, **models) as tab:
                item = "[...document.querySelectorAll('#inspector .rx-item')].find(one => one.textContent.startsWith('{}'))"
                for name in ("job/", "0003"):
                    await tab.wait(f"return {item.format(name)} !== undefined")
                    await tab.ask(f"{item.format(name)}.click()")
                await tab.wait("return document.querySelector('#inspector .rx-value').innerText.includes('eva')")
                await tab.wait("return document.querySelectorAll('#table .rx-space .rx-tr').length > 5")
                await tab.wait("return document.querySelectorAll('.rx-pointer').length === 1")
                await tab.wait("return document.querySelector('#timeline .rx-place').innerText === '21 / 21'")
                yield tab


async def test_every_view_can_be_used_at_two_and_four_times_its_size(tmp_path: Path) -> None:
    async with all_views(tmp_path) as tab:
        for zoom in ZOOMS:
            await tab.do(lambda chrome, zoom=zoom: enlarge(chrome, *zoom))
            await tab.wait(f"return document.querySelector('.uplot').offsetWidth < {zoom[0]}")
            await tab.do(lambda chrome, zoom=zoom: chrome.save_screenshot(str(tmp_path / f"views-{zoom[0]}.png")))
            assert await tab.ask(OUT_OF_REACH) == []
            inside = """
                const [field, name] = ['.rx-field', '.rx-pointer span'].map(one => document.querySelector(one).getBoundingClientRect());
                return name.left >= field.left && name.right <= field.right && name.top >= field.top && name.bottom <= field.bottom
            """
            await tab.wait(inside)  # presence draws every second


def test_the_studio_can_be_used_at_two_and_four_times_its_size(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    async def fill() -> None:
        async with rxmps3.connect(f"file:{tmp_path}/board", by="ana") as db:
            for n in range(30):
                await db.put(f"todo/{n}", {"title": "write the report", "done": n % 3 == 0, "minutes": 10 + n * 7})

    asyncio.run(fill())
    with command("studio", "file:board", "--no-open", "--write", cwd=tmp_path) as (_, address):
        chrome.get(address)
        tabs = "[...document.querySelectorAll('.studio-tab')]"
        wait(chrome, f"{tabs}.length > 5")
        for zoom in ZOOMS:
            enlarge(chrome, *zoom)
            for name in chrome.execute_script(f"return {tabs}.map(one => one.dataset.name)"):
                chrome.execute_script(f"document.querySelector('[data-name={name}]').click()")
                wait(chrome, "document.querySelector('.studio-view .rx-badge')?.textContent === 'live'")
                if name == "doctor":
                    chrome.execute_script("document.querySelector('.studio-bar button').click()")
                    wait(chrome, "document.querySelector('.studio-list').textContent.includes('recommended')")
                if name == "inspector":
                    wait(chrome, "document.querySelector('.rx-item') !== null")
                    chrome.execute_script("document.querySelector('.rx-item[aria-expanded=false]')?.click()")
                    wait(chrome, "document.querySelectorAll('.rx-item').length > 20")
                assert (name, chrome.execute_script(OUT_OF_REACH)) == (name, [])


def pixels_that_differ(one: Image.Image, other: Image.Image) -> int:
    """How many differ enough to be told apart by somebody who does not see colours."""
    difference = ImageChops.difference(one.convert("L"), other.convert("L").resize(one.size))
    return sum(difference.histogram()[60:])


@contextmanager
def seen_to_change(chrome: webdriver.Chrome, selector: str, at_least: int, what: str) -> Iterator[None]:
    """What happens inside changes what an element looks like."""

    def look() -> Image.Image:
        webdriver.ActionChains(chrome).pause(0.25).perform()  # until what moves is there
        element = chrome.find_element(By.CSS_SELECTOR, selector)
        return Image.open(io.BytesIO(element.screenshot_as_png))

    before = look()
    yield
    assert pixels_that_differ(before, look()) >= at_least, what


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("feature", [{"forced_colors": "active"}, {"prefers_contrast": "more"}], ids=str)
async def test_states_are_seen_without_our_colours_and_with_contrast(
    tmp_path: Path, feature: dict[str, str], theme: str
) -> None:
    async with all_views(tmp_path) as tab:

        def look(chrome: webdriver.Chrome) -> None:
            def ask(script: str) -> Any:
                return chrome.execute_script(script)

            def press(*keys: str) -> None:
                webdriver.ActionChains(chrome).send_keys(*keys).perform()

            prefer(chrome, prefers_color_scheme=theme, **feature)
            webdriver.ActionChains(chrome).move_by_offset(1, 1).perform()
            row = "#table .rx-space .rx-tr:nth-child(3)"
            ask("document.querySelector('#table [role=grid]').focus()")
            press(*[Keys.ARROW_DOWN] * 3)
            with seen_to_change(chrome, "#table .rx-scroll", 300, "the focused cell"):
                press(Keys.ARROW_DOWN)
            with seen_to_change(chrome, "#table .rx-scroll", 300, "a selected row"):
                press(" ")
            with seen_to_change(chrome, "#table .rx-scroll", 100, "the focused cell of a selected row"):
                press(Keys.ARROW_RIGHT)
            with seen_to_change(chrome, row, 100, "a cell whose edit was refused"):
                ask(f"document.querySelector('{row} .rx-td:nth-child(2)').classList.add('rx-refused')")
            with seen_to_change(chrome, row, 40, "a cell whose edit was sent"):
                ask(f"document.querySelector('{row} .rx-td:nth-child(3)').classList.add('rx-sent')")
            with seen_to_change(chrome, "#inspector .rx-tree", 300, "the chosen key"):
                ask("[...document.querySelectorAll('.rx-item')].find(one => one.textContent === '0005').click()")
            with seen_to_change(chrome, "#inspector .rx-tabs", 30, "the chosen tab"):
                ask("document.querySelectorAll('#inspector .rx-tab')[1].click()")
            with seen_to_change(chrome, "#timeline .rx-bar", 60, "a pressed button, and a slider"):
                ask("models.timeline.send({kind: 'go', at: 5, view: 'x'})")
                wait(chrome, "document.querySelector('#timeline .rx-place').innerText === '5 / 21'")
                wait(chrome, "document.querySelector('#timeline [aria-busy=false]')")
            touched = "document.querySelector('#timeline .rx-touched')"
            with seen_to_change(chrome, "#timeline .rx-then", 300, "a key that the version changed"):
                wait(chrome, f"{touched} !== null")
                ask(f"{touched}.classList.remove('rx-touched')")
            with seen_to_change(chrome, ".rx-switch", 40, "a switch"):
                ask("document.querySelector('.rx-switch').click()")
            with seen_to_change(chrome, ".rx-slide", 60, "a slider"):
                ask(
                    "const one = document.querySelector('.rx-slide input'); one.value = 0.09; one.dispatchEvent(new Event('input'))"
                )
            for control in (".rx-switch", ".rx-slide input", ".rx-play", ".rx-filter", ".rx-tab[tabindex='0']"):
                with seen_to_change(
                    chrome, f":is(.rx-row, .rx-bar, .rx-thead, .rx-tabs):has({control})", 30, f"the focus of {control}"
                ):
                    ask(f'document.querySelector("{control}").focus({{ focusVisible: true }})')
            with seen_to_change(chrome, ".rx-field", 40, "where others point"):
                ask("document.querySelector('.rx-pointer').hidden = true")
            if "forced_colors" in feature:
                dashes = "[...document.querySelectorAll('#chart .rx-dashed line')].map(one => one.getAttribute('stroke-dasharray'))"
                wait(chrome, f"{dashes}.length === 2")
                assert len(set(ask(f"return {dashes}"))) == 2, "lines of one colour"
            canvas = """
                const canvas = document.querySelector('#chart canvas');
                const { data } = canvas.getContext('2d').getImageData(canvas.width / 4, 10, canvas.width / 2, canvas.height - 80);
                const seen = {};
                for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) seen[[...data.slice(at, at + 3)]] = (seen[[...data.slice(at, at + 3)]] ?? 0) + 1;
                return Object.values(seen).filter(count => count > 100).length
            """
            assert ask(f"{canvas}") >= 2, "lines and the grid behind them"
            chrome.save_screenshot(str(tmp_path / "states.png"))

        await tab.do(look)


NAMED = {
    *("button", "textbox", "searchbox", "spinbutton", "slider", "checkbox", "switch", "combobox", "tab", "tabpanel"),
    *("grid", "tree", "treeitem", "tablist", "region", "columnheader", "image", "group", "Canvas"),
}
"""Roles that say nothing without a name."""


async def test_a_screen_reader_hears_what_everything_is_and_is_not_talked_to_all_the_time(tmp_path: Path) -> None:
    async with all_views(tmp_path) as tab:

        def tree(chrome: webdriver.Chrome) -> list[tuple[str, str]]:
            chrome.execute_cdp_cmd("Accessibility.enable", {})
            nodes = chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            return [
                (one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one.get("ignored")
            ]

        found = await tab.do(tree)
        assert [one for one in found if one[0] in NAMED and not one[1]] == []
        regions = [name for role, name in found if role == "region"]
        assert len(regions) == len(set(regions)) == 9
        assert ("button", "loss") in found, "a line of the chart, to be hidden"
        hidden = "document.querySelectorAll('#chart .u-series.u-off').length"
        await tab.ask("document.querySelector('#chart [role=button]').focus()")
        for number in (1, 0):
            await tab.press(Keys.ENTER)
            await tab.wait(f"return {hidden} === {number}")
            assert await tab.ask("return document.activeElement.ariaPressed") == str(not number).lower()

        await tab.ask(
            """
            window.said = [];
            for (const one of document.querySelectorAll('[role=status], [role=alert], [aria-live]'))
              new MutationObserver(() => one.textContent && said.push(one.textContent)).observe(one, { childList: true, subtree: true, characterData: true });
            """
        )
        async with rxmps3.connect(f"memory:{tmp_path.name}", by="eve", shared=False) as db:
            for n in range(60):
                db.put_all({f"job/{n % 20:04}": {"cost": n}, "m/loss": n, "cfg": {"batch_size": n + 1}})
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # and "live · 6 s old" comes and goes
        assert await tab.ask("return said") == []
        await tab.ask("document.querySelector('#timeline [aria-label=\"One version back\"]').click()")
        await tab.wait("return said.length === 1")
        assert await tab.ask("return said[0]") == "Version 80 by eve changed 3 keys"
        await tab.ask("const real = Date.now; Date.now = () => real() + 100_000; models.table.socket.close()")
        await tab.wait("return said.includes('server gone')")
