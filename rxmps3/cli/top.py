"""A database in the terminal: keys as they change, the log, and the versions before."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from rxmps3.cli.terminal import local_time, shown
from rxmps3.database.database import Database
from rxmps3.database.past import Past
from rxmps3.errors import Error
from rxmps3.model.state import Entry, Inline, ManifestVersion
from rxmps3.replica.versions import Reset
from rxmps3.runtime.clock import SystemClock

__all__ = ["Top"]

FRAMES = 10
"""Updates a second."""
LIT_SECONDS = 1.5
"""How long a value that has changed is bold."""
MOST_KEYS = 500
"""Keys that the table shows; a filter finds the others."""
_MOST_CHARACTERS = 300
_WIDEST_KEY = 40
"""Columns; the values beside it have to be seen, too."""
_MOST_NAMED = 4


class Top(App[None]):
    """The terminal program.

    Args:
        db: the database, which follows its log.
        place: what to call it.
    """

    CSS = """
    #place { height: 1; background: $primary; color: $text; padding: 0 1; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    #filter.asked { display: block; }
    #keys { width: 3fr; height: 1fr; }
    #log { width: 2fr; height: 1fr; border-left: solid $panel; padding: 0 1; }
    #slider, #status { height: 1; padding: 0 1; }
    #status { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("slash", "filter", "Filter"),
        ("left_square_bracket", "step(-1)", "Older"),
        ("right_square_bracket", "step(1)", "Newer"),
        ("n", "now", "Now"),
        ("escape", "clear", "Clear"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, db: Database, place: str) -> None:
        super().__init__()
        self._db = db
        self._place = place
        self._at: int | None = None
        self._then: Past | None = None
        self._oldest = 0
        self._dirty = True
        self._rows: dict[str, str] = {}
        self._clock = SystemClock()
        self._lit: dict[str, float] = {}  # keys whose values are bold, and until when
        self._problem = ""
        self._subscriptions: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{shown(self._place)}  ·  manifest {shown(self._db.name)}"), id="place")
        yield Input(placeholder="a part of the key", id="filter")
        with Horizontal():
            yield DataTable[Text](id="keys", cursor_type="row", zebra_stripes=True)
            yield RichLog(id="log", wrap=True, max_lines=1000)
        yield Static(id="slider")
        yield Static(id="status")
        yield Footer()

    def on_mount(self) -> None:
        table = self._table
        table.add_column("key", key="key")
        table.add_column("value", key="value")
        self._subscriptions = [
            self._db.states.subscribe(lambda _: self._changed()),
            self._db.versions.subscribe(self._version),
            self._db.status.subscribe(lambda _: self._changed()),
        ]
        self.set_interval(1 / FRAMES, self._draw)
        table.focus()
        self._draw()

    def on_unmount(self) -> None:
        for subscription in self._subscriptions:
            subscription.dispose()

    @property
    def _table(self) -> DataTable[Text]:
        return cast("DataTable[Text]", self.query_one("#keys", DataTable))

    @property
    def _is_up(self) -> bool:
        """False while the program ends: its widgets are taken down before its timer."""
        return bool(self.query("#keys"))

    @property
    def _filter(self) -> str:
        return self.query_one("#filter", Input).value

    # -- what is heard ---------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._dirty = True

    def _version(self, version: ManifestVersion | Reset) -> None:
        if not self._is_up:
            return
        log = self.query_one("#log", RichLog)
        if isinstance(version, Reset):
            log.write(Text("the state was loaded anew", "dim"))
            return
        line = Text.assemble(
            (f"{shown(version.id)} ", "bold"),
            (f"{local_time(version.time)[11:]} ", "dim"),
            (f"{shown(version.by) or '-'} ", "cyan"),
        )
        named = [(key, entry is None) for write in version.writes for key, entry in write.update.items()]
        for key, deleted in named[:_MOST_NAMED]:
            line.append(f"{shown(key)} ", "strike" if deleted else "")
        if len(named) > _MOST_NAMED:
            line.append(f"and {len(named) - _MOST_NAMED:,} more", "dim")
        log.write(line)

    # -- what is asked ---------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Show the field for a filter."""
        field = self.query_one("#filter", Input)
        field.add_class("asked")
        field.focus()

    def action_clear(self) -> None:
        """Drop the filter."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.remove_class("asked")
        self._table.focus()

    def on_input_changed(self) -> None:
        self._changed()

    def on_input_submitted(self) -> None:
        self._table.focus()

    async def action_step(self, by: int) -> None:
        """Go to an older or a newer version."""
        head = self._head
        at = max(self._oldest, min(head, (head if self._at is None else self._at) + by))
        if at == head:
            self.action_now()
            return
        try:
            self._then = await self._db.at(at)
        except Error as error:
            self._problem = str(error)
        else:
            self._at, self._problem = at, ""
        self._changed()

    def action_now(self) -> None:
        """Show the present, and follow it."""
        self._at, self._then, self._problem = None, None, ""
        self._changed()

    @property
    def _head(self) -> int:
        version = self._db.states.value.confirmed.version
        return int(version) if version.isdecimal() else 0

    # -- drawing ---------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not self._is_up:
            return
        table = self._table
        now = self._clock.monotonic()
        for key in [key for key, until in self._lit.items() if until <= now]:
            del self._lit[key]
            if key in self._rows:
                table.update_cell(key, "value", Text(self._rows[key]))
        if not self._dirty:
            return
        self._dirty = False
        rows = self._wanted()
        changed = [key for key, value in rows.items() if key in self._rows and self._rows[key] != value]
        self._lit.update(dict.fromkeys(changed, now + LIT_SECONDS))
        if list(rows) != list(self._rows):
            at = table.cursor_coordinate
            table.clear()
            for key, value in rows.items():
                name = Text(shown(key))
                name.truncate(_WIDEST_KEY, overflow="ellipsis")
                table.add_row(name, self._value(key, value), key=key)
            table.cursor_coordinate = at
        else:
            for key in changed:
                table.update_cell(key, "value", self._value(key, rows[key]), update_width=True)
        self._rows = rows
        self.query_one("#slider", Static).update(self._slider())
        self.query_one("#status", Static).update(self._status())

    def _value(self, key: str, value: str) -> Text:
        return Text(value, "bold" if key in self._lit else "")

    def _wanted(self) -> dict[str, str]:
        part = self._filter.casefold()
        then, view = self._then, self._db.states.value
        keys = self._db.keys() if then is None else then.keys()
        wanted = [key for key in keys if part in key.casefold()][:MOST_KEYS]
        if then is not None:
            return {key: _text_of(then.entries[key]) for key in wanted}
        return {key: _text_of(view.look_up(key)) + (" (pending)" if view.is_pending(key) else "") for key in wanted}

    def _slider(self) -> Text:
        head = self._head
        at = head if self._at is None else self._at
        width = max(10, self.size.width - 40)
        done = round(width * at / head) if head else width
        when = "now" if self._at is None else f"version {at:,} of {head:,}"
        return Text.assemble(("━" * done, "green"), ("━" * (width - done), "dim"), f"  {when}")

    def _status(self) -> Text:
        status = self._db.status.value
        parts = [
            f"{len(self._db.keys()):,} keys",
            f"{status.pending} pending",
            f"{status.requests:,} requests",
            {None: "not read yet", True: "online", False: "offline"}[status.online],
        ]
        trouble = self._problem or ("" if status.last_error is None else str(status.last_error))
        text = Text("  ·  ".join(parts))
        if trouble:
            text.append(f"  ·  {shown(trouble)}", "red")
        return text


def _text_of(entry: Entry | None) -> str:
    """A value as far as it is in the log; what is in an object of its own is not downloaded for this."""
    if entry is None:
        return ""
    content = entry.content
    if isinstance(content, Inline):
        return shown(content.text[:_MOST_CHARACTERS])
    return f"{content.size:,} bytes" if content.size else "large value"  # the mps3 log does not tell sizes
