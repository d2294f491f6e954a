"""The views that the studio has beside those of notebooks."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from rxmps3.cli.doctor import Report
from rxmps3.database.database import Database, logged
from rxmps3.database.past.history import changed_keys
from rxmps3.database.past.past import Past
from rxmps3.errors import Failure, unforeseen
from rxmps3.jupyter.text import short, size_text
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.model import valuetext
from rxmps3.model.collisions import Collisions
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Entry, Inline, ManifestVersion
from rxmps3.replica.cost import Cost
from rxmps3.runtime.clock import Clock, spawn
from rxmps3.storage.metered import Usage
from rxmps3.streams.events import Change

__all__ = ["CompareModel", "ConflictsModel", "CostModel", "DoctorModel", "ProblemsModel", "ShellModel"]

FPS = 10
MOST_CHANGES = 500
MOST_PROBLEMS = 200
MOST_CONFLICTS = 200
EARLIER_VERSIONS = 200
"""So many versions of the log are searched for conflicts that were there before."""
MOST_CHARACTERS = 2000
MOST_READ = 256 << 10
"""Larger values are not downloaded to be compared; that they differ is known."""


class ShellModel(ViewModel):
    """The page around the views.

    States: ``title`` and ``subtitle``; ``writable``; ``opened``, whether the database is open; ``trouble``, why it is
    not, as lines of text; ``views``, the names and labels of the views there are.
    """

    view = "shell"

    def __init__(self, loop: asyncio.AbstractEventLoop, **state: Any) -> None:
        super().__init__(loop, FPS, opened=False, trouble=[], views=[], **state)


class _Asking(ViewModel):
    """A view that answers requests by coroutines, one at a time: a newer request replaces the one before."""

    _task: asyncio.Task[None] | None = None

    def answer(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            self.set("busy", True)
            try:
                await work()
            except Exception as problem:
                self.set("problem", str(unforeseen(problem)))
            else:
                self.set("problem", "")
            self.set("busy", False)

        if self._task is not None:
            self._task.cancel()
        self._task = spawn(run(), "rxmps3 studio")

    def dispose(self) -> None:
        if self._task is not None:
            self._task.cancel()
        super().dispose()


class CompareModel(_Asking):
    """What changed between two versions.

    States: ``old`` and ``new``, what was asked for; ``head``, the newest version; ``changes``, of each the key, and the
    text before and after, None where there was none, or how large it is; ``more``, the number not shown; ``busy``.

    A page sends ``compare`` with ``old`` and ``new``, each a version, a tag or a time.

    Args:
        when: parses a version.
    """

    view = "compare"

    def __init__(self, db: Database, when: Callable[[str], Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, FPS, old="", new="", head="", changes=[], more=0, busy=False)
        self._db = db
        self._when = when
        self.owns(db.status.subscribe(lambda status: self.set("head", status.head)))
        self.follow_status(db.status)

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "compare":
            old, new = str(message.get("old") or "").strip(), str(message.get("new") or "").strip()
            self.answer(lambda: self._compare(old, new))

    async def _compare(self, old: str, new: str) -> None:
        self.set("old", old)
        self.set("new", new)
        before = await self._db.at(self._when(old or "0"))
        after = await self._db.at(self._when(new or self._db.status.value.head or "0"))
        keys = changed_keys(before, after)
        shown = keys[:MOST_CHANGES]
        olds, news = await _texts(before, shown), await _texts(after, shown)
        self.set("changes", [[key, olds[key], news[key]] for key in shown])
        self.set("more", len(keys) - len(shown))


class ConflictsModel(ViewModel):
    """Who overwrote what without having seen it.

    States: ``told``, whether this log says on what its writes were based; ``reading``, whether the versions that were
    there before are being read; ``since``, the oldest version looked at, 0 before; ``conflicts``, newest first. Each
    has ``key``; ``what``, see `Collision.outcome`, or ``refused`` for an own write that was taken back; ``time``
    (seconds since 1970, 0 if unknown); of the earlier write ``first_by``, ``first_id`` and ``first`` (text, None for a
    deletion); of the later one ``then_by``, ``then_id`` and ``then``; ``based`` and ``unseen``.
    """

    view = "conflicts"

    def __init__(self, db: Database, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        told = db.protocol == "sequenced"
        super().__init__(loop, FPS, told=told, reading=told, since=0, conflicts=[])
        self._clock = clock
        self._collisions = Collisions()
        self._found: deque[dict[str, Any]] = deque(maxlen=MOST_CONFLICTS)
        self._early: deque[ManifestVersion] | None = deque()
        self._read_to = 0
        if told:
            self.owns(db.versions.subscribe(self._heard))
            self.owns(
                logged(db, EARLIER_VERSIONS).subscribe(
                    self._read, on_error=lambda _: self._caught_up(), on_completed=self._caught_up
                )
            )
        self.owns(db.changes("").subscribe(self._changed))
        self.follow_status(db.status)

    def _heard(self, version: Any) -> None:
        """A version that has just been committed; those before it are read first."""
        if not isinstance(version, ManifestVersion):
            return  # the log was read anew from a later place
        if self._early is None:
            self._read(version)
        else:
            self._early.append(version)

    def _caught_up(self) -> None:
        waiting, self._early = self._early or (), None
        self.set("reading", False)
        for version in waiting:
            self._read(version)

    def _read(self, version: ManifestVersion) -> None:
        if int(version.id) <= self._read_to:
            return
        self._read_to = int(version.id)
        if not self.state["since"]:
            self.set("since", self._read_to)
        for one in self._collisions.read(version):
            time = one.then.time
            self._add(
                one.key,
                one.outcome,
                0 if time is None else time.timestamp(),
                (one.first.by, one.first.id, _entry_text(one.first.entry)),
                (one.then.by, one.then.id, _entry_text(one.then.entry)),
                based=one.based,
                unseen=one.unseen,
            )

    def _changed(self, change: Change) -> None:
        if change.cause == "rollback":
            mine = ("this studio", 0, _text(change.before))
            self._add(change.key, "refused", self._clock.now().timestamp(), mine, (change.by, 0, _text(change.after)))

    def _add(
        self,
        key: str,
        what: str,
        time: float,
        first: tuple[str, int, str | None],
        then: tuple[str, int, str | None],
        **more: int,
    ) -> None:
        self._found.appendleft(
            {"key": key, "what": what, "time": time}
            | dict(zip(("first_by", "first_id", "first"), first, strict=True))
            | dict(zip(("then_by", "then_id", "then"), then, strict=True))
            | {"based": 0, "unseen": 1}
            | more
        )
        self.wake()

    def show(self) -> None:
        self.set("conflicts", list(self._found))


class ProblemsModel(ViewModel):
    """What has gone wrong since the studio began to look.

    States: ``problems``, newest first: ``time`` (seconds since 1970), ``operation``, ``object``, ``error``, ``note``.
    """

    view = "problems"

    def __init__(self, db: Database, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, FPS, problems=[])
        self._clock = clock
        self._problems: deque[dict[str, Any]] = deque(maxlen=MOST_PROBLEMS)
        self.owns(db.errors.subscribe(self._failed))
        self.follow_status(db.status)

    def _failed(self, failure: Failure) -> None:
        self._problems.appendleft(
            {
                "time": self._clock.now().timestamp(),
                "operation": failure.operation,
                "object": short(failure.object, 200),
                "error": f"{type(failure.error).__name__}: {failure.error}",
                "note": failure.note,
            }
        )
        self.wake()

    def show(self) -> None:
        self.set("problems", list(self._problems))


class CostModel(ViewModel):
    """What the studio's own requests cost.

    States: ``rooms``, of each the ``room``, ``requests`` (put, list, get, delete), ``bytes_up``, ``bytes_down`` and
    ``per_month`` as text, the last one for all of them; ``currency`` and ``prices``, how money was counted; ``pace``, a
    sentence; ``budget``, see `Cost.state`.
    """

    view = "cost"

    def __init__(self, db: Database, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, FPS, rooms=[], currency="", prices="", pace="", budget="")
        self.owns(db.cost.subscribe(self._spent))
        self.follow_status(db.status)

    def _spent(self, cost: Cost) -> None:
        self.set("currency", cost.prices.currency)
        self.set("prices", cost.prices.name)
        self.set("budget", cost.state)
        minutes = cost.seconds / 60
        self.set(
            "pace",
            f"{cost.total.requests:,} requests in "
            f"{f'{minutes:,.0f} minutes' if minutes >= 2 else f'{cost.seconds:.0f} seconds'}; at this pace "
            f"{cost.requests_per_hour:,.0f} an hour, {cost.per_month:,.2f} {cost.prices.currency} a month",
        )
        rooms = [_spending(room, used, cost.rooms_per_month[room]) for room, used in cost.rooms.items()]
        self.set("rooms", [*rooms, _spending("all", cost.total, cost.per_month)])


class DoctorModel(_Asking):
    """What the storage can do.

    States: ``allowed``, whether the examination, which writes, may be made; ``busy``; ``doing``; ``rows``, of each
    ``check``, ``state``, ``found`` and ``means``; ``protocols``, of each the name, whether it can be used, and the
    checks that stop it; ``recommended``.

    A page sends ``examine``.

    Args:
        examine: examines the storage; calls back with what is being tried.
    """

    view = "doctor"

    def __init__(
        self,
        examine: Callable[[Callable[[str], None]], Awaitable[Report]] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            loop, FPS, allowed=examine is not None, busy=False, doing="", rows=[], protocols=[], recommended=None
        )
        self._examine = examine

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        examine = self._examine
        if kind == "examine" and examine is not None and not self.state["busy"]:
            self.answer(lambda: self._run(examine))

    async def _run(self, examine: Callable[[Callable[[str], None]], Awaitable[Report]]) -> None:
        report = await examine(lambda doing: self.set("doing", doing))
        self.set("doing", "")
        self.set("rows", [row.record() for row in report.rows])
        self.set("protocols", [[one.protocol, one.usable, list(one.stopped_by)] for one in report.protocols])
        self.set("recommended", report.recommended)


def _spending(room: str, used: Usage, per_month: float) -> dict[str, Any]:
    return {
        "room": room,
        "requests": [used.puts, used.lists, used.gets, used.deletes],
        "bytes_up": used.bytes_up,
        "bytes_down": used.bytes_down,
        "per_month": f"{per_month:,.2f}",
    }


async def _texts(past: Past, keys: list[str]) -> dict[str, str | None]:
    """What is shown of some values; of those too large to be read for that, how large they are."""
    sizes = {key: _size(past.entries.get(key)) for key in keys}
    read = await past.get_many([key for key, size in sizes.items() if size <= MOST_READ], MISSING)
    return {key: _text(read[key]) if key in read else f"({size_text(size)})" for key, size in sizes.items()}


def _size(entry: Entry | None) -> int:
    return 0 if entry is None or isinstance(entry.content, Inline) else entry.content.size


def _entry_text(entry: Entry | None) -> str | None:
    if entry is None:
        return None
    if isinstance(entry.content, Inline):
        return _text(valuetext.decode(entry.content.text))
    return f"({size_text(entry.content.size)})"


def _text(value: Any) -> str | None:
    return (
        None
        if value is MISSING
        else short(json.dumps(value, ensure_ascii=False, indent=1, default=repr), MOST_CHARACTERS)
    )
