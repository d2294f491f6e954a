"""Chromium without a window, and notebooks opened in it."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CODE_CELLS = "document.querySelectorAll('.jp-CodeCell')"
STATUS = "document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status"
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent).join(' ')"
SWITCHES = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    # two pages at once are both in front
    *("--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"),
    "--disable-renderer-backgrounding",
]
WITHIN = 120
"""Seconds for a page to come to what it is expected to: generous, as it only matters when it does not."""


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.fail("this test needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (*SWITCHES, f"--user-data-dir={profile}", "--window-size=1120,800"):
        options.add_argument(switch)
    service = webdriver.ChromeService(driver, log_output=os.devnull)
    chrome = webdriver.Chrome(options, service)
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture
def chrome(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "profile") as chrome:
        yield chrome


def wait(chrome: webdriver.Chrome, script: str) -> Any:
    """Wait until an expression is true in the page; its value."""
    end = time.monotonic() + WITHIN / 2
    while not (found := chrome.execute_script(f"return {script}")):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.05)
    return found


def connections(url: str) -> int:
    """How many pages are connected to kernels that wait for work; none that is known while one of them starts."""
    try:
        with urllib.request.urlopen(f"{url}/api/kernels") as answer:
            return sum(kernel["connections"] for kernel in json.load(answer) if kernel["execution_state"] == "idle")
    except urllib.error.HTTPError as error:
        if error.code != 500:
            raise
        return 0  # the server cannot describe a kernel that it is about to start


class NotebookPage:
    """A notebook in a window of its own."""

    def __init__(self, chrome: webdriver.Chrome, url: str, name: str, code_cells: int) -> None:
        if chrome.current_url.startswith("http"):
            chrome.switch_to.new_window("window")
        self._chrome = chrome
        self._window = chrome.current_window_handle
        chrome.get(f"{url}/doc/tree/{name}")
        self.wait(f"return {CODE_CELLS}.length === {code_cells}")
        # A page calls a kernel idle that it does not have yet, and then runs nothing: so the server is asked.
        pages = len(chrome.window_handles)
        self.until(lambda: connections(url) >= pages, "each page has the kernel")

    def ask(self, script: str) -> Any:
        """What a function's body in JavaScript returns."""
        self._chrome.switch_to.window(self._window)
        return self._chrome.execute_script(script)

    def wait(self, script: str) -> Any:
        """The first true value of a function's body in JavaScript."""
        return WebDriverWait(self._chrome, WITHIN, 0.1).until(lambda _: self.ask(script), f"never true: {script}")

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something outside of the page."""
        WebDriverWait(self._chrome, WITHIN, 0.1).until(lambda _: true(), f"never: {what}")

    def press(self, *keys: str) -> None:
        """Press keys together."""
        self._chrome.switch_to.window(self._window)
        self._chrome.switch_to.active_element.send_keys(*keys)

    def run(self, first: int, last: int) -> None:
        """Run code cells, as a user does: click into one, press Shift+Enter, wait for its number, go to the next."""
        for number in range(first, last + 1):
            cell = f"{CODE_CELLS}[{number}]"
            self.ask(f"{cell}.scrollIntoView({{block: 'center'}})")
            self._chrome.find_elements(By.CSS_SELECTOR, ".jp-CodeCell .cm-content")[number].click()
            self.wait(f"return {cell}.contains(document.activeElement)")
            self.press(Keys.SHIFT, Keys.ENTER)
            self.wait(f"return /\\d/.test({cell}.querySelector('.jp-InputPrompt').textContent) && {STATUS} === 'idle'")

    def record(self, selector: str) -> None:
        """Note from now on each text that an element comes to, when, and the numbers of the cells then."""
        self.ask(
            f"""
            const element = document.querySelector('{selector}');
            const note = () => window.recorded.push([Date.now(), element.innerText, {PROMPTS}]);
            window.recorded = [];
            new MutationObserver(note).observe(element, {{childList: true, subtree: true, characterData: true}});
            """
        )

    def recorded(self) -> list[tuple[int, str, str]]:
        return [tuple(one) for one in self.ask("return window.recorded")]

    def type_into(self, selector: str, text: str) -> None:
        """Click on an element that takes text, replace its text and press Enter."""
        self._chrome.switch_to.window(self._window)
        self._chrome.find_element(By.CSS_SELECTOR, selector).click()
        self.press(Keys.CONTROL, "a")
        self.press(text, Keys.ENTER)

    def picture(self, path: Path, from_cell: int, height: int = 800) -> None:
        """A screenshot whose top is a certain code cell."""
        self._chrome.switch_to.window(self._window)
        size = self._chrome.get_window_size()
        self._chrome.set_window_size(size["width"], height)
        self.ask(f"{CODE_CELLS}[{from_cell}].scrollIntoView()")
        time.sleep(1)  # until what is drawn has the size of the window
        self._chrome.save_screenshot(str(path))
        self._chrome.set_window_size(size["width"], size["height"])
