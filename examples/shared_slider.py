"""A slider that several people move: each window shows what any of them did last.

    python examples/shared_slider.py file:room       # in one terminal
    python examples/shared_slider.py file:room       # in another; s3://BUCKET/PREFIX works the same

Tk has the main thread, the database one of its own. What comes from the database waits in a queue that Tk empties
thirty times a second, so a window that was busy goes straight to the newest. What the slider sends goes straight to
the key: a write never blocks.
"""

import argparse
import signal
import sys

try:
    import tkinter as tk
except ImportError as error:
    sys.exit(f"{error}: pip has no Tk, it comes with Python; on Debian, apt install python3-tk")

import rxmps3
from rxmps3.blocking import UiQueue, connect

FRAME = 33  # milliseconds between two looks into the queue


def knob(value):
    """Where the knob is for a value. Everybody may write to the bucket, so it may be anything."""
    return min(max(value, 0), 100) if isinstance(value, (int, float)) else 0


class Window:
    """A window with the slider, bound to a key in both directions.

    Tk reports each value that a slider is set to, also one that has just come from the key. ``at`` is where the
    program has put the knob: what differs from it was done by hand, and nothing goes round in circles.
    """

    def __init__(self, db):
        self.volume = db.key("volume", default=50)
        self.root = tk.Tk()
        self.root.title("volume")
        self.root.protocol("WM_DELETE_WINDOW", self.close)
        self.slider = tk.Scale(self.root, orient="horizontal", length=400, command=self.moved)
        self.slider.pack(padx=20, pady=10)
        self.state = tk.Label(self.root)
        self.state.pack(pady=5)
        self.put_knob()
        self.queue = UiQueue()
        self.queue.watch(self.volume.entries(), self.show)
        self.look()

    def look(self):
        self.root.after(FRAME, self.look)
        self.queue.drain()

    def moved(self, value):
        if int(value) != self.at:
            self.at = int(value)
            self.volume.put(self.at)

    def show(self, entry):
        self.moved(self.slider.get())  # the hand may have moved on since Tk last told of it
        self.put_knob()
        who = {"own": "yours", "remote": "somebody else's", "rollback": "taken back"}[entry.cause]
        who = who if entry.version else "nobody's yet"
        self.state["text"] = f"{str(entry.value)[:40]} ({who}{', on its way' if entry.pending else ''})"

    def close(self):
        self.moved(self.slider.get())
        self.root.destroy()

    def put_knob(self):
        self.slider.set(knob(self.volume.value))  # the newest: an entry in the queue may be older than a move made here
        self.at = self.slider.get()


def main(url):
    with connect(url, poll=0.2) as db:  # leaving it sends what is on its way
        window = Window(db)
        signal.signal(signal.SIGINT, lambda *_: window.root.after_idle(window.close))  # Ctrl-C closes it like a click
        window.root.mainloop()
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="file:slider")
    try:
        main(parser.parse_args().url)
    except (rxmps3.Error, tk.TclError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
