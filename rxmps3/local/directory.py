"""What a process keeps on disk with ``local=DIR``: its outbox, the last known state, and known large values.

::

    DIR/<database>/address                       which database it is: its URL, as the storage says it
    DIR/<database>/<manifest>/known/state        the last known state and its place in the log
    DIR/<database>/<manifest>/known/state-<…>    of a partial replica: that of its prefixes
    DIR/<database>/<manifest>/known/values/<…>   known large values
    DIR/<database>/<manifest>/slots/<n>/…        one outbox a process; locked while its process lives

Each address of a database, even another port of the same server, has its own folder. Opening one address reports unsent
writes under the others, and `rxmps3.local.unsent` finds them.

The state and the values are shared by the processes of one directory; they are copies of what the bucket has, and
may be deleted at any time. The slot of a process that has died is adopted by the next one that opens.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from rxmps3.errors import Corrupt, Error, InvalidOption, Unsupported
from rxmps3.local.outbox import Outbox, Restored, open_sealed, open_sealed_bytes, seal, seal_bytes
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.protocol import ResumePoint
from rxmps3.model import jsontext
from rxmps3.model.names import Layout, escape
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.state import State
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Found, Storage, list_all

__all__ = ["Local", "LocalDirectory", "LocalMemory", "OpensLocal", "SavedState", "address_of", "lock_slot"]

_STATE = "state"
_ADDRESS = "address"
_VALUES = "values/"
_NO_CHAIN = "0" * 64
_MOST_SLOTS = 1000
VALUES_LIMIT = 256 << 20
"""Bytes of known values kept on disk; the oldest go first."""


@dataclass(frozen=True)
class SavedState:
    """The last known state, and its place in the log; None if there was no manifest yet."""

    place: ResumePoint | None
    state: State


class Local:
    """The local copies of one manifest.

    Args:
        storage: holds the shared part.
        outboxes: this process's own first, then those of dead processes; all are locked.
        release: releases the locks.
        elsewhere: other addresses of the same bucket and prefix, for which the directory holds unsent writes.
    """

    def __init__(
        self, storage: Storage, outboxes: list[Outbox], release: Callable[[], None], elsewhere: Sequence[str] = ()
    ) -> None:
        self._storage = storage
        self.elsewhere = elsewhere
        self.outboxes = outboxes
        self._release = release

    async def take_over(self) -> list[Restored]:
        """The pending writes of all outboxes, oldest first in each; moves them to the own outbox.

        Raises:
            Unavailable, AccessDenied: the disk refuses.
        """
        own, *others = self.outboxes
        found = await own.restore()
        known = {one.write.id for one in found}
        for outbox in others:
            adopted = [one for one in await outbox.restore() if one.write.id not in known]
            known.update(one.write.id for one in adopted)
            await own.adopt(adopted)
            await outbox.clear()
            found.extend(adopted)
        return found

    @property
    def set_aside(self) -> list[str]:
        """The outbox files that could not be read, with the reasons."""
        return [name for outbox in self.outboxes for name in outbox.set_aside]

    async def load_state(self, kept: Prefixes | None = None) -> SavedState | None:
        """The last known state of the keys that are kept, or None if there is none that can be read."""
        answer = await self._storage.get(_state_name(kept))
        if not isinstance(answer, Found):
            return None
        text = answer.body
        return await asyncio.to_thread(_decode_saved, text, kept)

    async def save_state(self, saved: SavedState) -> None:
        """Replace the last known state. Raises `Unavailable` or `AccessDenied` if the disk refuses."""
        body = await asyncio.to_thread(_encode_saved, saved)
        await self._storage.put(_state_name(saved.state.kept), body)

    async def load_value(self, identity: str) -> str | None:
        """A known value's text, verified, or None."""
        answer = await self._storage.get(_value_name(identity))
        if not isinstance(answer, Found):
            return None
        try:
            return open_sealed(answer.body, identity)
        except Corrupt:
            return None

    async def save_value(self, identity: str, text: str) -> None:
        """Keep a value's text."""
        await self._storage.put(_value_name(identity), seal(text))

    async def load_pack(self, name: str) -> bytes | None:
        """A known pack, verified, or None."""
        answer = await self._storage.get(_value_name(name))
        try:
            return open_sealed_bytes(answer.body, name) if isinstance(answer, Found) else None
        except Corrupt:
            return None

    async def save_pack(self, name: str, body: bytes) -> None:
        """Keep a pack."""
        await self._storage.put(_value_name(name), seal_bytes(body))

    async def prune_values(self) -> None:
        """Delete the oldest values beyond the limit."""
        listed = await list_all(self._storage, _VALUES)
        total = sum(one.size for one in listed)
        for one in sorted(listed, key=lambda one: str(one.modified)):
            if total <= VALUES_LIMIT:
                return
            total -= one.size
            await self._storage.delete(one.name)

    async def close(self) -> None:
        """Release files and locks."""
        for outbox in self.outboxes:
            await outbox.close()
        await self._storage.close()
        self._release()


class OpensLocal(Protocol):
    """Opens the local copies of a manifest."""

    async def open(self, manifest: str) -> Local:
        """Raises `Unavailable` or `AccessDenied` if the disk refuses."""
        ...


