"""From the values of a call to a write: which are inline, and which get an object. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from rxmps3.errors import InvalidValue
from rxmps3.model import valuetext
from rxmps3.model.entries import inline_entry
from rxmps3.model.missing import MISSING
from rxmps3.model.names import escape, pack_name, value_name
from rxmps3.model.state import ContentObject, Entry, Inline, Write

__all__ = ["Texts", "contents_of", "encode_values", "plan", "values_of", "with_contents", "with_new_names"]

MAX_INLINE_PER_WRITE = 256 << 10
"""A write whose inline bytes pass this gets its largest values as objects."""
MAX_WRITE_KEYS = 20_000
"""One atomic write names at most this many keys, so that its log entry stays readable."""
MAX_UNCHECKED_KEYS = 500
MAX_WRITE_BYTES = 8 << 20
"""The most bytes of a log entry that one write may take; readers refuse entries of twice that."""
_ENTRY_BYTES = 300
_ESCAPED = 13
"""No character of a key takes more once escaped."""
MAX_PACK_BYTES = 8 << 20
"""Several values of one write share an object, a pack. It ends with the value that makes it reach this size."""
MAX_PACKED_BYTES = 1 << 20
"""A value that is larger has an object of its own: reading it costs a request anyway, and it is collected by itself."""
SMALLER_THAN_A_REFERENCE = 64
"""About the bytes of a reference into a pack; a value that takes no more is always inline."""

Texts = dict[str, str | None]
"""Canonical text by key; None deletes."""


def encode_values(values: Mapping[str, Any], check: Callable[[object], str]) -> Texts:
    """The texts of a call's values. ``check`` returns a valid key, and raises `InvalidKey` otherwise.

    Raises:
        InvalidKey: no storage could hold the key.
        InvalidValue: a value is neither bytes nor JSON, or there are no keys, or too many for one atomic write.
    """
    if not values:
        raise InvalidValue("a write names at least one key", operation="put_all")
    if len(values) > MAX_WRITE_KEYS:
        raise InvalidValue(
            f"one atomic write names at most {MAX_WRITE_KEYS:,} keys, not {len(values):,}",
            operation="put_all",
            remedy="split it",
        )
    encode = valuetext.encode
    try:
        texts = {check(key): None if value is MISSING else encode(value) for key, value in values.items()}
    except InvalidValue:
        for key, value in values.items():
            if value is not MISSING:
                encode(value, f"value of key {key!r:.80}")
        raise
    if len(texts) > MAX_UNCHECKED_KEYS:
        check_size(texts)
    return texts


def contents_of(write: Write) -> tuple[ContentObject, ...]:
    """The objects that a write names."""
    entries = write.update.values()
    return tuple(entry.content for entry in entries if entry is not None and isinstance(entry.content, ContentObject))


def values_of(write: Write, texts: Mapping[str, str]) -> dict[str, Any]:
    """The text that a write sets each key to; ``texts`` are those of its objects, by `ContentObject.place`."""
    values: dict[str, Any] = {}
    for key, entry in write.update.items():
        if entry is None:
            values[key] = MISSING
        else:
            content = entry.content
            text = content.text if isinstance(content, Inline) else texts[content.place]
            values[key] = valuetext.decode(text, f"value of key {key!r:.80}")
    return values


def with_contents(write: Write, contents: Iterable[ContentObject]) -> Write:
    """The same write with other objects, in the order of `contents_of`."""
    others = iter(contents)
    update = {
        key: replace(entry, content=next(others))
        if entry is not None and isinstance(entry.content, ContentObject)
        else entry
        for key, entry in write.update.items()
    }
    return replace(write, update=update)


def with_new_names(write: Write, again: str) -> Write:
    """The same write with its values in objects of other names."""
    packs = list(dict.fromkeys(content.name for content in contents_of(write) if content.offset is not None))

    def renamed(key: str, version: str, content: ContentObject) -> ContentObject:
        if content.offset is None:
            return replace(content, name=value_name(key, version, again))
        return replace(content, name=pack_name(version, packs.index(content.name), again))

    update = {
        key: replace(entry, content=renamed(key, entry.version, entry.content))
        if entry is not None and isinstance(entry.content, ContentObject)
        else entry
        for key, entry in write.update.items()
    }
    return replace(write, update=update)


def check_size(texts: Texts) -> None:
    """Raise `InvalidValue` if the keys of a write are so long that its log entry might not be readable."""
    characters = sum(map(len, texts))
    least_doubtful = MAX_INLINE_PER_WRITE + _ENTRY_BYTES * len(texts) + (6 + _ESCAPED) * characters
    if least_doubtful <= MAX_WRITE_BYTES:
        return
    most = MAX_INLINE_PER_WRITE + _ENTRY_BYTES * len(texts) + 6 * characters + sum(map(len, map(escape, texts)))
    if most > MAX_WRITE_BYTES:
        raise InvalidValue(
            f"the keys of one atomic write are too long together (about {most:,} bytes in the log)",
            operation="put_all",
            remedy="split it",
        )


def plan(
    version: str, texts: Texts, inline_limit: int
) -> tuple[dict[str, Entry | None], list[tuple[ContentObject, str]]]:
    """The update of a write, and the contents to upload first.

    Args:
        version: the version id of the write's entries.
        texts: the text of each key.
        inline_limit: longer texts, in bytes, are not inline; then the largest of the rest, until the write fits an
            entry.

    Where two or more of those that are not inline have at most `MAX_PACKED_BYTES`, they are packed, in the order of
    their keys; every other one gets an object of its own.
    """
    if _is_all_inline(texts, inline_limit):
        return {key: None if text is None else inline_entry(version, text) for key, text in texts.items()}, []
    sizes = {key: valuetext.size_of(text) for key, text in texts.items() if text is not None}
    files = {key for key, text in texts.items() if text is not None and valuetext.file_of(text) is not None}
    inline = {key: size for key, size in sizes.items() if size <= inline_limit and key not in files}
    total = sum(inline.values())
    for key in sorted(inline, key=inline.__getitem__, reverse=True):
        if total <= MAX_INLINE_PER_WRITE or inline[key] <= SMALLER_THAN_A_REFERENCE:
            break
        total -= inline.pop(key)
    places = _packed(version, {key: size for key, size in sizes.items() if key not in inline and key not in files})
    update: dict[str, Entry | None] = {}
    contents: list[tuple[ContentObject, str]] = []
    for key, text in texts.items():
        if text is None:
            update[key] = None
        elif key in inline:
            update[key] = inline_entry(version, text)
        else:
            name, offset = places.get(key) or (value_name(key, version), None)
            sha256 = "" if key in files else Inline(text).sha256  # a file is read when it is uploaded
            content = ContentObject(name, sha256, sizes[key], None, offset, valuetext.media_of(text))
            update[key] = Entry(version, content)
            contents.append((content, text))
    return update, contents


def _is_all_inline(texts: Texts, inline_limit: int) -> bool:
    """Whether every value is within the limit and all together fit an entry, as those of most writes."""
    total = 0
    for text in texts.values():
        if text is None:
            continue
        if text.isascii() and text >= " ":
            size = len(text)  # JSON begins with no control character
        elif valuetext.file_of(text) is None:
            size = valuetext.size_of(text)
        else:
            return False
        total += size
        if size > inline_limit or total > MAX_INLINE_PER_WRITE:
            return False
    return True


def _packed(version: str, sizes: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """The pack and the offset of each value that is packed, by key."""
    small = sorted(key for key, size in sizes.items() if size <= MAX_PACKED_BYTES)
    if len(small) < 2:
        return {}
    places: dict[str, tuple[str, int]] = {}
    number = offset = 0
    name = pack_name(version, number)
    for key in small:
        if offset >= MAX_PACK_BYTES:
            number, offset = number + 1, 0
            name = pack_name(version, number)
        places[key] = (name, offset)
        offset += sizes[key]
    return places
