"""A chat in the terminal: whoever opens the same URL is in the same room.

    pip install 'rxmps3[examples]'
    python examples/chat.py file:room ana        # in one terminal
    python examples/chat.py file:room bob        # in another; s3://BUCKET/PREFIX works the same

A message is dim until it is in the log. Out of reach of the bucket, messages wait and are sent later.
Ctrl-C leaves.
"""

import argparse
import asyncio
import sys

import reactivex as rx
from reactivex.disposable import CompositeDisposable

try:
    from rich.text import Text
    from textual.app import App
    from textual.binding import Binding
    from textual.containers import VerticalScroll
    from textual.widgets import Header, Input, Static
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[examples]'")

import rxmps3


def said(message):
    """Who says what. Everybody may write to the bucket, so a message may be anything."""
    match message:
        case {"by": str(by), "text": str(text)}:
            return by, text
    return "?", repr(message)[:200]


class Chat(App[None]):
    """One person's window on the room.

    Args:
        db: the room.
        me: who is writing.
    """

    CSS = "VerticalScroll { height: 1fr; padding: 0 1; }"
    BINDINGS = (Binding("ctrl+c", "quit", "Leave", priority=True),)

    def __init__(self, db, me):
        super().__init__()
        self.db, self.me, self.title = db, me, f"chat as {me}"

    def compose(self):
        yield Header()
        with VerticalScroll():
            yield Static(id="room")
        yield Input(placeholder="Say something")

    def on_mount(self):
        room = rx.combine_latest(self.db.observe_prefix("message/", last=200), self.db.pending)
        self.following = CompositeDisposable(
            room.subscribe(lambda latest: self.show_room(*latest)),
            self.db.status.subscribe(self.show_status),
        )
        self.query_one(Input).focus()

    def on_unmount(self):
        self.following.dispose()

    def on_input_submitted(self, event):
        if text := event.value.strip():
            self.db.put(self.db.new_key("message/"), {"by": self.me, "text": text})
            event.input.clear()

    def show_room(self, messages, receipts):
        waiting = {key for receipt in receipts for key in receipt.keys}
        lines = Text()
        for key, message in messages.items():
            by, text = said(message)
            lines.append(f"{by}: ", "bold")
            lines.append(f"{text}\n", "dim" if key in waiting else "")
        self.query_one("#room", Static).update(lines)
        self.query_one(VerticalScroll).scroll_end(animate=False)

    def show_status(self, status):
        self.sub_title = "" if status.online else "offline: messages wait here"


async def main(url, me):
    async with rxmps3.connect(url, by=me, poll=0.5) as db:  # leaving it sends what waits
        await Chat(db, me).run_async()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("name")
    asked = parser.parse_args()
    try:
        asyncio.run(main(asked.url, asked.name))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
