"""The studio and the two windows of the demonstration, served by the real command to a real browser.

Pictures of the documentation come from here: ``RXMPS3_PICTURES=docs/images python -m pytest -m browser``.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import rxmps3
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage
from rxmps3.testing import FaultyStorage, offline
from tests.browser.pages import chrome as chrome
from tests.browser.pages import wait
from tests.docs.blocks import ROOT

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]

IMAGE = "<img src=x onerror='window.failed=1'>"
EVIL = IMAGE + "</script><script>window.failed=2</script>"


_CLICK = "[...document.querySelectorAll('.rx-item')].find(one => one.dataset.name.startsWith({!r})).click()"
PICTURES = os.environ.get("RXMPS3_PICTURES")


@contextmanager
def command(*arguments: str, cwd: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that serves a page, and the page's address."""
    process = subprocess.Popen([sys.executable, "-m", "rxmps3", *arguments], stdout=subprocess.PIPE, text=True, cwd=cwd)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


def theme(chrome: webdriver.Chrome, name: str) -> None:
    media = [{"name": "prefers-color-scheme", "value": name}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def picture(chrome: webdriver.Chrome, path: Path) -> None:
    chrome.save_screenshot(str(path))
    if PICTURES is not None:
        shutil.copy(path, ROOT / PICTURES)


def text(chrome: webdriver.Chrome, selector: str) -> str:
    return f"(document.querySelector({selector!r})?.textContent ?? '')"


class Film:
    """Screenshots, as an animated picture."""

    def __init__(self, chrome: webdriver.Chrome) -> None:
        self._chrome = chrome
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def take(self, milliseconds: int = 90) -> None:
        frame = Image.open(io.BytesIO(self._chrome.get_screenshot_as_png())).convert("RGB")
        self._frames.append(frame.resize((frame.width * 2 // 3, frame.height * 2 // 3), Image.Resampling.LANCZOS))
        self._milliseconds.append(milliseconds)

    def save(self, path: Path) -> None:
        first, *others = self._in_few_colours()
        first.save(path, save_all=True, append_images=others, duration=self._milliseconds, loop=0, optimize=True)
        if PICTURES is not None:
            shutil.copy(path, ROOT / PICTURES)

    def _in_few_colours(self, weight: int = 400) -> list[Image.Image]:
        """The frames in the same 256 colours.

        Args:
            weight: each colour counts as if there were so many more pixels of it: a small spot keeps its own.
        """
        width, height = self._frames[0].size
        end = height * len(self._frames)
        film = Image.new("RGB", (width, end))
        for number, frame in enumerate(self._frames):
            film.paste(frame, (0, height * number))
        colours = sorted(colour for _, colour in film.getcolors(width * end) or ())
        more = Image.new("RGB", (width, -(-len(colours) * weight // width)))
        more.putdata([colour for colour in colours for _ in range(weight)])
        both = Image.new("RGB", (width, end + more.height))
        both.paste(film)
        both.paste(more, (0, end))
        few = both.quantize(256, dither=Image.Dither.NONE)
        return [few.crop((0, top, width, top + height)) for top in range(0, end, height)]


def test_two_windows_show_the_same_and_either_changes_it(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    chrome.set_window_size(1160, 960)
    with command("demo", "--open") as (_, address):
        chrome.get(address)
        wait(chrome, "document.body.dataset.shown && document.querySelectorAll('#ben .rx-space .rx-tr').length === 4")
        wait(chrome, "document.querySelectorAll('#ana .rx-person').length === 2")
        film = Film(chrome)
        film.take(900)
        slider = chrome.find_element(By.CSS_SELECTOR, "#ana input[type=range]")
        for step in range(14):
            slider.send_keys(Keys.ARROW_RIGHT if step % 2 else Keys.ARROW_RIGHT * 3)
            film.take()
        moved = chrome.execute_script("return document.querySelector('#ana input[type=range]').value")
        assert int(moved) == 60 + 7 + 21
        wait(chrome, f"{text(chrome, '#ben .lamp')} === '{moved} %'")
        film.take(500)

        colour = Select(chrome.find_element(By.CSS_SELECTOR, "#ben select"))
        for choice in ("cold", "red", "warm"):
            colour.select_by_visible_text(choice)
            wait(chrome, f"document.querySelector('#ana select').selectedOptions[0].text === '{choice}'")
            film.take(450)

        cell = chrome.find_elements(By.XPATH, "//*[@id='ben']//*[@role='gridcell'][.='move the slider']")[0]
        ActionChains(chrome).double_click(cell).perform()
        film.take(300)
        ActionChains(chrome).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
        for part in ("the slider ", "moves ", "in both"):
            ActionChains(chrome).send_keys(part).perform()
            film.take(160)
        ActionChains(chrome).send_keys(Keys.ENTER).perform()
        wait(chrome, f"{text(chrome, '#ana .rx-space')}.includes('the slider moves in both')")
        film.take(900)
        field = chrome.find_element(By.CSS_SELECTOR, "#ana .rx-field")
        for x in range(-200, 201, 80):
            ActionChains(chrome).move_to_element_with_offset(field, x, x // 8).perform()
            film.take(140)
        wait(chrome, "document.querySelector('#ben .rx-pointer')")
        film.take(900)
        film.save(tmp_path / "two-windows.gif")
        assert chrome.execute_script(
            "return performance.getEntriesByType('resource').every(one => one.name.startsWith(location.origin))"
        )


def test_the_studio_shows_a_database_that_lives_and_says_when_nobody_answers(
    chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    url = f"file:{tmp_path}/board"
    titles = ["milk", "bread", "write the report", "book flights", "call Mia", "water the plants", "fix the bike"]

    async def fill() -> None:
        async with rxmps3.connect(url, by="ana") as ana, rxmps3.connect(url, by="ben", shared=False) as ben:
            for number, title in enumerate(titles):
                db = ana if number % 2 else ben
                await db.put(f"todo/{number}", {"title": title, "done": number % 3 == 0, "minutes": 10 + number * 7})
            await ana.put_all({"config/rate": 0.25, "config/mode": "fast"})
            await ben.patch("todo/2", {"done": True})
            await ana.delete("todo/4")

    async def collide() -> None:
        """Ben goes on without the bucket while Ana writes the same keys, and comes back."""
        faulty = FaultyStorage(DirectoryStorage(tmp_path / "board", SystemClock()))
        async with rxmps3.connect(faulty, by="ben") as ben, rxmps3.connect(url, by="ana", shared=False) as ana:
            await ben.refresh()
            faulty.plan = [offline()]
            late = [ben.put("config/mode", EVIL), ben.patch("todo/0", {"who": "ben"})]
            await ana.put("config/mode", "slow")
            await ana.patch("todo/0", {"minutes": 5})
            faulty.plan = ()
            for receipt in late:
                await receipt

    async def put(key: str, value: str) -> None:
        async with rxmps3.connect(url, by="eve") as db:
            await db.put(key, value)

    asyncio.run(fill())
    chrome.set_window_size(1160, 760)
    with command("studio", "file:board", "--no-open", "--write", "--by", "cleo", cwd=tmp_path) as (process, address):
        chrome.get(address)
        wait(chrome, "document.querySelectorAll('.rx-item').length === 2")
        chrome.execute_script(_CLICK.format("todo/"))
        wait(chrome, "[...document.querySelectorAll('.rx-item')].some(one => one.dataset.name === 'todo/2')")
        chrome.execute_script(_CLICK.format("todo/2"))
        wait(chrome, f"{text(chrome, '.rx-json-text')}.includes('write the report')")
        for name in ("light", "dark"):
            theme(chrome, name)
            picture(chrome, tmp_path / f"studio-{name}.png")
        asyncio.run(put(f"evil {IMAGE}", EVIL))
        wait(chrome, f"{text(chrome, '.rx-tree')}.includes('evil')")
        assert IMAGE in chrome.find_element(By.CSS_SELECTOR, ".rx-tree").text
        chrome.execute_script(_CLICK.format("evil "))
        assert EVIL in wait(chrome, text(chrome, ".rx-json-text"))
        chrome.execute_cdp_cmd("Network.enable", {})
        for blocked in (["*/cost.js"], []):  # as when the command is stopped
            chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": blocked})
            chrome.find_element(By.CSS_SELECTOR, ".studio-tab[data-name=cost]").click()
            wait(
                chrome, f"{text(chrome, '.studio-note')}.includes('cannot be loaded') === {str(bool(blocked)).lower()}"
            )
        for name, shown in (
            ("timeline", f"{text(chrome, '.rx-place')} === '11 / 11'"),
            ("compare", "document.querySelectorAll('.studio-diff').length === 9"),
            ("table", "document.querySelectorAll('.rx-space .rx-tr').length === 9"),
            ("problems", f"{text(chrome, '.studio-empty')}.startsWith('Nothing')"),
            ("cost", "document.querySelectorAll('.studio-table tbody tr').length === 5"),
            ("presence", f"{text(chrome, '.rx-title')}.includes('0')"),
        ):
            chrome.find_element(By.CSS_SELECTOR, f".studio-tab[data-name={name}]").click()
            wait(chrome, shown)
            assert chrome.execute_script("return window.failed") is None
            chrome.save_screenshot(str(tmp_path / f"studio-{name}-dark.png"))
        chrome.find_element(By.CSS_SELECTOR, ".studio-tab[data-name=conflicts]").click()
        wait(chrome, f"{text(chrome, '.studio-empty')}.startsWith('Nobody')")
        asyncio.run(collide())
        wait(chrome, "document.querySelectorAll('.studio-conflict').length === 2")
        merged, overwritten = chrome.find_elements(By.CSS_SELECTOR, ".studio-conflict")
        assert "todo/0 merged" in merged.text.replace("\n", " ")
        assert "config/mode overwritten unseen" in overwritten.text.replace("\n", " ")
        assert "ana wrote in version 12" in overwritten.text
        assert EVIL in overwritten.text.replace('\\"', '"'), "as text"
        chrome.save_screenshot(str(tmp_path / "studio-conflicts-dark.png"))
        chrome.find_element(By.CSS_SELECTOR, ".studio-bar input").send_keys("slow")
        wait(chrome, f"{text(chrome, '.studio-bar [role=status]')}.startsWith('1 of 2')")
        assert len(chrome.find_elements(By.CSS_SELECTOR, ".studio-conflict")) == 1
        assert chrome.execute_script("return window.failed") is None
        chrome.find_element(By.CSS_SELECTOR, ".studio-tab[data-name=doctor]").click()
        wait(chrome, "document.querySelector('.studio-bar button')").click()
        wait(chrome, f"{text(chrome, '.studio-list')}.includes('sequenced: can be used (recommended)')")
        process.send_signal(signal.SIGSTOP)
        try:
            wait(chrome, f"{text(chrome, '.rx-badge')} === 'no answer'")
        finally:
            process.send_signal(signal.SIGCONT)
        wait(chrome, f"{text(chrome, '.rx-badge')} === 'live'")
    wait(chrome, f"{text(chrome, '.studio-mode')} === 'no answer'")
    wait(chrome, f"{text(chrome, '.rx-badge')} === 'server gone'")


def test_the_studio_says_that_its_database_was_deleted(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    async def fill() -> None:
        async with rxmps3.connect(f"file:{tmp_path}/board") as db:
            await db.put("todo/0", "milk")

    asyncio.run(fill())
    with command("studio", "file:board", "--no-open", cwd=tmp_path) as (_, address):
        chrome.get(address)
        wait(chrome, "document.querySelectorAll('.rx-item').length === 1")
        shutil.rmtree(tmp_path / "board/main")
        wait(chrome, f"{text(chrome, '.rx-problem')}.includes('deleted: nothing of it is left')")
        assert chrome.execute_script("return document.querySelector('.rx-problem').checkVisibility()")
        chrome.find_element(By.CSS_SELECTOR, ".studio-tab[data-name=problems]").click()
        wait(chrome, f"{text(chrome, '.rx-problem')}.includes('deleted: nothing of it is left')")
        assert "Nothing" not in chrome.find_element(By.TAG_NAME, "main").text
        for name in ("light", "dark"):
            theme(chrome, name)
            picture(chrome, tmp_path / f"gone-{name}.png")
