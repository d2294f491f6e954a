"""Where the sequenced log stores values: small ones in its entries, large ones in objects of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rxmps3.log.contents import verified
from rxmps3.log.protocol import Held, Planned
from rxmps3.model.names import Layout, check_key
from rxmps3.model.state import ContentObject, Write, WriteId
from rxmps3.model.valuetext import body_of
from rxmps3.model.writing import encode_values, plan, with_new_names
from rxmps3.storage.base import Stored

__all__ = ["SequencedPlacing"]


class SequencedPlacing:
    """See `rxmps3.log.protocol.Placing`."""

    in_order = False
    repeatable = True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.key_limit = layout.key_limit

    def check_key(self, key: object) -> str:
        return check_key(key, self.key_limit)

    def normal(self, text: str) -> str:
        return text

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        update, contents = plan(id.version, encode_values(values, self.check_key), inline_limit)
        return Planned(update, [Held(content, text) for content, text in contents])

    def again(self, write: Write, chance: str, *, noted: bool = True) -> Write:
        return with_new_names(write, chance)

    def object_name(self, content: ContentObject) -> str:
        return self._layout.content(content.name)

    def body(self, text: str) -> bytes:
        return body_of(text)

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        return content

    def text(self, content: ContentObject, body: bytes) -> str:
        return verified(content, body, self.object_name(content))
