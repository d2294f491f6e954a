"""The objects of the clients of one manifest: listing, reading, renewing and removing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rxmps3.database.presence.who import (
    MAX_BODY_BYTES,
    RUBBISH_AFTER,
    Said,
    Sighting,
    decode,
    encode,
    id_of,
    is_alive,
    who_is_here,
)
from rxmps3.errors import AccessDenied, Corrupt, Error, Unsupported
from rxmps3.log.server_clock import MARGIN
from rxmps3.model.names import presence_folder
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Listed, Missing, Storage, Stored, pages, versions_of

__all__ = ["Bell", "Look", "Objects", "Own", "look_once"]

_READS_AT_ONCE = 16
_READS_INSTEAD_OF_LIST = 8
"""Up to this many objects are read one by one, a GET each; for more, a listing is cheaper."""
_BELL = "bell"
"""Its name, which cannot be a client's id."""
_REMOVED_AT_ONCE = 10
"""How many left-overs are deleted after one look, at most."""


@dataclass(frozen=True)
class Look:
    """The result of a look.

    Attributes:
        date: the storage's clock.
        seen: the clients that are here, by id.
        rubbish: names of objects that nobody has renewed for a day; none if the reader's own object contradicts the
            date.
    """

    date: datetime
    seen: dict[str, Sighting]
    rubbish: list[str]


class Bell:
    """An object that a client rewrites when it arrives, leaves or says something else, so that others need not list.

    Reading it is one GET, with no body as long as nobody has rung. The last client to leave deletes it, which counts
    as a ring. In a bucket with versions each ring deletes the versions that it replaces.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self.name = folder + _BELL
        self._etag = ""
        self._versions: list[str] = []

    async def listen(self) -> tuple[bool, datetime | None]:
        """Whether it has been rung since the last call, and the storage's clock. Raises what the storage raised."""
        answer = await self._storage.get(self.name, unless=self._etag or None, limit=MAX_BODY_BYTES)
        if not isinstance(answer, Found):
            return isinstance(answer, Missing) and self._forget(), answer.date
        self._etag = answer.etag
        if _is_id(answer.version) and answer.version not in self._versions:
            self._versions.append(str(answer.version))
        return True, answer.date

    def _forget(self) -> bool:
        known, self._etag = self._etag, ""
        return known != ""

    async def ring(self, nonce: str) -> None:
        """Ring it. Raises what the storage raised; then nobody knows whether it rang."""
        stored = await self._storage.put(self.name, b'{"format":1,"nonce":"%s"}' % nonce.encode())
        if not _is_id(stored.version):
            return
        older, self._versions = self._versions, [str(stored.version)]
        for version in older:
            try:
                await self._storage.delete(self.name, version=version)
            except Error:
                return  # a few bytes; a lifecycle rule for noncurrent versions removes them

    async def remove(self) -> None:
        """Delete it; in a bucket with versions all of them, if that is allowed. Raises what the storage raised."""
        try:
            await _remove(self._storage, self.name, versioned=bool(self._versions))
        except AccessDenied:
            if not self._versions:
                raise
            await _remove(self._storage, self.name, versioned=False)
        self._versions.clear()


