"""Who overwrote what without having seen it, told from the log: a write says which version it was based on. Pure."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast

from rxmps3.model import valuetext
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Entry, Inline, ManifestVersion, WriteId

__all__ = ["Collision", "Collisions", "Side"]

Outcome = Literal["overwritten", "merged", "same", "unknown"]

_NUMBER = re.compile("[0-9]{1,18}")
_MOST_KEYS = 20_000
_MOST_OF_A_KEY = 16
_MOST_WRITES = 20_000


class Side(NamedTuple):
    """One of two writes of a key.

    Attributes:
        id: the log version that committed it.
        by: the name of its user, unverified.
        writer: the writer id.
        time: when it was committed, by the committer's clock.
        entry: what it made of the key; None for a deletion.
    """

    id: int
    by: str
    writer: str
    time: datetime | None
    entry: Entry | None


class Collision(NamedTuple):
    """A write of a key that others had written since the version that its writer had read.

    Attributes:
        key: the key.
        first: the newest of the writes that were not seen.
        then: the write on top of it.
        based: the log version that the writer of ``then`` had read when it was made.
        unseen: how many writes of the key were not seen.
        outcome: ``overwritten`` if something of ``first`` is lost; ``merged`` if all of it is still there, as after two
            patches; ``same`` if both wrote the same value; ``unknown`` if a value is not in the log but in an object.
    """

    key: str
    first: Side
    then: Side
    based: int
    unseen: int
    outcome: Outcome


class Collisions:
    """Reads a log version by version. Memory is bounded: of keys, the ones that were written last are known."""

    def __init__(self) -> None:
        self._writes: OrderedDict[str, deque[Side]] = OrderedDict()
        self._seen: OrderedDict[WriteId, None] = OrderedDict()

    def read(self, version: ManifestVersion) -> list[Collision]:
        """The collisions of the next version of a log whose versions are numbers."""
        id, found = int(version.id), list[Collision]()
        for write in version.writes:
            if write.id in self._seen:
                continue  # sent twice: it counts once
            _keep(self._seen, write.id, None, _MOST_WRITES)
            by = version.by if write.by is None else write.by
            for key, entry in write.update.items():
                side = Side(id, by, write.id.writer, version.time, entry)
                before = self._writes.get(key) or deque[Side](maxlen=_MOST_OF_A_KEY)
                based = _number(write.based, id - 1)
                unseen = [one for one in before if one.id > based and one.writer != write.id.writer]
                if unseen:
                    outcome = _outcome(_base(before, based), unseen[-1].entry, entry)
                    found.append(Collision(key, unseen[-1], side, based, len(unseen), outcome))
                before.append(side)
                _keep(self._writes, key, before, _MOST_KEYS)
        return found


def _keep(kept: OrderedDict[Any, Any], name: Any, value: Any, most: int) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > most:
        kept.popitem(last=False)


def _number(based: str | None, otherwise: int) -> int:
    """The version that a write says it was based on; anybody may have written that."""
    if based == "":
        return 0
    return min(int(based), otherwise) if based is not None and _NUMBER.fullmatch(based) else otherwise


def _base(writes: deque[Side], based: int) -> Side | None:
    return next((one for one in reversed(writes) if one.id <= based), None)


def _outcome(base: Side | None, theirs: Entry | None, result: Entry | None) -> Outcome:
    """What became of a write that another one was put on top of.

    Args:
        base: the write that both were based on; None if there was none, or it is not known.
        theirs: what the first one made of the key.
        result: what the second one made of it.
    """
    if any(entry is not None and not isinstance(entry.content, Inline) for entry in (theirs, result)):
        return "unknown"
    there, now = _value(theirs), _value(result)
    if _same(there, now):
        return "same"
    was = MISSING if base is None else _value(base.entry)
    return "merged" if all(_same(part, _at(now, path)) for path, part in _changes(was, there)) else "overwritten"


def _value(entry: Entry | None) -> Any:
    if entry is None or not isinstance(entry.content, Inline):
        return MISSING
    return valuetext.decode(entry.content.text)


def _same(one: Any, other: Any) -> bool:
    if one is MISSING or other is MISSING:
        return one is other
    return valuetext.encode(one) == valuetext.encode(other)


def _changes(before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The innermost members in which two values differ, by their path, and what they are after; `MISSING` if gone."""
    if isinstance(after, dict) and (before is MISSING or isinstance(before, dict)):
        old: Mapping[str, Any] = {} if before is MISSING else cast("dict[str, Any]", before)
        new = cast("dict[str, Any]", after)
        for name in sorted({*old, *new}):
            for path, part in _changes(old.get(name, MISSING), new.get(name, MISSING)):
                yield (name, *path), part
    elif not _same(before, after):
        yield (), after


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return MISSING
        value = cast("dict[str, Any]", value).get(name, MISSING)
    return value
