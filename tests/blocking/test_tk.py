"""A window whose thread is busy while much changes: it goes straight to the newest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.blocking.programs import run

WINDOW = """
import json, sys, threading, time, tkinter
from rxmps3.blocking import UiQueue, connect

root = tkinter.Tk()
text = tkinter.StringVar(root)
tkinter.Label(root, textvariable=text).pack()
shown = []

def show(value):
    shown.append((threading.current_thread() is threading.main_thread(), value))
    text.set(str(value))

with connect(sys.argv[1], by="window", poll=0.05) as db, connect(sys.argv[1], by="other", shared=False) as other:
    queue = UiQueue()
    queue.watch(db.observe("n"), show)

    def look():
        queue.drain()
        root.after(20, look)
        if text.get() == "999":
            root.after(100, root.destroy)

    def block():
        begun = len(shown)
        receipts = [other.put("n", number) for number in range(1000)]
        receipts[-1].wait(30)
        while db.get("n") != 999:
            time.sleep(0.05)
        assert len(shown) == begun, "shown while the window was busy"

    look()
    root.after(200, block)
    root.mainloop()
print(json.dumps([all(main for main, _ in shown), len(shown), shown[0][1], shown[-1][1]]))
"""


@pytest.mark.ui
def test_a_window_that_was_busy_goes_to_the_newest(display: str, tmp_path: Path) -> None:
    ended = run(WINDOW, f"file:{tmp_path}/bucket", DISPLAY=display)
    assert ended.returncode == 0, ended.stderr
    on_main, count, first, last = json.loads(ended.stdout)
    assert on_main, "drawn on the thread of the window"
    assert (first, last) == (None, 999)
    assert count <= 3
