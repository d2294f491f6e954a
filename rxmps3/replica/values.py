"""Values in objects of their own: upload, download, verification, and a bounded cache of their texts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import NamedTuple, Protocol, cast
from weakref import WeakValueDictionary

from cachetools import LRUCache

from rxmps3.errors import Corrupt, Error
from rxmps3.log.protocol import Placing
from rxmps3.model import valuetext
from rxmps3.model.state import ContentObject, Entry, Inline
from rxmps3.model.valuetext import file_of
from rxmps3.model.writing import MAX_PACK_BYTES
from rxmps3.replica.files import read_file, send_file, write_file
from rxmps3.replica.packs import KnownPacks, PackReader
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Stored, read_range
from rxmps3.storage.confirmed import ConfirmedStorage
from rxmps3.storage.transfer import LARGE_BYTES, Sent, download, upload

__all__ = ["DEFAULT_CACHE_BYTES", "DEFAULT_INLINE_LIMIT", "TextCache", "Uploaded", "Values"]

DEFAULT_INLINE_LIMIT = 4096
"""Values whose canonical text is longer than this many bytes get an object of their own."""
DEFAULT_CACHE_BYTES = 64 << 20
_IN_THREAD_BYTES = 1 << 20
_MAX_UNKNOWN_BYTES = 1 << 30
"""The largest value that is read where the log does not tell its size."""
_TRANSFERS_AT_ONCE = 16
_MOST_PACK_BYTES = 2 * MAX_PACK_BYTES
"""No pack is larger; one that claims to be is not read."""
_JSON = "application/json"
_PACKS_SHARE = 4
"""Packs may take this part of the cache's bytes on top."""


class TextCache:
    """An LRU cache of texts by SHA-256, bounded by their total length; the newest text is always kept.

    A text longer than the limit evicts everything else: whoever downloaded it is about to read it from here.
    """

    def __init__(self, limit: int = DEFAULT_CACHE_BYTES) -> None:
        most = max(1, limit)
        self._texts: LRUCache[str, str] = LRUCache(most, getsizeof=lambda text: min(len(text), most))
        self._lock = threading.Lock()  # texts are looked up on any thread

    def get(self, sha256: str) -> str | None:
        with self._lock:
            return self._texts.get(sha256)

    def put(self, sha256: str, text: str) -> None:
        with self._lock:
            self._texts[sha256] = text


class _KnownValues(KnownPacks, Protocol):
    """Where known values are kept on disk."""

    async def load_value(self, identity: str) -> str | None: ...

    async def save_value(self, identity: str, text: str) -> None: ...


class Uploaded(NamedTuple):
    """A value that is stored: as it was, with its SHA-256 and its size if these were not known, and the answer."""

    content: ContentObject
    stored: Stored


class _Own(NamedTuple):
    """An own value that is not committed yet, and the number of writes that hold it."""

    text: str
    body: bytes | None
    holders: int


