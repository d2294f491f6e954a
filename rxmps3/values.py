"""Values that have an object of their own: upload, download, verification, and a bounded cache of their texts."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime
from typing import Protocol
from weakref import WeakValueDictionary

from rxmps3.errors import Corrupt, Error
from rxmps3.layout import Layout
from rxmps3.state import ContentObject, Entry, Inline
from rxmps3.storage.base import Found, Get, Put

__all__ = ["DEFAULT_CACHE_BYTES", "DEFAULT_INLINE_LIMIT", "TextCache", "Values"]

DEFAULT_INLINE_LIMIT = 4096
"""Values whose canonical text is longer than this many bytes get an object of their own."""
DEFAULT_CACHE_BYTES = 64 << 20
_HASH_IN_THREAD_BYTES = 1 << 20
_TRANSFERS_AT_ONCE = 16


class TextCache:
    """Least recently used texts by SHA-256, bounded by their total length; the newest one is always kept."""

    def __init__(self, limit: int = DEFAULT_CACHE_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def get(self, sha256: str) -> str | None:
        text = self._texts.get(sha256)
        if text is not None:
            self._texts.move_to_end(sha256)
        return text

    def put(self, sha256: str, text: str) -> None:
        if sha256 in self._texts:
            self._texts.move_to_end(sha256)
            return
        self._texts[sha256] = text
        self._size += len(text)
        while self._size > self._limit and len(self._texts) > 1:
            _, oldest = self._texts.popitem(last=False)
            self._size -= len(oldest)


class _GetPut(Get, Put, Protocol):
    """The verbs used here."""


class _KnownValues(Protocol):
    """Where known values are kept on disk."""

    async def load_value(self, sha256: str) -> str | None: ...

    async def save_value(self, sha256: str, text: str) -> None: ...


class Values:
    """The values of one manifest's entries, as canonical JSON text.

    Args:
        storage: where the content objects are.
        layout: the manifest's names.
        cache_bytes: how much text to keep of downloaded and own values.
    """

    def __init__(self, storage: _GetPut, layout: Layout, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._storage = storage
        self._layout = layout
        self._cache = TextCache(cache_bytes)
        self._own: dict[str, tuple[str, int]] = {}
        self._arriving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: _KnownValues | None = None
        self._slots = asyncio.Semaphore(_TRANSFERS_AT_ONCE)

    def keep_in(self, known: _KnownValues) -> None:
        """Keep known values on disk, too, and look for them there first."""
        self._known = known

    def peek(self, entry: Entry) -> str | None:
        """The entry's text if it is at hand without I/O. May be called from any thread."""
        content = entry.content
        if isinstance(content, Inline):
            return content.text
        own = self._own.get(content.sha256)
        return own[0] if own is not None else self._cache.get(content.sha256)

    def hold(self, content: ContentObject, text: str) -> None:
        """Keep the text of an own value, outside the bounded cache, until it is released."""
        _, holders = self._own.get(content.sha256, ("", 0))
        self._own[content.sha256] = (text, holders + 1)

    def hold_again(self, content: ContentObject) -> None:
        """Keep the text of a held value for one more holder."""
        text, holders = self._own[content.sha256]
        self._own[content.sha256] = (text, holders + 1)

    def release(self, content: ContentObject) -> str:
        """The own value is committed or given up: from now on the cache decides how long its text stays."""
        text, holders = self._own.pop(content.sha256)
        if holders > 1:
            self._own[content.sha256] = (text, holders - 1)
        else:
            self._cache.put(content.sha256, text)
        return text

    async def upload(self, content: ContentObject) -> datetime | None:
        """Write a held value's object; its SHA-256 goes along for the server to check. Raises as `Storage.put`.

        Returns:
            When the server says that was; None if the value was given up before.
        """
        async with self._slots:
            text, _ = self._own.get(content.sha256, ("", 0))
            if not text:
                return None  # given up while it waited for its turn
            stored = await self._storage.put(
                self._layout.content(content.name), text.encode(), sha256=bytes.fromhex(content.sha256)
            )
        return stored.date

    async def fetch(self, entry: Entry) -> str:
        """The entry's text, downloaded and verified if it is not at hand; concurrent calls share one download.

        Raises:
            Corrupt: the object is missing, or not what the log says of it.
            Unavailable, AccessDenied: the storage does not answer or refuses.
        """
        text = self.peek(entry)
        content = entry.content
        if text is not None or isinstance(content, Inline):
            return text or ""
        lock = self._arriving.setdefault(content.sha256, asyncio.Lock())
        async with lock:
            text = self.peek(entry)
            if text is None and self._known is not None:
                text = await self._known.load_value(content.sha256)
            if text is None:
                async with self._slots:
                    text = await self._download(content)
                await self.save(content, text)
            self._cache.put(content.sha256, text)
            return text

    async def save(self, content: ContentObject, text: str) -> None:
        """Keep a value on disk, if there is one to keep it on; a disk that refuses costs a download later."""
        if self._known is not None:
            with suppress(Error):
                await self._known.save_value(content.sha256, text)

    async def _download(self, content: ContentObject) -> str:
        name = self._layout.content(content.name)
        answer = await self._storage.get(name, limit=content.size)
        what = f"value {name!r}"
        remedy = "restore the object, or put the key again"
        if not isinstance(answer, Found):
            raise Corrupt("missing, though the log names it", operation="get", object=what, remedy=remedy)
        body = answer.body
        if len(body) < _HASH_IN_THREAD_BYTES:
            digest = hashlib.sha256(body)
        else:
            digest = await asyncio.to_thread(hashlib.sha256, body)
        if digest.hexdigest() != content.sha256:
            raise Corrupt(
                f"its SHA-256 is {digest.hexdigest()}, the log says {content.sha256}",
                operation="get",
                object=what,
                remedy=remedy,
            )
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise Corrupt("not UTF-8", operation="get", object=what, remedy=remedy) from None