class Objects:
    """Reads the objects of a manifest's clients; a body is read again only when its ETag changes.

    Most looks only listen to the bell. The objects are listed if it was rung, and once in each ttl, for clients that do
    not ring; in between, those that were not seen for two thirds of it are read again.

    Args:
        storage: where the objects are.
        manifest: whose clients.
        ttl: how long a client counts as here without a sign of life.
        unreadable: called once for each body that cannot be read; its client is left out.
    """

    def __init__(
        self, storage: Storage, manifest: str, ttl: timedelta, unreadable: Callable[[str, Error], None]
    ) -> None:
        self.folder = presence_folder(manifest)
        self._storage = storage
        self._ttl = ttl
        self._rubbish_after = max(RUBBISH_AFTER, ttl)
        self._unreadable = unreadable
        self._bodies: dict[str, tuple[str, Said | None]] = {}
        self._bell = Bell(storage, self.folder)
        self._last: Look | None = None
        self._listed_at: datetime | None = None
        self._read_at: dict[str, datetime] = {}
        self._rubbish: list[str] = []

    async def ring(self, nonce: str) -> None:
        """Tell the others that something has changed. Raises what the storage raised."""
        await self._bell.ring(nonce)

    async def ring_at_leaving(self, nonce: str) -> None:
        """Tell the others that this client's object is gone; without others, remove the bell. Raises as `ring`."""
        page = await self._storage.list(self.folder)
        if page.cursor is not None or any(id_of(one.name, self.folder) is not None for one in page.objects):
            await self._bell.ring(nonce)
        else:
            await self._bell.remove()

    async def look(self, own: str = "") -> Look:
        """Read the bell, and what has changed if it was rung or a full look is due.

        Args:
            own: an id that is left out.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: what the storage raised.
            Unsupported: its answers carry no Date.
        """
        rung, now = await self._bell.listen()
        if rung:
            self._listed_at = None  # until a listing has succeeded
        last, listed_at = self._last, self._listed_at
        if last is None or now is None or listed_at is None or now - listed_at >= self._ttl:
            return await self._listed_anew(own)
        silent = [id for id, one in last.seen.items() if self._is_silent(id, one, now)]
        if len(silent) > _READS_INSTEAD_OF_LIST:
            return await self._listed_anew(own)
        seen = dict(last.seen)
        for id, one in zip(silent, await together(self._read(id, self._unlisted(id)) for id in silent), strict=True):
            self._read_at[id] = now
            del seen[id]
            if one is not None and is_alive(one.modified, now, self._ttl):
                seen[id] = one
        self._last = Look(now, seen, self._some_rubbish())
        return self._last

    def _is_silent(self, id: str, one: Sighting, now: datetime) -> bool:
        """Whether it might soon be taken for gone, and was not read just now."""
        read_at = self._read_at.get(id)
        soon = not is_alive(one.modified, now, self._ttl * 2 / 3)
        return soon and (read_at is None or now - read_at >= self._ttl / 12)

    def _unlisted(self, id: str) -> Listed:
        return Listed(self.folder + id, 0, None)

    async def _listed_anew(self, own: str) -> Look:
        self._last = look = await self.list(own)
        self._listed_at = look.date
        self._read_at = {id: at for id, at in self._read_at.items() if id in look.seen}
        return look

    async def list(self, own: str = "") -> Look:
        """List the objects and read those that changed: one request per 1,000 objects, and one per body.

        Args:
            own: an id that is left out.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: what the storage raised.
            Unsupported: its answers carry no Date.
        """
        date: datetime | None = None
        bell: Listed | None = None
        listed: dict[str, Listed] = {}
        async for page in pages(self._storage, self.folder):
            date = page.date or date
            bell = next((one for one in page.objects if one.name == self._bell.name), bell)
            listed |= {id: one for one in page.objects if (id := id_of(one.name, self.folder)) is not None}
        if date is None:
            raise Unsupported("answers carry no Date", operation="presence", object=self._storage.url)
        mine = listed.pop(own, None)
        now = date
        recent = {
            id: one for id, one in listed.items() if one.modified is None or is_alive(one.modified, now, self._ttl)
        }
        self._bodies = {id: known for id, known in self._bodies.items() if id in recent}
        seen: dict[str, Sighting] = {}
        asked = list(recent.items())
        for start in range(0, len(asked), _READS_AT_ONCE):
            batch = asked[start : start + _READS_AT_ONCE]
            for (id, _), one in zip(batch, await together(self._read(*item) for item in batch), strict=True):
                if one is not None:
                    seen[id] = one
        self._rubbish = [
            one.name
            for one in (*listed.values(), *((bell,) if bell is not None and not seen else ()))
            if one.modified is not None and not is_alive(one.modified, now, self._rubbish_after)
        ]
        return Look(now, seen, self._some_rubbish() if self._bears_out(now, mine) else [])

    def _bears_out(self, now: datetime, mine: Listed | None) -> bool:
        """Whether the reader's own last sign of life, if there is one, agrees with a date."""
        return mine is None or mine.modified is None or abs(now - mine.modified) <= self._ttl + MARGIN

    def _some_rubbish(self) -> list[str]:
        some, self._rubbish = self._rubbish[:_REMOVED_AT_ONCE], self._rubbish[_REMOVED_AT_ONCE:]
        return some

    async def _read(self, id: str, listed: Listed) -> Sighting | None:
        known = self._bodies.get(id)
        modified = listed.modified
        if known is None or known[0] != listed.etag or not listed.etag or modified is None:
            try:
                answer = await self._storage.get(listed.name, limit=MAX_BODY_BYTES)
            except Corrupt as error:
                self._unreadable(listed.name, error)
                self._bodies[id] = listed.etag, None
                return None
            if not isinstance(answer, Found):
                self._bodies.pop(id, None)
                return None
            modified = answer.modified or modified
            if known is None or known[0] != answer.etag:
                known = self._bodies[id] = answer.etag, self._said(listed.name, answer.body)
        said = known[1]
        return None if said is None or modified is None else Sighting(said, modified)

    def _said(self, name: str, body: bytes) -> Said | None:
        try:
            return decode(body, f"object {name!r}")
        except Error as error:
            self._unreadable(name, error)
            return None

    async def remove(self, name: str) -> None:
        """Delete what a dead client left behind; in a bucket with versions all its versions.

        Not if it was renewed since it was listed, or if the date of the listing was wrong.
        """
        try:
            found = await self._storage.get(name, limit=MAX_BODY_BYTES)
        except Corrupt:
            found = None
        if isinstance(found, Missing) or (isinstance(found, Found) and self._is_renewed(found)):
            return
        await _remove(self._storage, name, versioned=isinstance(found, Found) and _is_id(found.version))

    def _is_renewed(self, found: Found) -> bool:
        """Whether an answer says that its object is too young to be left behind."""
        if found.modified is None or found.date is None:
            return False
        return is_alive(found.modified, found.date, self._rubbish_after)


