"""Values in objects of their own: upload, download, verification, and a bounded cache of their texts."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from contextlib import suppress
from threading import Lock
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from cachetools import LRUCache

from rxmps3.errors import Corrupt, Error
from rxmps3.log.protocol import Placing
from rxmps3.model.state import ContentObject, Entry, Inline
from rxmps3.storage.base import Found, Stored
from rxmps3.storage.confirmed import ConfirmedStorage

__all__ = ["DEFAULT_CACHE_BYTES", "DEFAULT_INLINE_LIMIT", "TextCache", "Values"]

DEFAULT_INLINE_LIMIT = 4096
"""Values whose canonical text is longer than this many bytes get an object of their own."""
DEFAULT_CACHE_BYTES = 64 << 20
_IN_THREAD_BYTES = 1 << 20
_MAX_UNKNOWN_BYTES = 1 << 30
"""The largest value that is read where the log does not tell its size."""
_TRANSFERS_AT_ONCE = 16


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


class _KnownValues(Protocol):
    """Where known values are kept on disk."""

    async def load_value(self, identity: str) -> str | None: ...

    async def save_value(self, identity: str, text: str) -> None: ...


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

    def keep_in(self, known: _KnownValues) -> None:
        """Also keep known values on disk, and look for them there first."""
        self._known = known

    def peek(self, entry: Entry) -> str | None:
        """The entry's text if available without I/O. May be called from any thread."""
        content = entry.content
        return content.text if isinstance(content, Inline) else self.peek_content(content)

    def peek_content(self, content: ContentObject) -> str | None:
        """The text of a value's object if available without I/O. May be called from any thread."""
        own = self._own.get(content.identity)
        return own.text if own is not None else self._cache.get(content.identity)

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
            else:
                self._cache.put(content.identity, held.text)
        return held.text

    async def upload(self, content: ContentObject) -> Stored | None:
        """Upload a held value's object, with its SHA-256 for the server to check. Raises as `Storage.put`.

        Returns:
            The server's answer; None if the value had been dropped before.
        """
        async with self._slots:
            held = self._own.get(content.identity)
            if held is None:
                return None  # dropped while waiting for its turn
            body = self.placing.body(held.text) if held.body is None else held.body
            return await self._storage.put(self.placing.object_name(content), body, sha256=await _digest(body))

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
        lock = self._arriving.setdefault(content.identity, asyncio.Lock())
        async with lock:
            text = self.peek(entry)
            if text is None and self._known is not None:
                text = await self._known.load_value(content.identity)
            if text is None:
                async with self._slots:
                    text = await self._download(content)
                await self.save(content, text)
            self._cache.put(content.identity, text)
            return text

    async def save(self, content: ContentObject, text: str) -> None:
        """Keep a value on disk, if there is a local directory; if that fails, it is downloaded again later."""
        if self._known is not None:
            with suppress(Error):
                await self._known.save_value(content.identity, text)

    async def _download(self, content: ContentObject) -> str:
        name = self.placing.object_name(content)

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
        raise Corrupt(
            "missing, although the log names it",
            operation="get",
            object=f"value {name!r}",
            remedy="restore the object, or put the key again",
        )


async def _digest(body: bytes) -> bytes:
    if len(body) < _IN_THREAD_BYTES:
        return hashlib.sha256(body).digest()
    return (await asyncio.to_thread(hashlib.sha256, body)).digest()
