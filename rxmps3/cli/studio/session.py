"""What the studio shows: a database that is opened in the background, and its views, made when a page asks for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rxmps3.cli.doctor import Report, StorageUnderTest, examine, judge
from rxmps3.cli.run import when_of
from rxmps3.cli.studio.models import (
    CompareModel,
    ConflictsModel,
    CostModel,
    DoctorModel,
    ProblemsModel,
    ShellModel,
)
from rxmps3.cli.transfer import import_from
from rxmps3.database.connect import connect
from rxmps3.database.database import Database
from rxmps3.errors import Corrupt, Error, NotSent, Unavailable, unforeseen
from rxmps3.jupyter.inspecting import InspectorModel
from rxmps3.jupyter.people import PeopleModel
from rxmps3.jupyter.tables import TableModel, field_writer
from rxmps3.jupyter.timelines import TimelineModel
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.replica.options import Status
from rxmps3.runtime.clock import Clock, spawn
from rxmps3.storage import Storage

__all__ = ["VIEWS", "Session"]

VIEWS = (
    ("inspector", "Overview"),
    ("table", "Table"),
    ("timeline", "Timeline"),
    ("compare", "Compare"),
    ("presence", "People"),
    ("conflicts", "Conflicts"),
    ("problems", "Problems"),
    ("cost", "Cost"),
    ("doctor", "Doctor"),
)
AGAIN_SECONDS = 5.0
FPS = 20.0
_CLOSING_SECONDS = 1.0


class Session:
    """One studio.

    Args:
        storage: where the database is.
        manifest: its name.
        by: the name under which it writes; None opens it read-only.
        poll: look for news at least this often, in seconds.
        clock: time and ids.
        place: the database, as it may be shown.
        export: an exported file to show instead; ``storage`` is then where to unpack it.
    """

    def __init__(
        self,
        storage: Storage,
        manifest: str,
        by: str | None,
        poll: float,
        clock: Clock,
        place: str,
        export: Path | None = None,
    ) -> None:
        self._storage = storage
        self._manifest = manifest
        self._by = by
        self._poll = poll
        self._clock = clock
        self._export = export
        self._loop = asyncio.get_running_loop()
        self._db: Database | None = None
        self._models: dict[str, ViewModel] = {}
        self.shell = ShellModel(self._loop, title=place, subtitle=f"manifest {manifest}", writable=by is not None)
        self._opening = spawn(self._open(), "rxmps3 studio open")

    # -- opening ---------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the database, however long that takes; what stands in the way is shown."""
        while True:
            try:
                self._db = await self._opened()
            except Exception as problem:  # nobody else would see it: the page would say "Opening…" for ever
                error = unforeseen(problem)
                place = self.shell.state["title"]
                self.shell.set("trouble", _lines_of(error, self._manifest, place, self._export is not None))
            else:
                self.shell.set("trouble", [])
                self.shell.set("views", [list(view) for view in VIEWS])
                self.shell.set("opened", True)
                self._describe(self._db)
                return
            await self._clock.sleep(AGAIN_SECONDS)

    def _describe(self, db: Database) -> None:
        """Say which log it is; a mistyped place opens, too, and is empty."""

        def told(status: Status) -> None:
            log = f"{db.protocol} log" if status.head else "nothing has been written here yet"
            self.shell.call(lambda: self.shell.set("subtitle", f"manifest {self._manifest} · {log}"))

        self.shell.owns(db.status.subscribe(told))

    async def _opened(self) -> Database:
        if self._export is not None:
            await self._unpack(self._export)
        return await connect(
            self._storage,
            manifest=self._manifest,
            by=self._by or "",
            poll=self._poll,
            read_only=self._by is None,
            live=True,
            shared=False,
            clock=self._clock,
        )

    async def _unpack(self, path: Path) -> None:
        async with connect(self._storage, manifest=self._manifest, by="import", clock=self._clock) as db:
            with path.open(encoding="utf-8") as file:
                await import_from(db, file)

    # -- views -----------------------------------------------------------------------------------------------

    def model_of(self, name: str) -> ViewModel | None:
        """The view model of a name; None if there is none, or the database is not open yet."""
        if name == "shell":
            return self.shell
        if name == "doctor":
            return self._model(name, lambda: DoctorModel(self._examine if self._by is not None else None, self._loop))
        db = self._db
        if db is None:
            return None
        makers: dict[str, Callable[[], ViewModel]] = {
            "inspector": lambda: InspectorModel(db, self._loop),
            "table": lambda: self._table(db),
            "timeline": lambda: TimelineModel(db, "", self._loop),
            "compare": lambda: CompareModel(db, when_of, self._loop),
            "presence": lambda: PeopleModel(db.presence(), False, self._loop),
            "conflicts": lambda: ConflictsModel(db, self._clock, self._loop),
            "problems": lambda: ProblemsModel(db, self._clock, self._loop),
            "cost": lambda: CostModel(db, self._loop),
        }
        return self._model(name, makers[name]) if name in makers else None

    def _model(self, name: str, make: Callable[[], ViewModel]) -> ViewModel:
        if name not in self._models:
            self._models[name] = make()
        return self._models[name]

    def _table(self, db: Database) -> TableModel:
        edit = field_writer(db) if self._by is not None else None
        model = TableModel(db, "", None, edit, self._manifest, FPS, self._loop)
        model.follow_status(db.status)
        return model

    async def _examine(self, doing: Callable[[str], None]) -> Report:
        place = StorageUnderTest(self._storage, self._clock)
        facts = await examine(
            place, self._clock, progress=lambda what, done, total: doing(f"{what}: {done} of {total}")
        )
        return judge(facts)

    async def close(self) -> None:
        """Close the database; for a second at most, what is pending is sent."""
        self._opening.cancel()
        await asyncio.wait([self._opening])
        for model in (*self._models.values(), self.shell):
            model.dispose()
        if self._db is not None:
            with suppress(NotSent):
                await self._db.close(timeout=_CLOSING_SECONDS)


def _lines_of(error: Error, manifest: str, place: str, exported: bool) -> list[str]:
    """What stands in the way, and what to do about it."""
    lines = [f"{type(error).__name__}: {error}"]
    if exported:
        lines.append("A file that is opened has to be one that rxmps3 export wrote.")
    elif isinstance(error, Corrupt):
        lines.append(f"Find out more: rxmps3 verify {place} --manifest {manifest}")
    elif isinstance(error, Unavailable):
        lines.append("The studio goes on trying.")
    return lines
