"""`rxmps3.jupyter` in a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("nbclient")

from tests.jupyter.kernels import Kernel, kernel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETUP = """
import asyncio, rxmps3, logging
from rxmps3.jupyter import bind, live
from reactivex import Subject, operators as ops
"""


@pytest.fixture
async def cells() -> AsyncIterator[Kernel]:
    async with kernel() as running:
        await running.run(SETUP)
        yield running


async def test_a_view_goes_on_while_no_cell_runs(cells: Kernel) -> None:
    await cells.run("db = await rxmps3.connect('memory:idle', by='me'); view = live(db.observe('k')); view")
    await cells.run("asyncio.get_running_loop().call_later(0.3, lambda: db.put('k', '<b>'));")
    assert await cells.run("await asyncio.sleep(0.6); view.html") == "'<pre>&lt;b&gt;</pre>'"


async def test_a_cell_run_twenty_times_is_as_one_run(cells: Kernel) -> None:
    cell = cells.cell(
        "db = await rxmps3.connect('memory:again', poll=0.05)\n"
        "view = live(db.observe_prefix(''))\n"
        "import ipywidgets; slider = ipywidgets.IntSlider(); bound = bind(slider, 'value', db.key('gain', default=0))\n"
        "view"
    )
    count = (
        "import gc\nfrom rxmps3.replica import Replica\n"
        "replicas = [one for one in gc.get_objects() if isinstance(one, Replica) and not one._closed]\n"
        "router = replicas[0].router\n"
        "print(len(replicas), len([t for t in asyncio.all_tasks() if not t.done() and t.get_name().startswith('rxmps3 look ')]),\n"
        "      sum(map(len, router._by_key.values())), sum(map(len, router._by_prefix.values())))"
    )
    await cells.run(cell)
    once = await cells.run(count)
    for _ in range(19):
        await cells.run(cell)
    assert await cells.run(count) == once
    assert once.split() == ["1"] * 4, "one replica, one poller, one subscription of the binding, one of the view"


async def test_a_slider_and_a_key_are_the_same_and_nothing_echoes(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets\n"
        "db = await rxmps3.connect('memory:slider')\n"
        "gain = db.key('gain', default=3)\n"
        "one, two = ipywidgets.IntSlider(), ipywidgets.IntSlider()\n"
        "changes = []; db.changes('gain').subscribe(changes.append)\n"
        "for slider in (one, two): bind(slider, 'value', gain)"
    )
    assert await cells.run("await asyncio.sleep(0.2); one.value, two.value") == "(3, 3)"
    assert await cells.run("one.value = 7\nawait asyncio.sleep(0.3); two.value, await db.get('gain')") == "(7, 7)"
    assert await cells.run("[change.after for change in changes]") == "[7]"
    await cells.run("for n in range(50): two.value = n")
    assert await cells.run("await asyncio.sleep(0.3); one.value, gain.value") == "(49, 49)"
    assert int(await cells.run("len(changes)")) < 10, "fifty moves are a few writes"
    await cells.run("await db.put('gain', 'not a number')")
    assert await cells.run("await asyncio.sleep(0.2); one.value") == "49"


async def test_errors_ends_and_bad_renderers_are_shown(cells: Kernel) -> None:
    await cells.run("s = Subject(); a = live(s); b = live(s, render=lambda v: 1 / v)")
    await cells.run("s.on_next(0)")
    assert "division by zero" in await cells.run("await asyncio.sleep(0.1); b.html")
    await cells.run("s.on_error(ValueError('<oops>'))")
    shown = await cells.run("await asyncio.sleep(0.1); a.html")
    assert "<pre>0</pre>" in shown
    assert "ValueError: &lt;oops&gt;" in shown
    await cells.run("t = Subject(); c = live(t); t.on_next({'a': 1}); t.on_completed()")
    assert "completed" in await cells.run("await asyncio.sleep(0.1); c.html")


async def test_a_flooded_kernel_answers_and_ends_on_the_latest(cells: Kernel) -> None:
    """Ten thousand changes a second for two seconds, from a thread: few frames, and the last is the last."""
    await cells.run(
        "import threading, time\n"
        "flood = Subject(); view = live(flood)\n"
        "def pour():\n"
        "    begun = time.monotonic()\n"
        "    for n in range(20_000):\n"
        "        flood.on_next(n)\n"
        "        ahead = begun + n / 10_000 - time.monotonic()\n"
        "        if ahead > 0.005: time.sleep(ahead)\n"
        "thread = threading.Thread(target=pour); thread.start()"
    )
    answered = await cells.run(
        "begun = time.monotonic(); await asyncio.sleep(0); print(thread.is_alive(), time.monotonic() - begun < 1)"
    )
    assert answered == "True True"
    await cells.run("while thread.is_alive(): await asyncio.sleep(0.05)")
    assert await cells.run("await asyncio.sleep(0.2); view.html") == "'<pre>19999</pre>'"
    assert int(await cells.run("view.frames")) <= 30 * 20


async def test_the_text_of_a_view_is_its_latest_value(cells: Kernel) -> None:
    await cells.run("s = Subject(); view = live(s); other = live(s, render=lambda v: '<b>' + v['a'])")
    assert await cells.run("print(view)") == "nothing yet"
    await cells.run("s.on_next({'a': '<1>', 'longer': [2]})")
    assert await cells.run("print(repr(view))") == "a       <1>\nlonger  [2]"
    assert await cells.run("print(other)") == "a       <1>\nlonger  [2]", "the text is of the value, not of its HTML"
    assert await cells.run("print(view._repr_mimebundle_()[0]['text/plain'])") == "a       <1>\nlonger  [2]"
    await cells.run("s.on_next({})")
    assert await cells.run("print(view)") == "{}"
    await cells.run("s.on_next('plain'); s.on_error(ValueError('oops'))")
    assert await cells.run("print(view)") == "plain\nValueError: oops"


async def test_what_is_saved_is_the_value_then_and_the_last_one_in_the_end(cells: Kernel) -> None:
    await cells.run("s, t, u = Subject(), Subject(), Subject()")
    disposed, completed, closed = (
        cells.cell(f"view_{name} = live({name}); {name}.on_next('first'); view_{name}") for name in "stu"
    )
    for cell in (disposed, completed, closed):
        assert await cells.run(cell) == "first"
        assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][0]["data"]
    await cells.run(
        "for subject in (s, t, u): subject.on_next('last')\nawait asyncio.sleep(0.2)  # the frame of this cell"
    )
    assert said(disposed) == "first", "drawing the widget anew for each value would flicker"
    await cells.run("view_s.dispose(); t.on_completed(); view_u.close(); await asyncio.sleep(1)")
    assert [said(cell) for cell in (disposed, completed, closed)] == ["last", "last\ncompleted", "first"]
    for cell in (disposed, completed):
        assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][0]["data"]
    assert (
        await cells.run("view_t.html") == "'<pre>last</pre><div style=\"color:#777;font-size:smaller\">completed</div>'"
    )
    assert await cells.run("view_u") == "last", "a closed view is still readable"


def said(cell: Any) -> str:
    """The text that a notebook saves for a cell with one output."""
    [output] = cell["outputs"]
    return output["data"]["text/plain"]
