"""One person at the shared slider of the examples: does as it is told, one line at a time.

``python -m tests.examples.sliding URL``: ``drag N`` moves the slider to N with the mouse, ``close`` closes the window.
What the window says is printed whenever it changes, with where the knob is, and how many versions of the log there
were when the window closed.
"""

from __future__ import annotations

import sys
import threading
from queue import SimpleQueue
from typing import Any

from examples.shared_slider import Window  # pyright: ignore
from rxmps3.blocking import connect


def drag(slider: Any, value: int) -> None:
    """Press the mouse on the slider's knob, move it, and let it go."""
    x, y = slider.coords()
    slider.event_generate("<Enter>", x=x, y=y)
    slider.event_generate("<ButtonPress-1>", x=x, y=y)
    x, y = slider.coords(value)
    slider.event_generate("<B1-Motion>", x=x, y=y)
    slider.event_generate("<ButtonRelease-1>", x=x, y=y)


def read(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("close")


def main(url: str) -> None:
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=read, args=(lines,), daemon=True).start()
    written: list[Any] = []
    with connect(url, poll=0.2) as db:
        window: Any = Window(db)
        db.versions.subscribe(written.append)
        shown = ""

        def step() -> None:
            nonlocal shown
            window.root.after(5, step)
            if shown != (now := f"{window.state['text']} at {window.slider.get()}"):
                shown = now
                print(shown, flush=True)
            if lines.empty():
                return
            word, *rest = lines.get().split()
            if word == "drag":
                drag(window.slider, int(rest[0]))
            else:
                window.close()

        window.slider.wait_visibility()  # before that the mouse finds nothing
        step()
        window.root.mainloop()
    print("versions:", len(written), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
