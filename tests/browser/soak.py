"""Whether pages and the process that serves them keep their size: ``python -m tests.browser.soak [--minutes 2]``.

A table of 2,000 rows, a chart with a window of ten seconds, a live view and an inspector in a page of a real browser,
while 52 keys change twenty times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import rxmps3
from rxmps3.jupyter.charts import ChartModel
from rxmps3.jupyter.html import drawn
from rxmps3.jupyter.inspecting import InspectorModel
from rxmps3.jupyter.showing import LiveModel
from rxmps3.jupyter.tables import TableModel
from rxmps3.jupyter.viewmodel import ViewModel
from tests.browser.bare import bare_page
from tests.browser.pages import chromium

ROWS, AT_ONCE, EVERY = 2000, 50, 0.05


def size_of(chrome: Any) -> tuple[float, int]:
    """The page's heap in MB after a collection, and its nodes; what the test's own carrier has kept is let go."""
    chrome.execute_script("for (const one of Object.values(models)) one.received.length = one.sent.length = 0")
    chrome.execute_cdp_cmd("Performance.enable", {})
    chrome.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    metrics = {one["name"]: one["value"] for one in chrome.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    return metrics["JSHeapUsedSize"] / 1e6, metrics["Nodes"]


async def soak(minutes: float, folder: str) -> None:
    loop, chance, made = asyncio.get_running_loop(), random.Random(1), 0
    db = await rxmps3.connect(f"file:{folder}/bucket", by="soak", poll=0.2)
    await db.put_all({f"row/{number:04}": {"n": number, "x": 0.5} for number in range(ROWS)})
    models: dict[str, ViewModel] = {
        "table": TableModel(db, "row/", None, None, "", 30, loop),
        "chart": ChartModel(db, "metric/", None, None, "line", 10, "", 30, loop),
        "live": LiveModel(db.observe_prefix("metric/"), drawn, 30, loop),
        "inspector": InspectorModel(db, loop),
    }

    async def change() -> None:
        nonlocal made
        while True:
            rows = {f"row/{chance.randrange(ROWS):04}": {"n": made + n, "x": chance.random()} for n in range(AT_ONCE)}
            db.put_all(rows | {"metric/a": chance.random(), "metric/b": chance.random()})
            made += AT_ONCE + 2
            await asyncio.sleep(EVERY)

    async with bare_page(models) as url:
        with chromium(Path(folder) / "profile") as chrome:
            await asyncio.to_thread(chrome.get, url)
            changing, begun = asyncio.create_task(change()), time.monotonic()
            while time.monotonic() - begun < minutes * 60:
                await asyncio.sleep(30)
                heap, nodes = await asyncio.to_thread(size_of, chrome)
                gc.collect()
                memory = psutil.Process().memory_info().rss / 1e6
                print(
                    f"{time.monotonic() - begun:4.0f} s  {made:,} changes  page {heap:.1f} MB, {nodes:,} nodes"
                    f"  process {memory:.0f} MB",
                    flush=True,
                )
            changing.cancel()
    for model in models.values():
        model.dispose()
    await db.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(soak(parser.parse_args().minutes, place))