class Own:
    """A client's own object.

    In a bucket with versions each sign of life is a new version, so the one before it is deleted then.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name = name
        self.may_exist = False
        self._storage = storage
        self._versions: list[str] = []
        self._versioned = False
        self._keeps_versions = False

    async def renew(self, said: Said) -> Stored:
        """A sign of life: one request. Raises what the storage raised; then nobody knows whether it was written."""
        self.may_exist = True
        stored = await self._storage.put(self.name, encode(said))
        if _is_id(stored.version):
            self._versioned = True
            self._versions.append(str(stored.version))
        return stored

    async def remove_older(self) -> None:
        """Delete the versions before the last sign of life, if there are any. Raises what the storage raised.

        Where that is not allowed it is not tried again.
        """
        while len(self._versions) > 1 and not self._keeps_versions:
            try:
                await self._storage.delete(self.name, version=self._versions[0])
            except AccessDenied:
                self._keeps_versions = True
                raise
            del self._versions[0]
        if self._keeps_versions:
            self._versions.clear()

    async def remove(self) -> None:
        """Delete it; in a bucket with versions all of them, if that is allowed. Raises what the storage raised."""
        versioned = self._versioned and not self._keeps_versions
        try:
            await _remove(self._storage, self.name, versioned=versioned)
        except AccessDenied:
            if not versioned:
                raise
            await _remove(self._storage, self.name, versioned=False)
        self.may_exist = False
        self._versions.clear()


async def _remove(storage: Storage, name: str, *, versioned: bool) -> None:
    if not versioned:
        await storage.delete(name)
        return
    cursor: str | None = None
    while True:
        page = await versions_of(storage).list_versions(name, cursor=cursor)
        for one in page.versions:
            if one.name == name:
                await storage.delete(name, version=one.version)
        cursor = page.cursor
        if cursor is None:
            return


def _is_id(version: str | None) -> bool:
    return version is not None and version != "null"


async def look_once(storage: Storage, manifest: str, ttl: timedelta) -> dict[str, Sighting]:
    """Who is at a manifest now. Raises as `Objects.look`."""

    def leave_out(name: str, error: Error) -> None:
        pass

    look = await Objects(storage, manifest, ttl, leave_out).list()
    return who_is_here(look.seen, look.date, ttl)
