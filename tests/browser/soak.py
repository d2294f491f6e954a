"""Whether a kernel and a page keep their size: ``python -m tests.browser.soak [--minutes 10]``.

A notebook in JupyterLab, in a real browser, shows a table of 2,000 rows, a chart with a window of ten seconds, a live view
and an inspector, while its kernel changes 52 keys twenty times a second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil

from tests.browser.lab import jupyterlab
from tests.browser.pages import NotebookPage, chromium

NAME = "soak.ipynb"
CELLS = (
    """
import asyncio, os, pathlib, random, time
import rxmps3
from rxmps3.jupyter import chart, inspector, live, table

ROWS, AT_ONCE, EVERY = 2000, 50, 0.05
db = await rxmps3.connect("file:soak-bucket", by="soak", poll=0.2)
await db.put_all({f"row/{number:04}": {"n": number, "x": 0.5} for number in range(ROWS)})
pathlib.Path("soak-pid").write_text(str(os.getpid()))
""",
    "table(db, 'row/')",
    "chart(db, 'metric/', window=10)",
    "live(db.observe_prefix('metric/'), db=db)",
    "inspector(db)",
    """
async def change():
    made, chance, begun = 0, random.Random(1), time.monotonic()
    for turn in range(10**9):
        rows = {f"row/{chance.randrange(ROWS):04}": {"n": made + n, "x": chance.random()} for n in range(AT_ONCE)}
        db.put_all(rows | {"metric/a": chance.random(), "metric/b": chance.random(), "made": made})
        made += len(rows) + 3
        await asyncio.sleep(max(0, begun + (turn + 1) * EVERY - time.monotonic()))

changing = asyncio.create_task(change())
""",
)
"""The code cells of the notebook."""


class Sample(NamedTuple):
    """How large both are.

    Attributes:
        seconds: since the changes began.
        page: MB of the page's heap after a collection.
        nodes: of the page's documents.
        kernel: MB resident.
        changes: that the kernel has made so far.
    """

    seconds: float
    page: float
    nodes: int
    kernel: float
    changes: int


def notebook(folder: Path) -> None:
    """Write the notebook into a folder."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    written = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(written, folder / NAME)


def sizes(page: NotebookPage, chrome: Any, pid: int, begun: float) -> Sample:
    page.ask("return 1")  # to its window
    chrome.execute_cdp_cmd("Performance.enable", {})
    chrome.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    metrics = {one["name"]: one["value"] for one in chrome.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    kernel = psutil.Process(pid).memory_info().rss / 1e6
    return Sample(time.monotonic() - begun, metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"]), kernel, 0)


def samples(chrome: Any, lab: str, folder: Path, seconds: float, every: float) -> Iterator[Sample]:
    """Run the notebook in a folder, and measure while no cell runs."""
    from rxmps3.blocking import connect

    page = NotebookPage(chrome, lab, NAME, code_cells=len(CELLS))
    page.run(0, len(CELLS) - 1)
    page.wait("return document.querySelectorAll('.jp-CodeCell .rx-badge').length === 4")
    begun, pid = time.monotonic(), int((folder / "soak-pid").read_text())
    with connect(f"file:{folder}/soak-bucket", read_only=True) as db:
        while (passed := time.monotonic() - begun) < seconds:
            time.sleep(min(every, max(0.1, seconds - passed)))
            yield sizes(page, chrome, pid, begun)._replace(changes=db.get("made", 0))
    page.wait("return [...document.querySelectorAll('.rx-badge')].every(one => /live|pending/.test(one.textContent))")
    assert page.ask("return document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]').length") == 0


def soaked(folder: Path, seconds: float, every: float) -> Iterator[Sample]:
    """A JupyterLab, a browser and a bucket of its own, and the samples taken in them."""
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    notebook(notebooks)
    with jupyterlab(notebooks, folder / "home") as lab, chromium(folder / "profile") as chrome:
        yield from samples(chrome, lab, notebooks, seconds, every)


def growth(taken: Sequence[Sample]) -> tuple[float, float]:
    """MB that the page and the kernel have grown by, from the second quarter of the samples to the last quarter."""
    quarter = max(1, len(taken) // 4)
    early, late = taken[quarter : 2 * quarter], taken[-quarter:]
    page, kernel = (
        statistics.median(getattr(one, what) for one in late) - statistics.median(getattr(one, what) for one in early)
        for what in ("page", "kernel")
    )
    return page, kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=20, help="seconds between two measurements")
    asked = parser.parse_args()
    taken: list[Sample] = []
    with tempfile.TemporaryDirectory() as place:
        for one in soaked(Path(place), asked.minutes * 60, asked.every):
            taken.append(one)
            print(
                f"{one.seconds:4.0f} s  {one.changes:,} changes  page {one.page:.1f} MB, {one.nodes:,} nodes"
                f"  kernel {one.kernel:.0f} MB",
                flush=True,
            )
    print("growth from the second to the last quarter: page {:+.1f} MB, kernel {:+.1f} MB".format(*growth(taken)))


if __name__ == "__main__":
    main()
