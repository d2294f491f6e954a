"""`rxmps3.jupyter` in a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("nbclient")

import rxmps3
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
        "from rxmps3.jupyter import Binding, LiveView; gc.collect()\n"
        "from ipywidgets import Layout\n"
        "widgets = [one for one in gc.get_objects() if isinstance(one, (LiveView, Layout)) and one.comm is not None]\n"
        "replicas = [one for one in gc.get_objects() if isinstance(one, Replica) and not one._closed]\n"
        "router = replicas[0].router\n"
        "print(len(replicas), len([t for t in asyncio.all_tasks() if not t.done() and t.get_name().startswith('rxmps3 ticks ')]),\n"
        "      sum(map(len, router._by_key.values())), sum(map(len, router._by_prefix.values())),\n"
        "      sum(isinstance(one, Binding) for one in gc.get_objects()),\n"
        "      sum(isinstance(one, LiveView) for one in widgets), len(widgets))"
    )
    await cells.run(cell)
    once = await cells.run(count)
    for _ in range(19):
        await cells.run(cell)
    *again, widgets = (await cells.run(count)).split()
    assert again == once.split()[:-1]
    assert again == ["1"] * 6, "a replica, a poller, a subscription of the binding, one of the view, and both"
    assert int(widgets) == int(once.split()[-1]) + 19, "the layouts of the sliders, which are not ours"


async def test_what_a_cell_made_ends_with_it_also_when_it_makes_nothing_any_more(cells: Kernel) -> None:
    await cells.run("s, t = Subject(), Subject()\nfrom IPython.display import display")
    await cells.run_in_lab("one", "view = live(s); display(view)")
    await cells.run_in_lab("two", "other = live(t); other")
    await cells.run_in_lab("three", "display(other)")
    assert await cells.run("len(s.observers), len(t.observers)") == "(1, 1)"
    await cells.run_in_lab("one", "1 + 1")
    assert await cells.run("len(s.observers), view.comm, len(t.observers)") == "(0, None, 1)"
    await cells.run_in_lab("two", "1 + 1")
    assert await cells.run("len(t.observers), other.comm is None") == "(0, False)", "it is on the screen elsewhere"
    await cells.run_in_lab("one", "view = live(s)")
    await cells.run_in_lab("four", "1 + 1", deleted=["one"])
    assert await cells.run("len(s.observers)") == "0"


async def test_what_a_callback_made_goes_on_at_the_next_call(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets; s = Subject(); button = ipywidgets.Button(); made = []\n"
        "def clicked(_): made.append(live(s))\n"
        "button.on_click(clicked)"
    )
    button = (await cells.run("print(button.comm.comm_id)")).strip()
    for _ in range(3):
        await cells.click(button)
    assert await cells.run("len(made), len(s.observers)") == "(3, 3)"


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


async def test_what_is_there_already_is_shown_at_once(cells: Kernel) -> None:
    await cells.run("import ipywidgets; db = await rxmps3.connect('memory:there'); await db.put('k', 3)")
    assert await cells.run("slider = ipywidgets.IntSlider(); bind(slider, 'value', db.key('k')); slider.value") == "3"
    assert await cells.run("live(db.observe('k')).html") == "'<pre>3</pre>'"


async def test_what_waits_for_its_frame_when_the_kernel_ends_is_written(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    async with kernel() as cells:
        await cells.run(SETUP + "import ipywidgets; from rxmps3.blocking import connect")
        await cells.run(
            f"db = connect({url!r}); slider, other = ipywidgets.IntSlider(), ipywidgets.IntSlider()\n"
            "for widget, key in ((slider, 'gain'), (other, 'pace')): bind(widget, 'value', db.key(key), fps=0.01);"
        )
        await cells.run(
            "slider.value = 1; other.value = 1; await asyncio.sleep(0.2); slider.value = 7; other.value = 8"
        )
        assert await cells.run("db['gain'], db['pace']") == "(1, 1)"
    async with rxmps3.connect(url) as db:
        assert await db.get_prefix() == {"gain": 7, "pace": 8}


async def test_what_can_be_empty_is_emptied_with_its_key(cells: Kernel) -> None:
    await cells.run(
        "import datetime, ipywidgets\n"
        "db = await rxmps3.connect('memory:empty')\n"
        "def drop(): return ipywidgets.Dropdown(options=['a', 'b'], value='a')\n"
        "choice, day = db.key('choice'), db.key('day', datetime.date)\n"
        "one, two, slider = drop(), drop(), ipywidgets.IntSlider(3)\n"
        "first, second = ipywidgets.DatePicker(), ipywidgets.DatePicker(value=datetime.date(2026, 1, 1))\n"
        "for widget, key in ((one, choice), (two, choice), (first, day), (second, day)): bind(widget, 'value', key)\n"
        "bind(slider, 'value', db.key('gain'));"
    )
    assert await cells.run("await asyncio.sleep(0.2); one.value, second.value") == (
        "('a', datetime.date(2026, 1, 1))"
    ), "a key without a value leaves widgets as they are"
    await cells.run("one.value = 'b'; first.value = datetime.date(2026, 2, 2); slider.value = 7")
    assert await cells.run("await asyncio.sleep(0.2); two.value, second.value") == "('b', datetime.date(2026, 2, 2))"
    await cells.run("one.value = None; first.value = None; db.delete('gain')")
    assert await cells.run("await asyncio.sleep(0.2); two.value, second.value, slider.value") == "(None, None, 7)"
    await cells.run("late = drop(); bind(late, 'value', choice)")
    assert await cells.run("await asyncio.sleep(0.2); late.value, await db.get('choice', 1)") == "(None, None)"


async def test_what_the_key_refuses_stays_in_the_widget_and_is_reported(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets; db = await rxmps3.connect('memory:refused'); failures = []; db.errors.subscribe(failures.append)\n"
        "text = ipywidgets.Text(); bind(text, 'value', db.key('n', int, default=0)); text.value = 'x'"
    )
    assert await cells.run("await asyncio.sleep(0.2); text.value, len(failures), await db.get('n')") == "('x', 1, None)"


async def test_arguments_that_make_no_sense_are_refused_at_once(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets; db = await rxmps3.connect('memory:refusing'); k = db.key('k'); w = ipywidgets.IntSlider()\n"
        "import gc; from rxmps3.jupyter import LiveView\n"
        "def refused(call, *arguments, **options):\n"
        "    try: call(*arguments, **options)\n"
        "    except rxmps3.InvalidOption as error: return str(error)"
    )
    for call, complaint in {
        "live, 'k'": "'k' is not an Observable",
        "live, k, render='b'": "cannot be called",
        "live, k, fps=0": "fps=0 is not above 0",
        "bind, w, 'vlaue', k": "has no trait 'vlaue'",
        "bind, w, 'value', k, fps=-1": "fps=-1 is not above 0",
        "bind, w, 'value', db.observe('k')": "is not a key",
        "bind, 'w', 'value', k": "'w' is not a widget",
    }.items():
        assert complaint in await cells.run(f"print(refused({call}))"), call
    assert await cells.run("any(isinstance(one, LiveView) for one in gc.get_objects())") == "False"


async def test_figures_are_drawn_as_the_kernel_was_told_to(cells: Kernel) -> None:
    await cells.run(
        "class Figure: pass\n"
        "get_ipython().display_formatter.formatters['image/png'].for_type(Figure, lambda figure: b'png')\n"
        "s = Subject(); view = live(s); s.on_next(Figure())"
    )
    assert 'src="data:image/png;base64,cG5n"' in await cells.run("await asyncio.sleep(0.1); view.html")


async def test_errors_ends_and_bad_renderers_are_shown(cells: Kernel) -> None:
    await cells.run(
        "s = Subject(); a = live(s); b = live(s, render=lambda v: 1 / v); d = live(s, render=lambda v: [v, '<'])"
    )
    await cells.run("s.on_next(0)")
    assert "division by zero" in await cells.run("await asyncio.sleep(0.1); b.html")
    assert "<pre>[0, &#x27;&lt;&#x27;]</pre>" in await cells.run("print(d.html)"), (
        "what is no HTML is drawn as any value"
    )
    await cells.run("s.on_error(ValueError('<oops>'))")
    shown = await cells.run("await asyncio.sleep(0.1); a.html")
    assert "<pre>0</pre>" in shown
    assert "ValueError: &lt;oops&gt;" in shown
    await cells.run("t = Subject(); c = live(t); t.on_next({'a': 1}); t.on_completed()")
    assert "completed" in await cells.run("await asyncio.sleep(0.1); c.html")
    await cells.run("import reactivex; e = live(reactivex.empty())")
    assert "nothing yet" not in await cells.run("await asyncio.sleep(0.1); e.html"), "nothing will come"


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


async def test_html_made_of_a_value_is_cleaned_and_what_an_object_draws_is_trusted(cells: Kernel) -> None:
    await cells.run("from IPython.display import HTML")
    await cells.run("s = Subject(); view = live(s, render=lambda v: f'<b>{v}</b>'); trusted = live(s, render=HTML)")
    await cells.run("s.on_next('<i>x</i><img src=x onerror=alert(1)>'); await asyncio.sleep(0.1)")
    assert await cells.run("view.html") == repr('<b><i>x</i><img src="x"></b>')
    assert await cells.run("trusted.html") == repr("<i>x</i><img src=x onerror=alert(1)>")


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
    assert await cells.run("view_t.html") == "'<pre>last</pre><div class=\"rxmps3-note\">completed</div>'"
    assert await cells.run("view_u") == "last", "a closed view is still readable"


def said(cell: Any) -> str:
    """The text that a notebook saves for a cell with one output."""
    [output] = cell["outputs"]
    return output["data"]["text/plain"]


async def test_a_drag_is_one_step_of_undo_and_what_others_moved_is_left(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets; db = await rxmps3.connect('memory:drag', poll=0.05); key = db.key('gain', default=3)\n"
        "slider = ipywidgets.IntSlider(); bound = bind(slider, 'value', key, fps=100)\n"
        "async def drag(*values):\n"
        "    for value in values:\n"
        "        slider.value = value; await asyncio.sleep(0.03)"
    )
    await cells.run("await drag(10, 11, 12, 13); await asyncio.sleep(0.7); await drag(20, 21)")
    assert await cells.run("await asyncio.sleep(0.1); await db.get('gain')") == "21"
    assert await cells.run("bound.undo(), key.value") == "(True, 13)"
    assert await cells.run("bound.undo(), key.value, await db.get('gain')") == "(True, 3, None)"
    assert await cells.run("bound.undo(), key.value") == "(False, 3)"
    assert await cells.run("bound.redo(), bound.redo(), bound.redo(), key.value") == "(True, True, False, 21)"
    assert await cells.run("await asyncio.sleep(0.1); slider.value") == "21"
    await cells.run("await db.put('gain', 50)")
    assert "others have moved it" in await cells.run(
        "try: bound.undo()\nexcept rxmps3.Conflict as error: print(error, key.value)"
    )


async def test_a_drag_is_one_step_of_the_databases_undo(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets\n"
        "db = await rxmps3.connect('memory:drags', poll=0.05); await db.put_all({'low': 1, 'high': 9, 'note': 'first'})\n"
        "ends = ipywidgets.IntSlider()\n"
        "bound = bind(ends, {'value': db.key('low'), 'max': db.key('high')}, fps=100)\n"
        "async def drag(*values):\n"
        "    for value in values:\n"
        "        ends.max, ends.value = value + 10, value; await asyncio.sleep(0.03)\n"
        "    await asyncio.sleep(0.1)\n"
        "async def now(): return (ends.value, ends.max), await db.get_many(['low', 'high'])"
    )
    assert await cells.run("await asyncio.sleep(0.1); ends.value, ends.max") == "(1, 9)"
    before = int(await cells.run("int(db.status.value.head)"))
    await cells.run("await drag(*range(20, 40))")
    assert int(await cells.run("int(db.status.value.head)")) > before + 10, "a drag is many writes"
    assert await cells.run("await now()") == "((39, 49), {'low': 39, 'high': 49})"
    await cells.run("await asyncio.sleep(0.6); await drag(60, 61, 62); await db.put('note', 'second');")

    undone = "await db.undo(); await asyncio.sleep(0.1); await now()"
    assert await cells.run("await db.undo(); await db.get('note')") == "'first'"
    assert await cells.run(undone) == "((39, 49), {'low': 39, 'high': 49})"
    assert await cells.run(undone) == "((1, 9), {'low': 1, 'high': 9})"
    assert await cells.run(undone.replace("undo", "redo")) == "((39, 49), {'low': 39, 'high': 49})"
    assert await cells.run(undone.replace("undo", "redo")) == "((62, 72), {'low': 62, 'high': 72})"
    assert await cells.run("await db.redo(); await db.get('note'), await db.redo()") == "('second', '')"

    await cells.run("await asyncio.sleep(0.6); await drag(80, 81);")
    assert (
        await cells.run("bound.undo(); await asyncio.sleep(0.1); await now()") == "((62, 72), {'low': 62, 'high': 72})"
    )


async def test_a_drag_in_a_form_is_one_step_of_undo(cells: Kernel) -> None:
    await cells.run(
        "from pydantic import BaseModel, Field\nfrom rxmps3.jupyter import controls\n"
        "class Lamp(BaseModel):\n    light: int = Field(5, ge=0, le=100)\n    on: bool = True\n"
        "db = await rxmps3.connect('memory:forms', poll=0.05); await db.put('lamp', {'light': 7, 'on': False})\n"
        "form = controls(Lamp, db.key('lamp', Lamp)); await asyncio.sleep(0.1)\n"
        "async def drag(*values):\n"
        "    for value in values:\n"
        "        form.model.receive({'kind': 'field', 'view': 'page', 'path': ['light'], 'value': value})\n"
        "        await asyncio.sleep(0.05)"
    )
    await cells.run("await drag(*range(20, 30)); await asyncio.sleep(0.1)")
    assert await cells.run("await db.get('lamp')") == "{'light': 29, 'on': False}"
    assert await cells.run("await db.undo(); await db.get('lamp')") == "{'light': 7, 'on': False}"
    assert await cells.run("await db.redo(); await db.get('lamp')") == "{'light': 29, 'on': False}"


async def test_many_traits_are_bound_at_once(cells: Kernel) -> None:
    await cells.run(
        "import ipywidgets; db = await rxmps3.connect('memory:traits'); await db.put_all({'v': 5, 'm': 50})\n"
        "slider = ipywidgets.IntSlider(); bound = bind(slider, {'value': db.key('v'), 'max': db.key('m')})"
    )
    assert await cells.run("await asyncio.sleep(0.1); slider.value, slider.max") == "(5, 50)"
    await cells.run("slider.value = 9; await asyncio.sleep(0.6); slider.max = 70")
    assert await cells.run("await asyncio.sleep(0.1); await db.get_prefix()") == "{'m': 70, 'v': 9}"
    assert await cells.run("bound.undo(), await db.get_prefix()") == "(True, {'m': 50, 'v': 9})"
    assert await cells.run("bound.undo(), await db.get_prefix()") == "(True, {'m': 50, 'v': 5})"
    assert await cells.run("bound.redo(), await db.get_prefix()") == "(True, {'m': 50, 'v': 9})"
    await cells.run("await asyncio.sleep(0.6); slider.value = 20; slider.max = 80; await asyncio.sleep(0.1)")
    assert await cells.run("bound.undo(), await db.get_prefix()") == "(True, {'m': 50, 'v': 9})", "one action"
    assert await cells.run("bound.redo(), await db.get_prefix()") == "(True, {'m': 80, 'v': 20})"
    assert await cells.run("bound.dispose(); print(bound)") == "<Bindings of 'value', 'max'>"


async def test_what_charts_and_tables_of_others_come_to(cells: Kernel) -> None:
    """Figures that nobody registered with pyplot, and figures that pyplot would keep until the kernel ends."""
    pytest.importorskip("matplotlib")
    await cells.run(
        "from matplotlib.figure import Figure\n"
        "figure = Figure(); figure.subplots().plot([1, 2]); s = Subject(); view = live(s); s.on_next(figure)"
    )
    assert await cells.run("await asyncio.sleep(0.3); view.html[:32]") == "'<img src=\"data:image/png;base64,'"
    await cells.run(
        "import matplotlib.pyplot as plt\n"
        "def draw(n):\n    plt.figure(); return plt.plot([n])\n"
        "drawn = live(s, render=draw, fps=100); made = live(s.pipe(ops.map(lambda n: plt.subplots()[0])))"
    )
    cell = cells.cell("for n in range(30):\n    s.on_next(n); await asyncio.sleep(0.02)\nprint(plt.get_fignums())")
    assert await cells.run(cell) == "[]"
    assert [output["output_type"] for output in cell["outputs"]] == ["stream"], "no stray picture under the cell"
    assert await cells.run("drawn.html[:9], made.html[:9]") == "('<img src=', '<img src=')"


async def test_a_key_as_the_last_line_of_a_cell_is_live(cells: Kernel) -> None:
    await cells.run("db = await rxmps3.connect('memory:last-line'); await db.put('k', 1)")
    cell = cells.cell("db.key('k')")
    assert await cells.run(cell) == "1"
    assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][0]["data"]
    assert await cells.run("db") == "<Database memory:last-line manifest 'main', 1 keys>"
    assert await cells.run("print(db.key('k'))") == "<Key key 'k'>"


async def test_a_collection_as_the_last_line_of_a_cell_is_its_content(cells: Kernel) -> None:
    await cells.run("db = await rxmps3.connect('memory:rows'); await db.put_all({'j/1': {'n': 1}, 'j/2': {'n': 2}})")
    cell = cells.cell("db.collection('j/').sort_by(lambda key, job: -job['n'])")
    assert await cells.run(cell) == "j/2  {'n': 2}\nj/1  {'n': 1}"
    assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][0]["data"]


async def test_pages_come_and_go_and_every_message_is_heard_on_the_cells_thread(cells: Kernel) -> None:
    await cells.run(
        "import threading, ipykernel\n"
        "from rxmps3.jupyter import table\n"
        "db = await rxmps3.connect('memory:subshells', poll=0.05); await db.put('t/a', {'x': 1})\n"
        "view = table(db, 't/'); heard = []; receive = view.model.receive\n"
        "def hear(message): heard.append((message['view'], threading.current_thread().name)); receive(message)\n"
        "view.model.receive = hear\n"
        "import ipywidgets; other = await rxmps3.connect('memory:sliders'); gain = other.key('gain', default=0)\n"
        "one, two = ipywidgets.IntSlider(), ipywidgets.IntSlider()\n"
        "for slider in (one, two): bind(slider, 'value', gain)"
    )
    if int(await cells.run("print(ipykernel.__version__.split('.')[0])")) < 7:
        pytest.skip("this ipykernel has no subshells")
    table, one, two = (await cells.run("print(view.comm.comm_id, one.comm.comm_id, two.comm.comm_id)")).split()
    first, second = await cells.subshell(), await cells.subshell()
    await cells.tell(table, {"kind": "here", "view": "one", "number": 1}, first)
    await cells.to_comm(one, {"method": "update", "state": {"value": 5}}, second)
    assert await cells.run("await asyncio.sleep(0.3); two.value, gain.value") == "(5, 5)"
    await cells.to_comm(table, {"method": "request_state"}, second)  # as a page does that opens
    await cells.to_comm(table, {"method": "update", "state": {"selected": ["t/a"]}}, second)  # echoed to other pages
    await cells.delete_subshell(second)
    await cells.tell(table, {"kind": "rows", "view": "one", "number": 2, "count": 10}, first)
    await cells.to_comm(two, {"method": "update", "state": {"value": 7}}, first)
    assert await cells.run("await asyncio.sleep(0.3); one.value, gain.value") == "(7, 7)"
    assert await cells.run("heard") == "[('one', 'MainThread'), ('one', 'MainThread')]"
    assert await cells.run("view.model.state['selected']") == "['t/a']"

    third = await cells.subshell()
    await cells.to_comm(
        one, {"method": "update", "state": {"value": 8}}, third
    )  # nothing answers: the key has it from here
    await cells.to_comm(two, {"method": "update", "state": {"disabled": True}}, third)  # nor is this the bound trait
    assert await cells.run("await asyncio.sleep(0.5); two.value, gain.value, two.disabled") == "(8, 8, True)"
    await cells.delete_subshell(third)
    await cells.to_comm(one, {"method": "update", "state": {"value": 9}}, first)
    assert await cells.run("await asyncio.sleep(0.5); two.value, gain.value") == "(9, 9)"
    await cells.to_comm(two, {"method": "update", "state": {"value": 10}}, first)
    assert await cells.run("await asyncio.sleep(0.5); one.value, gain.value") == "(10, 10)"


async def test_a_trait_that_another_thread_changes_is_written_on_the_loop(cells: Kernel) -> None:
    await cells.run(
        "import threading, ipywidgets; from rxmps3.jupyter import binding\n"
        "db = await rxmps3.connect('memory:threads'); gain = db.key('gain', default=0)\n"
        "slider = ipywidgets.IntSlider(max=10); bound = bind(slider, 'value', gain); noted = []; note = bound._note\n"
        "def noting(value): noted.append(threading.current_thread().name); return note(value)\n"
        "bound._note = noting\n"
        "def move(name, value): thread = threading.Thread(target=setattr, args=(slider, name, value)); thread.start(); thread.join()"
    )
    assert await cells.run("move('value', 5); await asyncio.sleep(0.2); gain.value") == "5"
    await cells.run("gain.put(50)")
    assert await cells.run("await asyncio.sleep(0.2); slider.value") == "10"
    await cells.run("setting = bound._set; threads = []")
    await cells.run("def shown(value): threads.append(threading.current_thread().name); setting(value)")
    await cells.run("bound._set = shown; move('max', 100)")
    assert (
        await cells.run("await asyncio.sleep(0.2); slider.value, noted, threads")
        == "(50, ['MainThread'], ['MainThread'])"
    )
