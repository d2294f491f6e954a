"""Participants: faces, what each publishes, and where each one points."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import traitlets

from rxmps3.database.presence import Participant, Presence
from rxmps3.errors import Error, InvalidOption
from rxmps3.jupyter.frames import kernel_loop
from rxmps3.jupyter.sources import is_database
from rxmps3.jupyter.text import short
from rxmps3.jupyter.values import fields_of, visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget

__all__ = ["PeopleModel", "PeopleView", "presence"]

MOST_PEOPLE = 100
MOST_FIELDS = 8
LOOK_SECONDS = 5.0
"""How often it is looked whether the page with the pointer is still there."""
CURSOR = "cursor"
"""The field of ``me`` that says where somebody points: ``{"x": …, "y": …}``, each from 0 to 1."""


class PeopleModel(ViewModel):
    """The participants.

    States: ``people``, for each ``id``, ``name``, ``own``, ``since`` and ``seen`` (seconds since 1970), ``says`` (names
    and texts), ``cursor``; ``cursors``, whether there is an area to point at; ``more``, the number not shown.

    A page reports its user's pointer by ``cursor`` with ``x`` and ``y``, or with neither. It goes with the page.
    """

    view = "presence"

    def __init__(self, here: Presence, cursors: bool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, 20, people=[], cursors=cursors, more=0, title="Here now")
        self._here = here
        self._latest: Mapping[str, Participant] | None = None
        self._pointing: str | None = None  # the page with the pointer
        self._look: asyncio.TimerHandle | None = None
        self.owns(here.subscribe(self._told, on_completed=self._closed))
        self.flush()

    def _closed(self) -> None:
        self.call(lambda: self.set("status", {"closed": True}))

    def _told(self, people: Mapping[str, Participant]) -> None:
        self._latest = people
        self.wake()

    @property
    def people(self) -> Mapping[str, Participant]:
        """The current participants."""
        return self._latest or {}

    def show(self) -> None:
        shown = list(self.people.values())
        self.set("people", [_person(one, one.id == self._here.id) for one in shown[:MOST_PEOPLE]])
        self.set("more", max(0, len(shown) - MOST_PEOPLE))

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind != CURSOR or self._here.me is None:
            return
        x, y = message.get("x"), message.get("y")
        if isinstance(x, (int, float)) and isinstance(y, (int, float)) and 0 <= x <= 1 and 0 <= y <= 1:
            self._pointing = page
            self._point({"x": round(x, 3), "y": round(y, 3)})
            self._look = self._look or self.loop.call_later(LOOK_SECONDS, self._look_for_page)
        else:
            self._pointing = None
            self._point(None)

    def left(self, page: str) -> None:
        if page == self._pointing:
            self._pointing = None
            self._point(None)

    def dispose(self) -> None:
        if not self.disposed and self._pointing is not None:
            self.left(self._pointing)
        if self._look is not None:
            self._look.cancel()
        super().dispose()

    def _look_for_page(self) -> None:
        """A page may go without a word."""
        gone = self._pointing not in self.pages
        self._look = None if gone else self.loop.call_later(LOOK_SECONDS, self._look_for_page)

    def _point(self, place: dict[str, float] | None) -> None:
        try:
            self._here.update({CURSOR: place})
            self.set("problem", "")
        except Error as error:
            self.set("problem", str(error))


def _person(one: Participant, own: bool) -> dict[str, Any]:
    says = fields_of(one.me)
    cursor: Any = None
    name = one.by
    if says is not None:
        cursor = says.pop(CURSOR, None)
        name = str(says.pop("name", "") or one.by)
    elif one.me is not None:
        says = {"": one.me}
    return {
        "id": one.id,
        "name": short(name, 60) or one.id,
        "own": own,
        "since": one.since.timestamp(),
        "seen": one.seen.timestamp(),
        "says": [[short(key, 40), short(value, 80)] for key, value in list((says or {}).items())[:MOST_FIELDS]],
        "cursor": cursor if _is_place(cursor) else None,
    }


def _is_place(cursor: Any) -> bool:
    return isinstance(cursor, dict) and all(isinstance(cursor.get(name), (int, float)) for name in "xy")  # pyright: ignore


class PeopleView(Widget[PeopleModel]):
    """A presence widget. Created by `presence`."""

    people = traitlets.Any().tag(sync=True)
    cursors = traitlets.Any().tag(sync=True)
    more = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)

    def __repr__(self) -> str:
        return visible(", ".join(person["name"] for person in self.model.state["people"]) or "nobody is here")


def presence(here: Any, me: Any = None, *, cursors: bool = False, **options: Any) -> PeopleView:
    """Show who is here: a face for each client, what it publishes, and since when.

    If ``me`` is given, this client is present for as long as the view exists. A face is labelled with the field
    ``name`` of its state, or else with the name that the client connected with.

    Args:
        here: a database, or the result of its ``presence(…)``.
        me: the state that others see of this client.
        cursors: whether to show an area in which everyone's pointer is visible.
        **options: as for ``db.presence``.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: ``here`` is neither.
        InvalidValue: ``me`` is not JSON, or too long.
    """
    if is_database(here):
        here = here.presence(me, **options)
    if not isinstance(here, Presence):
        raise InvalidOption(f"{here!r} is neither a database nor a presence", operation="presence")
    return PeopleView(PeopleModel(here, cursors, kernel_loop()))
