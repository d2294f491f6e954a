"""A slider that several people move: each window shows what any of them did last.

    python examples/shared_slider.py file:room       # in one terminal
    python examples/shared_slider.py file:room       # in another; s3://BUCKET/PREFIX works the same

Tk and the database take turns on one thread: Tk handles its events whenever the event loop has a moment. So observers
may touch widgets, and what the slider sends goes straight to the key.
"""

import asyncio
import sys
import tkinter as tk

import rxmps3

FRAME = 0.02  # seconds between two turns of Tk


class Window:
    """A window with the slider, bound to a key in both directions.

    A slider reports each value that it is set to, also the one that has just come from the key. The key writes only
    what it does not show already, so nothing goes round in circles.
    """

    def __init__(self, db):
        self.volume = db.key("volume", default=50)
        self.root = tk.Tk()
        self.root.title("volume")
        self.root.protocol("WM_DELETE_WINDOW", self.close)
        self.open = True
        self.slider = tk.Scale(self.root, orient="horizontal", length=400, command=self.moved)
        self.slider.pack(padx=20, pady=10)
        self.state = tk.Label(self.root)
        self.state.pack(pady=5)
        self.volume.subscribe(self.slider.set)
        self.volume.entries().subscribe(self.tell)

    def moved(self, value):
        self.volume.on_next(int(value))

    def tell(self, entry):
        who = {"own": "yours", "remote": "somebody else's", "rollback": "taken back"}[entry.cause]
        who = who if entry.version else "nobody's yet"
        self.state["text"] = f"{entry.value} ({who}{', on its way' if entry.pending else ''})"

    def close(self):
        self.open = False

    async def run(self):
        while self.open:
            self.root.update()
            await asyncio.sleep(FRAME)
        self.root.destroy()


async def main(url):
    async with rxmps3.connect(url, poll=0.2) as db:
        await Window(db).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "file:slider"))
