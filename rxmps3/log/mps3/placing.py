"""Where the mps3 format stores values: one object per version of a value, or versions of one object per key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rxmps3.errors import Corrupt, InvalidKey, InvalidValue, Rejected
from rxmps3.log.mps3.javascript import stringify
from rxmps3.log.mps3.names import new_uuid
from rxmps3.log.protocol import Held, Planned
from rxmps3.model import jsontext, valuetext
from rxmps3.model.missing import MISSING
from rxmps3.model.names import PRESENCE_PREFIX
from rxmps3.model.state import ContentObject, Entry, Inline, Write, WriteId
from rxmps3.model.writing import MAX_WRITE_KEYS, contents_of, with_contents
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Stored

__all__ = ["Mps3Placing"]

_SUFFIX_BYTES = 37
"""``@`` and a UUID."""


class Mps3Placing:
    """See `rxmps3.log.protocol.Placing`. Keys are used as object names unescaped, so the storage must accept them.

    Args:
        manifest: the manifest's name, which no key may equal.
        name_limit: the longest name in bytes that the storage accepts.
        versioning: values are versions of one object per key.
    """

    def __init__(self, manifest: str, name_limit: int, clock: Clock, *, versioning: bool) -> None:
        self._manifest = manifest
        self._clock = clock
        self._versioning = versioning
        self.in_order = versioning
        self.repeatable = not versioning
        self.key_limit = name_limit - (0 if versioning else _SUFFIX_BYTES)

    def check_key(self, key: object) -> str:
        what = f"key {key!r:.80}"
        if not isinstance(key, str):
            raise InvalidKey(f"a key is a str, not {type(key).__name__}", object=what)
        if not key:
            raise InvalidKey("a key has at least one character", object=what)
        try:
            size = len(key.encode())
        except UnicodeEncodeError as error:
            raise InvalidKey(f"not valid Unicode: a lone surrogate at position {error.start}", object=what) from None
        if size > self.key_limit:
            raise InvalidKey(
                f"{size} bytes long, the storage allows {self.key_limit} here",
                object=what,
                remedy="shorten it or keep the long part in the value",
            )
        if key == self._manifest or key.startswith(f"{self._manifest}@"):
            raise InvalidKey("reserved for the objects of the manifest itself", object=what, remedy="choose another")
        if self._versioning and key.startswith(PRESENCE_PREFIX):
            raise InvalidKey("reserved for presence objects", object=what, remedy="choose another")
        return key

    def normal(self, text: str) -> str:
        """1.0 becomes 1: JavaScript does not distinguish them."""
        return jsontext.encode(jsontext.decode(stringify(valuetext.decode(text))))

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        if not values:
            raise InvalidValue("a write names at least one key", operation="put_all")
        if len(values) > MAX_WRITE_KEYS:
            raise InvalidValue(
                f"one atomic write names at most {MAX_WRITE_KEYS:,} keys, not {len(values):,}",
                operation="put_all",
                remedy="split it",
            )
        update: dict[str, Entry | None] = {}
        contents: list[Held] = []
        for key, value in values.items():
            self.check_key(key)
            if value is MISSING:
                update[key] = None
                continue
            body = stringify(value, f"value of key {key!r:.80}")
            text, stored = jsontext.encode(jsontext.decode(body)), body.encode()
            content = ContentObject(self._new_name(key), Inline(text).sha256, len(stored))
            update[key] = Entry(id.version, content)
            contents.append(Held(content, text, stored))
        return Planned(update, contents)

    def _new_name(self, key: str) -> str:
        return key if self._versioning else f"{key}@{new_uuid(self._clock)}"

    def again(self, write: Write, chance: str, *, noted: bool = True) -> Write:
        if self._versioning:
            return with_contents(write, [replace(content, version=None) for content in contents_of(write)])
        if noted:
            return write  # the name tells whether the write is in the log
        keys = [key for key, entry in write.update.items() if entry is not None]
        renamed = zip(keys, contents_of(write), strict=True)
        return with_contents(write, [replace(content, name=self._new_name(key)) for key, content in renamed])

    def object_name(self, content: ContentObject) -> str:
        return content.name

    def body(self, text: str) -> bytes:
        return stringify(jsontext.decode(text)).encode()

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        if not self._versioning:
            return content
        if stored.version is None or stored.version == "null":
            raise Rejected(
                "the bucket keeps no versions",
                operation="upload",
                object=f"value {content.name!r}",
                remedy="enable versioning on the bucket, or open the manifest with versioning=False",
            )
        return replace(content, version=stored.version)

    def text(self, content: ContentObject, body: bytes) -> str:
        what = f"value {content.name!r}"
        text = jsontext.encode(jsontext.decode_bytes(body, what), what)
        if content.sha256 and Inline(text).sha256 != content.sha256:
            raise Corrupt("not the value that was stored", operation="get", object=what, remedy="put the key again")
        return text
