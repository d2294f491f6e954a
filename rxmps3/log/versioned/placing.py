"""Where the versioned log stores values: in one object per key, named by the key, with one version per write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rxmps3.errors import Rejected
from rxmps3.log.contents import verified
from rxmps3.log.protocol import Held, Planned
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.probe import not_enabled
from rxmps3.log.versioned.reading import is_version_id
from rxmps3.model.names import escape
from rxmps3.model.state import ContentObject, Entry, Inline, Write, WriteId
from rxmps3.model.valuetext import body_of, file_of, media_of, size_of
from rxmps3.model.writing import contents_of, encode_values, with_contents
from rxmps3.storage.base import Stored

__all__ = ["VersionedPlacing"]


class VersionedPlacing:
    """See `rxmps3.log.protocol.Placing`. Every value, however small, is an object, so that any S3 tool can read it."""

    in_order = True
    repeatable = False

    def __init__(self, names: VersionedNames, url: str) -> None:
        self._names = names
        self._url = url

    @property
    def key_limit(self) -> int:
        return self._names.key_limit

    def check_key(self, key: object) -> str:
        return self._names.check_key(key)

    def normal(self, text: str) -> str:
        return text

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        update: dict[str, Entry | None] = {}
        contents: list[Held] = []
        for key, text in encode_values(values, self.check_key).items():
            if text is None:
                update[key] = None
                continue
            sha256 = "" if file_of(text) is not None else Inline(text).sha256
            content = ContentObject(escape(key), sha256, size_of(text), media=media_of(text))
            update[key] = Entry(id.version, content)
            contents.append(Held(content, text))
        return Planned(update, contents)

    def again(self, write: Write, chance: str, *, noted: bool = True) -> Write:
        return with_contents(write, tuple(replace(content, version=None) for content in contents_of(write)))

    def object_name(self, content: ContentObject) -> str:
        return content.name

    def body(self, text: str) -> bytes:
        return body_of(text)

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        if not is_version_id(stored.version):
            raise Rejected(f"refused and rolled back: {not_enabled(self._url)}", operation="upload")
        return replace(content, version=stored.version)

    def text(self, content: ContentObject, body: bytes) -> str:
        return verified(content, body, content.name)
