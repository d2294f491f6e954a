"""The pages of the examples, each with two people in two windows, or with programs that report to it.

Pictures of the documentation come from here: ``RXMPS3_PICTURES=docs/images python -m pytest -m browser``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import rxmps3
from tests.browser.pages import chromium, wait
from tests.docs.blocks import ROOT
from tests.examples.helpers import leave, read_until, running

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]

EVIL = "<img src=x onerror='window.failed=1'></script><script>window.failed=2</script>"

RECORD = """
    window.said = [];
    const state = document.querySelector('#state');
    new MutationObserver(() => window.said.push(state.textContent)).observe(state, { childList: true });
"""
"""Note what a screen reader says of the state."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def chrome(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    yield browser
    for window in browser.window_handles[1:]:
        browser.switch_to.window(window)
        browser.close()
    browser.switch_to.window(browser.window_handles[0])
    browser.get("about:blank")


@contextmanager
def served(*command: str) -> Iterator[str]:
    """The address of a page, as its program prints it."""
    with running(*command, "--port", "0") as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), server.stderr and server.stderr.read()
        yield address


def two_windows(chrome: webdriver.Chrome, address: str) -> tuple[str, str]:
    chrome.get(address)
    one = chrome.current_window_handle
    chrome.switch_to.new_window("window")
    chrome.get(address)
    return one, chrome.current_window_handle


def put(place: str, values: dict[str, Any]) -> None:
    async def putting() -> None:
        async with rxmps3.connect(place, by="elsewhere", shared=False) as db:
            await db.put_all(values)

    asyncio.run(putting())


def pictures(chrome: webdriver.Chrome, name: str, width: int, height: int, tmp_path: Path, kept: str) -> None:
    """The page in light and in dark, one of which is in the documentation."""
    size = chrome.get_window_size()
    frame = chrome.execute_script("return window.outerHeight - window.innerHeight")
    chrome.set_window_size(width, height + frame)
    for theme in ("light", "dark"):
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        time.sleep(0.4)  # the colours take a moment
        path = tmp_path / f"{name}-{theme}.png"
        chrome.save_screenshot(str(path))
        assert path.stat().st_size > 3000
        if "RXMPS3_PICTURES" in os.environ and theme == kept:
            shutil.copy(path, ROOT / os.environ["RXMPS3_PICTURES"])
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chrome.set_window_size(size["width"], size["height"])


