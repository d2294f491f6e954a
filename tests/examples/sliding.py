"""One person at the shared slider of the examples: does as it is told, one line at a time.

``python -m tests.examples.sliding URL``: ``drag N`` moves the slider to N with the mouse, ``close`` closes the window.
Each value that the slider comes to is printed, and how many versions of the log there are when the window closes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import rxmps3
from examples.shared_slider import Window  # pyright: ignore


def drag(slider: Any, value: int) -> None:
    """Press the mouse on the slider's knob, move it, and let it go."""
    x, y = slider.coords()
    slider.event_generate("<Enter>", x=x, y=y)
    slider.event_generate("<ButtonPress-1>", x=x, y=y)
    x, y = slider.coords(value)
    slider.event_generate("<B1-Motion>", x=x, y=y)
    slider.event_generate("<ButtonRelease-1>", x=x, y=y)


async def main(url: str) -> None:
    async with rxmps3.connect(url, poll=0.2) as db:
        window: Any = Window(db)
        written: list[Any] = []
        db.versions.subscribe(written.append)
        running = asyncio.create_task(window.run())
        told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        shown: str | None = None
        while not running.done():
            if shown != (now := window.state["text"]) if window.open else False:
                shown = now
                print(shown, flush=True)
            if told.done():
                word, *rest = told.result().split() or ["close"]
                if word == "drag":
                    drag(window.slider, int(rest[0]))
                    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
                elif window.open:
                    window.close()
            await asyncio.sleep(0.005)
        print("versions:", len(written), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
