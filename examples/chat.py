"""A chat in the terminal: whoever opens the same URL is in the same room.

    pip install 'rxmps3[examples]'
    python examples/chat.py file:room ana        # in one terminal
    python examples/chat.py file:room bob        # in another; s3://BUCKET/PREFIX works the same

A message is dim until it is in the log. Out of reach of the bucket, messages wait and are sent later.
"""

import sys

import reactivex as rx
from rich.text import Text
from textual.app import App
from textual.containers import VerticalScroll
from textual.widgets import Header, Input, Static

import rxmps3


class Chat(App[None]):
    """One person's window on the room.

    Args:
        url: where the room is.
        me: who is writing.
    """

    CSS = "VerticalScroll { height: 1fr; padding: 0 1; }"

    def __init__(self, url, me):
        super().__init__()
        self.url, self.me, self.title = url, me, f"chat as {me}"

    def compose(self):
        yield Header()
        with VerticalScroll():
            yield Static(id="room")
        yield Input(placeholder="Say something", disabled=True)

    async def on_mount(self):
        self.db = await rxmps3.connect(self.url, by=self.me, poll=0.5)
        room = rx.combine_latest(self.db.observe_prefix("message/", last=200), self.db.pending)
        room.subscribe(lambda latest: self.show_room(*latest))
        self.db.status.subscribe(self.show_status)
        entry = self.query_one(Input)
        entry.disabled = False
        entry.focus()

    async def on_unmount(self):
        await self.db.close()

    def on_input_submitted(self, event):
        if text := event.value.strip():
            self.db.put(self.db.new_key("message/"), {"by": self.me, "text": text})
            event.input.clear()

    def show_room(self, messages, receipts):
        waiting = {key for receipt in receipts for key in receipt.keys}
        lines = Text()
        for key, message in messages.items():
            lines.append(f"{message['by']}: ", "bold")
            lines.append(f"{message['text']}\n", "dim" if key in waiting else "")
        self.query_one("#room", Static).update(lines)
        self.query_one(VerticalScroll).scroll_end(animate=False)

    def show_status(self, status):
        self.sub_title = "" if status.online else "offline: messages wait here"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/chat.py URL NAME")
    Chat(*sys.argv[1:]).run()