def test_the_page_shows_trainings_and_stops_one(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    place, program = f"file:{tmp_path}/lab", "examples/training.py"
    put(place, {"lab/run/odd": None, f"lab/run/{EVIL}": {"losses": "none"}})
    often = ["--steps", "5000", "--pause", "0.02"]
    with (
        served(program, "watch", place) as address,
        running(program, "run", place, "fast", "--rate", "0.5", *often) as fast,
        running(program, "run", place, "slow", "--rate", "0.02", *often) as slow,
    ):
        one, _ = two_windows(chrome, address)
        wait(chrome, "document.querySelectorAll('article').length === 4")
        assert chrome.execute_script("return window.failed") is None
        put(place, {"lab/run/odd": rxmps3.MISSING, f"lab/run/{EVIL}": rxmps3.MISSING})
        wait(chrome, "document.querySelectorAll('article.running').length === 2")
        points = "document.querySelector('polyline').getAttribute('points').split(' ').length"
        before = chrome.execute_script(f"return {points}")
        wait(chrome, f"{points} > {before} + 5")
        wait(chrome, "[...document.querySelectorAll('button')].some(one => one.ariaLabel === 'Stop slow')")
        stop = chrome.execute_script(
            "return [...document.querySelectorAll('button')].find(one => one.ariaLabel === 'Stop slow')"
        )
        chrome.execute_script(RECORD)
        ActionChains(chrome).click_and_hold(stop).perform()
        before = chrome.execute_script(f"return {points}")
        wait(chrome, f"{points} > {before} + 5")
        assert chrome.execute_script("return document.activeElement === arguments[0]", stop)
        ActionChains(chrome).release().perform()  # a button that was made anew meanwhile would not be pressed
        wait(chrome, "document.querySelector('article.stopped h2')?.textContent === 'slow'")
        assert chrome.execute_script("return document.activeElement.textContent") == "slow", "no longer on the button"
        assert chrome.execute_script("return window.said") == ["1 running"]
        chrome.switch_to.window(one)
        wait(chrome, "document.querySelector('article.stopped h2')?.textContent === 'slow'")
        assert leave(slow) == (0, "")
        assert fast.poll() is None
        wait(chrome, "document.querySelector('#state').textContent === '1 running'")
        pictures(chrome, "training", 900, 360, tmp_path, "light")


def test_a_slider_of_a_flag_moves_in_both_windows_and_in_a_service(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    place = f"file:{tmp_path}/flags"
    with (
        served("examples/flags_page.py", place) as address,
        running("examples/feature_flags.py", "serve", place) as service,
    ):
        read_until(service, "new-checkout is on for 0 %")
        one, _ = two_windows(chrome, address)
        wait(chrome, "document.querySelector('#state').textContent === 'live'")
        slider = chrome.find_elements(By.CSS_SELECTOR, "input")[1]
        assert slider.get_attribute("aria-label") == "new-checkout"
        slider.send_keys(Keys.ARROW_RIGHT * 25)
        wait(chrome, "document.querySelectorAll('output')[1].textContent === '25 %'")
        chrome.switch_to.window(one)
        wait(chrome, "document.querySelectorAll('output')[1].textContent === '25 %'")
        read_until(service, "new-checkout is on for 25 %")
        on = chrome.execute_script("return document.querySelectorAll('article')[1].querySelectorAll('.on').length")
        from examples.feature_flags import Flag  # pyright: ignore

        assert on == sum(Flag(25).is_on("new-checkout", f"user-{number}") for number in range(100))
        chrome.execute_script(RECORD)
        put(place, {"flag/new-checkout": EVIL})
        wait(chrome, "document.querySelectorAll('output')[1].textContent === '0 %'")
        put(place, {"flag/new-checkout": {"percent": 40}})
        wait(chrome, "document.querySelectorAll('output')[1].textContent === '40 %'")
        assert chrome.execute_script("return window.said") == []
        pictures(chrome, "flags", 620, 420, tmp_path, "dark")


def test_jobs_that_are_added_in_one_window_are_done_in_both(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    place, program = f"file:{tmp_path}/jobs", "examples/jobs.py"
    waiting = {f"job/a{number}": {"number": 10**12 + number, "state": "waiting"} for number in range(12)}
    put(place, {"job/0": EVIL, "job/1": {"number": EVIL, "state": "waiting", "by": EVIL}} | waiting)
    with served(program, "board", place) as address:
        one, two = two_windows(chrome, address)
        wait(chrome, "document.querySelector('.waiting h2').textContent === 'waiting 13'")
        assert chrome.execute_script("return window.failed") is None
        put(place, {"job/0": rxmps3.MISSING, "job/1": rxmps3.MISSING})
        chrome.find_element(By.CSS_SELECTOR, "input").send_keys("600851475143", Keys.ENTER)
        wait(chrome, "document.querySelector('.waiting h2').textContent === 'waiting 13'")
        chrome.switch_to.window(one)
        wait(chrome, "document.querySelector('.waiting').textContent.includes('600851475143')")
        quick = ["--seconds", "0.3"]
        with (
            running(program, "work", place, "ana", *quick),
            running(program, "work", place, "bob", *quick),
        ):
            wait(chrome, "/done [5-9]/.test(document.querySelector('.done h2').textContent)")
            pictures(chrome, "jobs", 900, 520, tmp_path, "light")
            for window in (one, two):
                chrome.switch_to.window(window)
                wait(chrome, "document.querySelector('.done').textContent.includes('= 71 × 839 × 1471 × 6857')")