class LocalDirectory:
    """Opens the local copies of manifests below a directory.

    Args:
        path: the directory; ``~`` is expanded, and it is created when something is first kept.
        url: the database, so that several may share a directory.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, clock: Clock) -> None:
        tail = escape(url.rpartition("/")[2].partition("?")[0] or "database").replace("/", "-")[:40]
        self._path = Path(path).expanduser()
        self._root = self._path / f"{tail}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        self._url = url
        self._clock = clock
        if self._root.exists() and not self._root.is_dir():
            raise InvalidOption(f"local={str(path)!r} is not a directory", operation="connect")

    async def open(self, manifest: str) -> Local:
        """The local copies of a manifest. Locks a slot, and those of dead processes."""
        try:
            return await asyncio.to_thread(self._open, manifest)
        except OSError as error:
            raise InvalidOption(
                f"the local directory cannot be used: {error.strerror or error}",
                operation="connect",
                object=f"local={str(self._root)!r}",
            ) from error

    def _open(self, manifest: str) -> Local:
        from rxmps3.storage.directory import DirectoryStorage, make_directories

        folder = self._root / Layout(manifest).root.rstrip("/")
        slots = folder / "slots"
        make_directories(os.path.abspath(slots), 0o700)
        with suppress(PermissionError):
            os.chmod(self._root, 0o700)  # earlier versions made it readable by everyone
        self._check_address()
        locks = [lock for slot in sorted(slots.iterdir()) if (lock := lock_slot(slot)) is not None]
        number = 1
        while not locks:
            slot = slots / f"{number}"
            if not slot.exists():
                make_directories(os.path.abspath(slot), 0o700)
                if (lock := lock_slot(slot)) is not None:
                    locks.append(lock)
            number += 1
            if number > _MOST_SLOTS:
                raise Unsupported(f"more than {_MOST_SLOTS} processes use it at once", object=f"directory {folder}")

        def release() -> None:
            for _, descriptor in locks:
                os.close(descriptor)

        outboxes = [Outbox(DirectoryStorage(slot / "outbox", self._clock, private=True)) for slot, _ in locks]
        known = DirectoryStorage(folder / "known", self._clock, private=True)
        return Local(known, outboxes, release, self._elsewhere(folder.name))

    def _check_address(self) -> None:
        """Record which database this folder is for, or refuse if it is another's."""
        address = address_of(self._root)
        if address is None:
            spare = self._root / f"{_ADDRESS}.{os.getpid()}"
            spare.touch(0o600)
            spare.write_text(f"{self._url}\n")
            spare.replace(self._root / _ADDRESS)
        elif address != self._url:
            raise InvalidOption(
                f"it belongs to {address}, not to {self._url}",
                operation="connect",
                object=f"local directory {str(self._root)!r}",
                remedy="use another local directory; rxmps3 outbox DIR shows what waits there and moves it",
            )

    def _elsewhere(self, manifest: str) -> list[str]:
        found: list[str] = []
        for other in sorted(self._path.iterdir()):
            address = address_of(other) if other != self._root else None
            is_like = address is not None and _without_query(address) == _without_query(self._url)
            if address is not None and is_like and any((other / manifest / "slots").glob("*/outbox/writes/*")):
                found.append(address)
        return found


def address_of(folder: Path) -> str | None:
    """The database of a folder in a local directory; None if it is unknown (created by an earlier release)."""
    try:
        return (folder / _ADDRESS).read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _without_query(url: str) -> str:
    return url.partition("?")[0]


class LocalMemory:
    """Local copies on given storages, for tests and simulations.

    Args:
        storage: makes the storage of a manifest's shared part and of its outbox, by name.
    """

    def __init__(self, storage: Callable[[str], Storage]) -> None:
        self._storage = storage

    async def open(self, manifest: str) -> Local:
        """As `LocalDirectory.open`, without locks."""
        outbox = Outbox(self._storage(f"{manifest}/outbox"))
        return Local(self._storage(f"{manifest}/known"), [outbox], lambda: None)


def lock_slot(slot: Path) -> tuple[Path, int] | None:
    """Lock a slot, unless a live process has locked it."""
    try:
        import fcntl
    except ImportError:
        raise Unsupported("local= needs POSIX file locks", object=f"directory {slot}") from None

    descriptor = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return slot, descriptor


def _state_name(kept: Prefixes | None) -> str:
    """Replicas that keep different keys save their states beside each other."""
    if kept is None:
        return _STATE
    return f"{_STATE}-{hashlib.sha256(jsontext.encode(kept.all).encode()).hexdigest()[:16]}"


def _value_name(identity: str) -> str:
    return _VALUES + hashlib.sha256(identity.encode()).hexdigest()


def _encode_saved(saved: SavedState) -> bytes:
    """A line of JSON with the place in the log, and the state as in a checkpoint."""
    place = saved.place
    if place is None:
        return seal('{"place":null}')
    members: dict[str, Any] = {"protocol": place.protocol, "version": place.version, "members": dict(place.members)}
    if place.beside:
        members["beside"] = dict(place.beside)
    parts = [f'{{"place":{jsontext.encode(members)}}}\n'.encode()]
    parts.extend(checkpoint_codec.state_parts(saved.state, "", 0, _NO_CHAIN))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join((digest.hexdigest().encode(), b"\n", *parts))


def _decode_saved(body: bytes, kept: Prefixes | None = None) -> SavedState | None:
    try:
        first, _, state_body = open_sealed(body, _STATE).partition("\n")
        members = cast("dict[str, Any]", jsontext.decode(first, _STATE))
        if members["place"] is None:
            return SavedState(None, State(kept=kept))
        place = ResumePoint(**members["place"])
        text = state_body or members["state"]  # earlier versions put it into the same line, as JSON within JSON
        state = checkpoint_codec.decode_state(text.encode(), _STATE, codec.any_names, kept).state
        return SavedState(place, replace(state, version=place.version))
    except (Error, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        return None
