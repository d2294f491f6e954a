"""A client's disk: it outlives the process, refuses at times, and may keep half of what a dying process wrote.

A process that dies takes the machine's power with it. What is on the disk for certain by then is what was synced: a
content once the file was, a name once the directory was. A folder here syncs as `rxmps3.storage.directory` does: the
content before it gets its name, the name before the put returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from rxmps3.errors import Error, Unavailable
from rxmps3.runtime.clock import Random
from rxmps3.storage.base import Found, Missing, NotModified, Page, Precondition, Stored
from rxmps3.storage.memory import MemoryStorage
from rxmps3.testing.virtual import SimClock, VirtualLoop
from tests.simulator.bucket import at_once
from tests.simulator.life import Life
from tests.simulator.plan import Outage

__all__ = ["SimDisk", "Snapshot"]

T = TypeVar("T")
Snapshot = Mapping[str, Mapping[str, bytes]]
_DELAY = 0.004
_TORN = 0.3
"""How often a process that dies while it writes leaves half an object behind, rather than the old one."""
_LOST = 0.5
"""How often what was not synced is gone after a loss of power."""


@dataclass
class _Doubt:
    """A name that has had another content since its folder was last synced, or whose content was not synced.

    Attributes:
        before: the content that the name has on the disk for certain, None if it has none.
        content: whether its present content was not synced either.
    """

    before: bytes | None
    content: bool


class SimDisk:
    """The files of one client, by folder. ``torn`` counts the objects that were left half written.

    Args:
        loop: its time.
        seed: of its delays.
        troubles: when it refuses.
        note: writes to the trace.
    """

    def __init__(self, loop: VirtualLoop, seed: str, troubles: Sequence[Outage], note: Callable[..., None]) -> None:
        self.loop = loop
        self.rng = Random(f"disk {seed}")
        self.note = note
        self.torn = 0
        self._troubles = troubles
        self._folders: dict[str, MemoryStorage] = {}
        self._power = Random(f"power {seed}")
        self._doubts: dict[tuple[str, str], _Doubt] = {}

    def folder(self, name: str) -> MemoryStorage:
        """What is stored in a folder."""
        if name not in self._folders:
            self._folders[name] = self._new_folder(name)
        return self._folders[name]

    def _new_folder(self, name: str) -> MemoryStorage:
        return MemoryStorage(clock=SimClock(f"folder {name}"))

    def snapshot(self) -> Snapshot:
        """A copy of everything on it."""
        return {
            folder: {name: found.body for name in _names(files) if isinstance(found := at_once(files.get(name)), Found)}
            for folder, files in self._folders.items()
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back as it was."""
        self._doubts.clear()
        for folder in self._folders:
            self._folders[folder] = self._new_folder(folder)
        for folder, files in snapshot.items():
            for name, body in files.items():
                at_once(self.folder(folder).put(name, body))
        self.torn += 1  # as it was then may be half written

    def put(self, folder: str, name: str, body: bytes, when: Precondition | None, sha256: bytes | None) -> Stored:
        """Write a content, sync it, and give it its name, which is not synced yet."""
        before = self._content(folder, name)
        stored = at_once(self.folder(folder).put(name, body, when=when, sha256=sha256))
        self._doubts.setdefault((folder, name), _Doubt(before, content=True)).content = True
        self.sync_content(folder, name)
        return stored

    def delete(self, folder: str, name: str) -> None:
        """Remove a name; that is not synced yet."""
        self._doubts.setdefault((folder, name), _Doubt(self._content(folder, name), content=False))
        at_once(self.folder(folder).delete(name))

    def sync_content(self, folder: str, name: str) -> None:
        """What was written is on the disk for certain, whatever its name."""
        self._doubts[folder, name].content = False

    def sync_names(self, folder: str) -> None:
        """The names of a folder are on the disk for certain, whatever they point to."""
        for place, doubt in list(self._doubts.items()):
            if place[0] != folder:
                continue
            if doubt.content:
                doubt.before = self._content(*place)
            else:
                del self._doubts[place]

    def lose_power(self) -> None:
        """What was not synced is there nevertheless, or not, or half of it."""
        for (folder, name), doubt in self._doubts.items():
            content = now = self._content(folder, name)
            if self._power.random() < _LOST:
                content = doubt.before
            if content is not None and content == now and doubt.content and self._power.random() < _LOST:
                content = content[: int(len(content) * self._power.random())]
                self.torn += 1
            if content == now:
                continue
            self.note("a loss of power takes back", f"{folder}/{name}")
            files = self.folder(folder)
            at_once(files.delete(name) if content is None else files.put(name, content))
        self._doubts.clear()

    def _content(self, folder: str, name: str) -> bytes | None:
        found = at_once(self.folder(folder).get(name))
        return found.body if isinstance(found, Found) else None

    @property
    def troubled(self) -> bool:
        """Whether it has ever been full: what was committed then may not be on it."""
        return any(trouble.start <= self.loop.time() for trouble in self._troubles)

    def refuses(self) -> bool:
        """Whether it is full just now."""
        now = self.loop.time()
        return any(trouble.start <= now < trouble.end for trouble in self._troubles)

    def open(self, life: Life, folder: str) -> _Folder:
        """A folder as a process uses it."""
        return _Folder(self, life, folder)


