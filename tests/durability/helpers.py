"""What the tests of durability share: a disk that outlives its process, and databases on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex import Subject

import rxmps3
from rxmps3.local.directory import LocalMemory
from rxmps3.storage import Found, MemoryStorage, Storage, list_all

LARGE = "L" * 9000
"""A value over the default inline limit."""


class Disk:
    """What a machine keeps while processes come and go, in memory.

    Attributes:
        wrap: is put around a part each time a process opens it, for tests that spoil it.
    """

    def __init__(self) -> None:
        self.parts: dict[str, MemoryStorage] = {}
        self.wrap: Callable[[str, Storage], Storage] = lambda name, storage: storage

    def local(self) -> LocalMemory:
        """For ``connect(local=…)``."""
        return LocalMemory(lambda name: self.wrap(name, self.parts.setdefault(name, MemoryStorage())))

    async def copy(self) -> Disk:
        """As it is now: what a process finds after this one was killed, or a backup."""
        disk = Disk()
        for name, part in self.parts.items():
            for listed in await list_all(part, ""):
                found = await part.get(listed.name)
                assert isinstance(found, Found)
                await disk.parts.setdefault(name, MemoryStorage()).put(listed.name, found.body)
        return disk

    async def files(self, part: str = "main/outbox") -> list[str]:
        """The names of what is kept."""
        return [listed.name for listed in await list_all(self.parts[part], "")] if part in self.parts else []


def on(storage: Storage, disk: Disk | None = None, **options: Any) -> rxmps3.Connecting:
    """A process with a database; it looks only when asked to."""
    options.setdefault("poll", Subject())
    if disk is not None:
        options["local"] = disk.local()
    return rxmps3.connect(storage, shared=False, **options)
