"""A storage whose answers are confirmed before anything is built upon them.

A network, a proxy or a disk may damage the answer to one request and leave what is stored intact. So the body of a get
counts only if one of these holds:

* it carries a check of its own content that agrees: that of `rxmps3.model.seal`, or that of gzip;
* its ETag is the MD5 of the body, as on most servers for what was stored in one part;
* a second request has brought the same body. This is for objects of other programs and of earlier versions, where the
  server's ETags are something else than MD5s.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rxmps3.errors import Corrupt, Unavailable
from rxmps3.model.seal import is_intact
from rxmps3.storage.base import Found, Missing, NotModified, Precondition, Storage, Stored
from rxmps3.storage.wrapper import StorageWrapper

__all__ = ["ConfirmedStorage"]

T = TypeVar("T")

_READS = 4
"""How many answers about one object are compared before the read fails."""
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_LARGEST_UNPACKED = 1 << 30
_IN_THREAD_BYTES = 1 << 20


class ConfirmedStorage(StorageWrapper):
    """Reads an object again until an answer about it is confirmed.

    Args:
        inner: the storage.
        report: called for each damaged answer with the object's name and what was wrong.
    """

    def __init__(self, inner: Storage, report: Callable[[str, str], None]) -> None:
        super().__init__(inner)
        self._report = report

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """See `rxmps3.storage.Get`.

        Raises:
            Corrupt: the object is stored damaged: two answers are alike, and contradict the check that they carry.
            Unavailable: no two answers agree.
        """
        answer = await super().get(name, unless=unless, version=version, limit=limit)
        earlier: list[Found] = []
        while isinstance(answer, Found) and not await _counts(answer, earlier):
            if _has(earlier, answer):
                raise Corrupt(
                    "damaged: its content is not what its own check says",
                    operation="get",
                    object=f"object {name!r}",
                    remedy="restore the object from a backup; nothing is overwritten",
                )
            earlier.append(answer)
            if len(earlier) == _READS:
                raise _hopeless(name)
            answer = await super().get(name, unless=unless, version=version, limit=limit)
        if isinstance(answer, Found):
            for one in earlier:
                if wrong := await _damage(one, answer):
                    self._report(name, wrong)
        return answer

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        """See `rxmps3.storage.Put`: there is nothing to confirm."""
        return await self.inner.put(name, body, when=when, sha256=sha256, content_type=content_type)

    async def get_verified(
        self,
        name: str,
        verify: Callable[[bytes], Awaitable[T]],
        *,
        version: str | None = None,
        limit: int | None = None,
    ) -> T | None:
        """Read an object whose digest the reader knows; None if there is no such object.

        Args:
            name: the object's name.
            verify: returns what the body holds; raises `Corrupt` if it is not what it is to be.
            version: the version to read; None reads the newest.
            limit: as for `get`.

        Raises:
            Corrupt: the object is stored damaged: what ``verify`` says of two answers that are alike.
            Unavailable: the answers differ from each other.
        """
        earlier: list[bytes] = []
        damage = ""
        while len(earlier) < _READS:
            answer = await self.inner.get(name, version=version, limit=limit)
            if not isinstance(answer, Found):
                return None
            try:
                found = await verify(answer.body)
            except Corrupt as error:
                if answer.body in earlier:
                    raise
                earlier.append(answer.body)
                damage = damage or error.what
            else:
                if damage:
                    self._report(name, damage)
                return found
        raise _hopeless(name)


async def _counts(answer: Found, earlier: list[Found]) -> bool:
    """Whether an answer is confirmed, by itself or by an earlier one."""
    intact = await _in_thread(is_intact, answer.body)
    if intact is not None:
        return intact
    if await _in_thread(_is_md5, answer) or _has(earlier, answer):
        return True
    return answer.body.startswith(_GZIP) and await _in_thread(_unpacks, answer.body)


def _has(answers: list[Found], answer: Found) -> bool:
    return any(answer.body == one.body for one in answers)


async def _damage(one: Found, confirmed: Found) -> str:
    """What was wrong with an answer; "" if the object may have been rewritten meanwhile."""
    if await _in_thread(is_intact, one.body) is False:
        return "its content is not what its own check says"
    if one.etag == confirmed.etag and one.body != confirmed.body:
        return "another answer of the same ETag has another content"
    return ""


def _hopeless(name: str) -> Unavailable:
    return Unavailable(
        f"{_READS} answers about it differ from each other",
        operation="get",
        object=f"object {name!r}",
        remedy="check the network, and what stands between here and the storage",
    )


def _unpacks(packed: bytes) -> bool:
    """Whether a gzip file is whole, and has the checksum and the length that are written at its end."""
    reader = zlib.decompressobj(wbits=31)
    size, rest = 0, packed
    try:
        while rest and not reader.eof:
            size += len(reader.decompress(rest, _CHUNK))
            if size > _LARGEST_UNPACKED:
                return False
            rest = reader.unconsumed_tail
    except zlib.error:
        return False
    return reader.eof and not reader.unused_data


def _is_md5(answer: Found) -> bool:
    """Whether the ETag is the MD5 of the body."""
    return answer.etag.removeprefix("W/").strip('"') == hashlib.md5(answer.body, usedforsecurity=False).hexdigest()


async def _in_thread(look: Callable[..., T], at: bytes | Found) -> T:
    size = len(at.body) if isinstance(at, Found) else len(at)
    return look(at) if size < _IN_THREAD_BYTES else await asyncio.to_thread(look, at)