def _names(files: MemoryStorage) -> list[str]:
    return [listed.name for listed in at_once(files.list("")).objects]


class _Folder:
    """A `rxmps3.storage.Storage` on a disk; what was put is durable when the put returns."""

    url = "disk:"
    name_limit = 1024

    def __init__(self, disk: SimDisk, life: Life, folder: str) -> None:
        self._disk = disk
        self._life = life
        self._folder = folder
        self._files = disk.folder(folder)

    async def _do(
        self,
        action: Callable[[], T],
        torn: Callable[[], object] | None = None,
        *,
        writes: bool = False,
        changes: bool = False,
    ) -> T:
        """Carry it out after a moment and answer after another; a process that dies meanwhile hears nothing."""
        disk, life, loop = self._disk, self._life, self._disk.loop
        done: asyncio.Future[object] = loop.create_future()
        delays = [_DELAY * disk.rng.random() for _ in range(2)]
        tears = disk.rng.random() < _TORN

        def carry_out() -> None:
            if life.dead:
                if tears and torn is not None:
                    torn()
                return
            try:
                outcome: object = Unavailable("disk full", operation="write") if writes and disk.refuses() else action()
            except Error as error:
                outcome = error
            if changes:
                loop.call_later(delays[1] / 2, sync)
            loop.call_at(life.awake(loop.time() + delays[1]), answer, outcome)

        def sync() -> None:
            if not life.dead:
                disk.sync_names(self._folder)

        def answer(outcome: object) -> None:
            if life.dead or done.done():
                return
            if isinstance(outcome, Error):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        if not life.dead:
            loop.call_later(delays[0], carry_out)
        return cast(T, await done)

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        return await self._do(lambda: at_once(self._files.get(name, unless=unless, limit=limit)))

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        def put() -> Stored:
            self._disk.note(self._life, "stores", f"{self._folder}/{name}")
            return self._disk.put(self._folder, name, body, when, sha256)

        def tear() -> None:
            self._disk.note(self._life, "leaves torn", f"{self._folder}/{name}")
            self._disk.torn += 1
            at_once(self._files.put(name, body[: len(body) // 2]))

        return await self._do(put, tear, writes=True, changes=True)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        return await self._do(lambda: at_once(self._files.list(prefix, after=after, cursor=cursor, limit=limit)))

    async def delete(self, name: str, *, version: str | None = None) -> None:
        return await self._do(lambda: self._disk.delete(self._folder, name), changes=True)

    async def close(self) -> None:
        """Nothing is held open."""
