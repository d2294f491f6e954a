"""Where the sequenced log puts values: small ones into its entries, large ones into objects of the manifest's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from rxmps3.errors import Corrupt
from rxmps3.layout import Layout, check_key
from rxmps3.log.kit import Held, Planned
from rxmps3.state import ContentObject, Write, WriteId
from rxmps3.storage.base import Stored
from rxmps3.writing import encode_values, plan, with_new_names

__all__ = ["SequencedPlacing", "verified"]


class SequencedPlacing:
    """See `rxmps3.log.kit.Placing`."""

    in_order = False
    repeatable = True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def key_limit(self) -> int:
        return self._layout.key_limit

    def check_key(self, key: object) -> str:
        return check_key(key, self.key_limit)

    def normal(self, text: str) -> str:
        return text

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        update, contents = plan(id.version, encode_values(values, self.check_key), inline_limit)
        return Planned(update, [Held(content, text) for content, text in contents])

    def again(self, write: Write, chance: str) -> Write:
        return with_new_names(write, chance)

    def object_name(self, content: ContentObject) -> str:
        return self._layout.content(content.name)

    def body(self, text: str) -> bytes:
        return text.encode()

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        return content

    def text(self, content: ContentObject, body: bytes) -> str:
        return verified(content, body, self.object_name(content))


def verified(content: ContentObject, body: bytes, name: str) -> str:
    """The text of a value's object, if it is what the log says of it.

    Raises:
        Corrupt: it is not.
    """
    digest = hashlib.sha256(body).hexdigest()
    what = f"value {name!r}"
    remedy = "restore the object, or put the key again"
    if digest != content.sha256:
        raise Corrupt(
            f"its SHA-256 is {digest}, the log says {content.sha256}", operation="get", object=what, remedy=remedy
        )
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Corrupt("not UTF-8", operation="get", object=what, remedy=remedy) from None
