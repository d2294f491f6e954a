"""What the state knows of its keys: `Entry`, and `Entries`, the sorted immutable map of them. Pure.

A million entries as objects would cost several hundred bytes each, and every full garbage collection would walk them
all. So `Entries` keeps an entry whose value is inline as one `str`, its *cell*: the version id, a line feed, and the
value's canonical JSON text, which has no line feed in it. The `Entry` is made when it is asked for. A cell that is no
`str` is the `Entry` itself: its value is bytes, whose text has a line feed, or in an object.
"""

from __future__ import annotations

import hashlib
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from rxmps3.model import valuetext
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.sortedmap import SortedMap

__all__ = ["Cell", "ContentObject", "Entries", "Entry", "Inline", "after", "cell_of", "entry_of", "inline_entry"]

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Inline:
    """A value small enough to live in the log entry itself, as `rxmps3.model.valuetext` writes it."""

    text: str

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of what the value is stored as, as a content object of the same value would carry."""
        return hashlib.sha256(valuetext.body_of(self.text)).hexdigest()

    @property
    def identity(self) -> str:
        """As that of a content object of the same value."""
        media = valuetext.media_of(self.text)
        return self.sha256 if media is None else f"{self.sha256}:{media}"


@dataclass(frozen=True)
class ContentObject:
    """A value in an object of its own, or in a pack: an object that holds several values of one write.

    Attributes:
        name: the object's name, as the log's protocol writes it.
        sha256: hex SHA-256 of its bytes, which are its canonical JSON text in UTF-8 unless it has a ``media``; ""
            where the log does not tell.
        size: bytes of the value; 0 where the log does not tell.
        version: which version of the object it is, where objects are versioned; None before it was uploaded.
        offset: where its bytes begin in a pack; None if the object holds nothing else.
        media: the content type if the value is bytes; None if it is JSON.
    """

    name: str
    sha256: str
    size: int
    version: str | None = None
    offset: int | None = None
    media: str | None = None

    @property
    def place(self) -> str:
        """Which of the values of a write it is: two of them may be in one object."""
        return self.name if self.offset is None else f"{self.name}#{self.offset}"

    @property
    def identity(self) -> str:
        """Equal for equal values as far as that can be told without reading them."""
        known = self.sha256 if self.media is None else f"{self.sha256}:{self.media}"
        return known if self.sha256 else f"{self.name}?{self.version or ''}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the state knows of a key: the version that wrote it, and its value or where that is."""

    version: str
    content: Inline | ContentObject

    @property
    def identity(self) -> str:
        """Equal for equal values, as far as that can be told without reading them."""
        return self.content.identity

    def same_value(self, other: Entry | None) -> bool:
        """Whether both hold the same value, which is to say the same text."""
        if other is None:
            return False
        mine, theirs = self.content, other.content
        if isinstance(mine, Inline) and isinstance(theirs, Inline):
            return mine.text == theirs.text
        return mine.identity == theirs.identity


Cell = str | Entry
"""An entry as `Entries` keeps it."""


def cell_of(entry: Entry) -> Cell:
    """The cell of an entry."""
    content = entry.content
    if isinstance(content, Inline) and "\n" not in content.text:
        return f"{entry.version}\n{content.text}"
    return entry


_set_text = Inline.text.__set__  # pyright: ignore
_set_version = Entry.version.__set__  # pyright: ignore
_set_content = Entry.content.__set__  # pyright: ignore
_new = object.__new__


def entry_of(cell: Cell) -> Entry:
    """The entry of a cell."""
    if not isinstance(cell, str):
        return cell
    version, _, text = cell.rpartition("\n")
    return inline_entry(version, text)


def inline_entry(version: str, text: str) -> Entry:
    """``Entry(version, Inline(text))``. It is made a million times: directly, which takes a third of the time."""
    content, entry = _new(Inline), _new(Entry)
    _set_text(content, text)
    _set_version(entry, version)
    _set_content(entry, content)
    return entry


class Entries(Mapping[str, Entry]):
    """Entries by key, sorted by code point. Immutable: what a change gives shares the rest."""

    __slots__ = ("cells",)

    def __init__(self, cells: SortedMap[Cell] | None = None) -> None:
        self.cells: SortedMap[Cell] = SortedMap() if cells is None else cells

    @staticmethod
    def of(entries: Mapping[str, Entry]) -> Entries:
        """The entries of any mapping. O(n log n)."""
        if isinstance(entries, Entries):
            return entries
        keys = sorted(entries)
        return Entries(SortedMap.of(keys, [cell_of(entries[key]) for key in keys]))

    def __getitem__(self, key: str) -> Entry:
        return entry_of(self.cells[key])

    @overload
    def get(self, key: str, /) -> Entry | None: ...

    @overload
    def get(self, key: str, /, default: Entry | D) -> Entry | D: ...

    def get(self, key: str, /, default: Any = None) -> Any:
        cell = self.cells.get(key)
        return default if cell is None else entry_of(cell)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self.cells

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def items(self) -> ItemsView[str, Entry]:
        return _Items(self)

    def values(self) -> ValuesView[Entry]:
        return _Values(self)

    def patched(self, patch: Mapping[str, Entry | None]) -> Entries:
        """With a flat merge patch applied: an entry replaces, None deletes. O(changes · log n)."""
        changes: dict[str, Cell | MissingType] = {}
        for key, entry in patch.items():
            changes[key] = MISSING if entry is None else cell_of(entry)
        return Entries(self.cells.update(changes)) if changes else self

    def under(self, prefix: str) -> Entries:
        """Those whose keys start with ``prefix``. O(log n + their number)."""
        return Entries(self.cells.between(prefix, after(prefix))) if prefix else self

    def differing(self, other: Entries) -> list[str]:
        """The keys whose entries differ, in order. O(n)."""
        return list(_differing(iter(self.cells.items()), iter(other.cells.items())))


def _differing(left: Iterator[tuple[str, Cell]], right: Iterator[tuple[str, Cell]]) -> Iterator[str]:
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        if one[0] == other[0]:
            if one[1] != other[1]:
                yield one[0]
            one, other = next(left, None), next(right, None)
        elif one[0] < other[0]:
            yield one[0]
            one = next(left, None)
        else:
            yield other[0]
            other = next(right, None)
    rest: Iterable[tuple[str, Cell]] = left
    if one is not None:
        yield one[0]
    elif other is not None:
        yield other[0]
        rest = right
    yield from (key for key, _ in rest)


_LAST = "\U0010ffff"


def after(prefix: str) -> str | None:
    """The first string after all that start with ``prefix``; None if there is none."""
    shorter = prefix.rstrip(_LAST)
    return shorter[:-1] + chr(ord(shorter[-1]) + 1) if shorter else None


class _Items(ItemsView[str, Entry]):
    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._entries = entries

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return ((key, entry_of(cell)) for key, cell in self._entries.cells.items())


class _Values(ValuesView[Entry]):
    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._entries = entries

    def __iter__(self) -> Iterator[Entry]:
        return (entry_of(cell) for _, cell in self._entries.cells.items())