class Values:
    """The values of one manifest's entries, as canonical JSON text.

    Args:
        storage: where the content objects are.
        placing: their object names and format.
        cache_bytes: how much text to keep of downloaded and own values.
    """

    def __init__(self, storage: ConfirmedStorage, placing: Placing, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._storage = storage
        self.placing = placing
        self._cache = TextCache(cache_bytes)
        self._own: dict[str, _Own] = {}
        self._lock = Lock()
        self._arriving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: _KnownValues | None = None
        self._slots = asyncio.Semaphore(_TRANSFERS_AT_ONCE)
        self._packs = PackReader(self._read_pack, cache_bytes // _PACKS_SHARE)

    def keep_in(self, known: _KnownValues) -> None:
        """Also keep known values on disk, and look for them there first."""
        self._known = self._packs.known = known

    def peek(self, entry: Entry) -> str | None:
        """The entry's text if available without I/O. May be called from any thread."""
        content = entry.content
        return content.text if isinstance(content, Inline) else self.peek_content(content)

    def peek_content(self, content: ContentObject) -> str | None:
        """The text of a value's object if available without I/O. May be called from any thread."""
        own = self._own.get(content.identity)
        if own is not None and file_of(own.text) is None:
            return own.text
        return self._cache.get(content.identity)

    def held_text(self, content: ContentObject) -> str:
        """The text of a held value as it was put: that of a file says where the file is."""
        return self._own[content.identity].text

    def hold(self, content: ContentObject, text: str, body: bytes | None = None) -> None:
        """Keep the text of an own value, outside the bounded cache, until it is released.

        ``body`` is the content of its object, where it differs from what the placing returns for the text.
        """
        with self._lock:
            held = self._own.get(content.identity)
            self._own[content.identity] = _Own(text, body, held.holders + 1 if held is not None else 1)

    def hold_again(self, content: ContentObject) -> None:
        """Keep the text of a held value for one more holder."""
        with self._lock:
            held = self._own[content.identity]
            self._own[content.identity] = held._replace(holders=held.holders + 1)

    def release(self, content: ContentObject) -> str:
        """The own value is committed or dropped: from now on its text may be evicted from the cache."""
        with self._lock:
            held = self._own.pop(content.identity)
            if held.holders > 1:
                self._own[content.identity] = held._replace(holders=held.holders - 1)
            elif file_of(held.text) is None:
                self._cache.put(content.identity, held.text)
        return held.text

    def rename(self, content: ContentObject, known: ContentObject) -> None:
        """A held value is known better by now: it is held as that. Its old identity may be held by others, too."""
        if known.identity != content.identity:
            self.hold(known, self.release(content))

    async def upload(self, contents: Sequence[ContentObject]) -> list[Uploaded | None]:
        """Upload the objects of held values, with their SHA-256 for the server to check. Raises as `Storage.put`.

        The contents of a pack have to be given together.

        Returns:
            For each value what is known of it then; None if it had been dropped before.
        """
        objects = list(_by_object(contents).values())
        answers = await all_of(map(self._upload, objects))
        by_object = {each[0].name: answer for each, answer in zip(objects, answers, strict=True)}
        return [
            None if (sent := by_object[content.name]) is None else Uploaded(_known(content, sent), sent.stored)
            for content in contents
        ]

    async def _upload(self, contents: Sequence[ContentObject]) -> Sent | None:
        """Upload one object, which holds one value or is a pack."""
        async with self._slots:
            held = [self._own.get(content.identity) for content in contents]
            file = None if held[0] is None else file_of(held[0].text)
            if file is not None:
                return await send_file(self._storage, self.placing.object_name(contents[0]), file)
            bodies = [self._body(one) for one in held if one is not None]
            if len(bodies) < len(held):
                return None  # dropped while waiting for its turn
            body = b"".join(bodies)
            media = contents[0].media if contents[0].offset is None else valuetext.ANY_BYTES
            name = self.placing.object_name(contents[0])

            async def read(start: int, stop: int) -> bytes:
                return body[start:stop]

            return await upload(self._storage, name, len(body), read, media or _JSON)

    def _body(self, held: _Own) -> bytes:
        return self.placing.body(held.text) if held.body is None else held.body

    async def fetch(self, entry: Entry) -> str:
        """The entry's text, downloaded and verified if not available locally; concurrent calls share one download.

        Raises:
            Corrupt: the object is missing, or does not match the log.
            Unavailable, AccessDenied: the storage does not answer or refuses.
        """
        text = self.peek(entry)
        content = entry.content
        if text is not None or isinstance(content, Inline):
            return text or ""
        if content.offset is not None:
            return (await self._unpack([content]))[0]
        lock = self._arriving.setdefault(content.identity, asyncio.Lock())
        async with lock:
            text = self.peek(entry)
            own = self._own.get(content.identity)
            file = None if own is None else file_of(own.text)
            if file is not None:  # too large to be kept
                return valuetext.text_of_body(await read_file(file), file.content_type)
            if text is None and self._known is not None:
                text = await self._known.load_value(content.identity)
            if text is None:
                async with self._slots:
                    text = await self._download(content)
                await self.save(content, text)
            self._cache.put(content.identity, text)
            return text

    async def save_to(self, entry: Entry, path: str | os.PathLike[str], id: str) -> None:
        """Write a value to a file, as the bytes that it is stored as. A large one is never whole in memory.

        Args:
            entry: the value.
            path: of the file, which is replaced when everything is there and verified.
            id: makes the name of the file until then.

        Raises: as `fetch`; OSError if the file cannot be written.
        """
        content = entry.content
        in_parts = isinstance(content, ContentObject) and content.sha256 and content.size > LARGE_BYTES
        if isinstance(content, ContentObject) and in_parts and self.peek(entry) is None:
            name = self.placing.object_name(content)

            def check(sha256: str) -> None:
                if sha256 != content.sha256:
                    raise Corrupt(
                        f"its SHA-256 is {sha256}, the log says {content.sha256}",
                        operation="get",
                        object=f"value {name!r}",
                        remedy="restore the object, or put the key again",
                    )

            parts = download(self._storage, name, content.size, version=content.version)
            await write_file(path, id, parts, check, content.size)
            return
        text = await self.fetch(entry)

        async def body() -> AsyncIterator[bytes]:
            yield await asyncio.to_thread(valuetext.body_of, text)

        await write_file(path, id, body())

    async def fetch_all(self, entries: Sequence[Entry]) -> list[str]:
        """The texts of several entries, in their order. As `fetch`."""
        texts = list(map(self.peek, entries))
        alone: list[int] = []
        packs: dict[str, list[tuple[int, ContentObject]]] = {}
        for number, (entry, text) in enumerate(zip(entries, texts, strict=True)):
            content = entry.content
            if text is None and isinstance(content, ContentObject) and content.offset is not None:
                packs.setdefault(content.name, []).append((number, content))
            elif text is None:
                alone.append(number)

        async def unpack(some: list[tuple[int, ContentObject]]) -> None:
            unpacked = await self._unpack([content for _, content in some])
            for (number, _), text in zip(some, unpacked, strict=True):
                texts[number] = text

        async def fetch(number: int) -> None:
            texts[number] = await self.fetch(entries[number])

        await all_of([*map(unpack, packs.values()), *map(fetch, alone)])
        return [text or "" for text in texts]

    async def _unpack(self, contents: Sequence[ContentObject]) -> list[str]:
        """The texts of some values of one pack."""
        try:
            texts = await self._read_texts(contents)
        except Corrupt:  # the answer may have been damaged on its way
            self._packs.doubt(contents[0].name)
            texts = await self._read_texts(contents)
        for content, text in zip(contents, texts, strict=True):
            self._cache.put(content.identity, text)
        return texts

    async def _read_texts(self, contents: Sequence[ContentObject]) -> list[str]:
        bodies = await self._packs.read(contents)
        if sum(map(len, bodies)) < _IN_THREAD_BYTES:
            return self._texts(contents, bodies)
        return await asyncio.to_thread(self._texts, contents, bodies)

    def _texts(self, contents: Sequence[ContentObject], bodies: Sequence[bytes]) -> list[str]:
        for content, body in zip(contents, bodies, strict=True):
            if len(body) < content.size:
                offset = content.offset or 0
                raise Corrupt(
                    f"too short: it does not have the bytes {offset:,} to {offset + content.size:,}",
                    operation="get",
                    object=f"pack {self.placing.object_name(content)!r}",
                    remedy="restore the object, or put the key again",
                )
        return [self.placing.text(content, body) for content, body in zip(contents, bodies, strict=True)]

    async def save(self, content: ContentObject, text: str) -> None:
        """Keep a value on disk, if there is a local directory; if that fails, it is downloaded again later."""
        if self._known is not None:
            with suppress(Error):
                await self._known.save_value(content.identity, text)

    async def save_all(self, values: Sequence[tuple[ContentObject, str]]) -> None:
        """Keep the values of a write on disk, its packs as such. As `save`."""
        texts = {content.place: text for content, text in values if file_of(text) is None}
        for contents in _by_object([content for content, _ in values if content.place in texts]).values():
            if contents[0].offset is None:
                await self.save(contents[0], texts[contents[0].place])
            elif self._known is not None:
                with suppress(Error):
                    bodies = [self.placing.body(texts[content.place]) for content in contents]
                    await self._known.save_pack(contents[0].name, b"".join(bodies))

    async def _read_pack(self, name: str, start: int, stop: int | None) -> bytes:
        object_name = self.placing.object_name(ContentObject(name, "", 0))
        async with self._slots:
            if stop is None:
                answer = await self._storage.get(object_name, limit=_MOST_PACK_BYTES)
            else:
                answer = await read_range(self._storage, object_name, start, stop)
        if not isinstance(answer, Found):
            raise _missing(object_name)
        return answer.body

    async def _download(self, content: ContentObject) -> str:
        name = self.placing.object_name(content)
        if content.sha256 and content.size > LARGE_BYTES:
            whole = bytearray()
            async for part in download(self._storage, name, content.size, version=content.version):
                whole += part
            return await asyncio.to_thread(self.placing.text, content, cast("bytes", whole))

        async def text(body: bytes) -> str:
            if len(body) < _IN_THREAD_BYTES:
                return self.placing.text(content, body)
            return await asyncio.to_thread(self.placing.text, content, body)

        if content.sha256:
            found = await self._storage.get_verified(name, text, version=content.version, limit=content.size)
            if found is not None:
                return found
        else:
            answer = await self._storage.get(name, version=content.version, limit=_MAX_UNKNOWN_BYTES)
            if isinstance(answer, Found):
                return await text(answer.body)
        raise _missing(name)


def _known(content: ContentObject, sent: Sent) -> ContentObject:
    return content if content.sha256 else replace(content, sha256=sent.sha256, size=sent.size)


def _missing(name: str) -> Corrupt:
    return Corrupt(
        "missing, although the log names it",
        operation="get",
        object=f"value {name!r}",
        remedy="restore the object, or put the key again",
    )


def _by_object(contents: Iterable[ContentObject]) -> dict[str, list[ContentObject]]:
    """The contents of each object, by its name, in the order of their bytes."""
    objects: dict[str, list[ContentObject]] = {}
    for content in contents:
        objects.setdefault(content.name, []).append(content)
    return {name: sorted(some, key=lambda one: one.offset or 0) for name, some in objects.items()}
