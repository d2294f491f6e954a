"""The conditions of a write, and whether they hold. Pure.

A write with conditions is committed only at a position of the log where they hold. That position has to be known before
the write is sent, as in the sequenced log, where a commit aims at the number after the last entry read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rxmps3.model.derivations import Derivation, decode_derivation, encode_derivation
from rxmps3.model.sortedkeys import window

__all__ = ["Conditions", "Range", "Seen", "broken", "decode_conditions", "encode_conditions"]


class _Entry(Protocol):
    @property
    def version(self) -> str: ...

    @property
    def identity(self) -> str: ...


class Seen(NamedTuple):
    """The entry of a key that was seen.

    Attributes:
        version: its version.
        value: identifies its value, since an own pending write may be recomputed under the same version; "" matches
            any.
    """

    version: str
    value: str = ""

    @classmethod
    def of(cls, entry: _Entry) -> Seen:
        """The `Seen` of an existing entry."""
        return cls(entry.version, entry.identity)


def seen(entry: _Entry | None) -> Seen | None:
    """The `Seen` of an entry; None if there is none."""
    return None if entry is None else Seen.of(entry)


@dataclass(frozen=True)
class Range:
    """The keys that were seen under a prefix.

    Attributes:
        prefix: a plain string prefix.
        first, last: how many keys from the start or the end were read; None for no bound.
        keys: what was seen of each key there.
    """

    prefix: str
    first: int | None
    last: int | None
    keys: Mapping[str, Seen]


@dataclass(frozen=True)
class Conditions:
    """The conditions of a write.

    Attributes:
        keys: the required entry of each key; None requires that it does not exist.
        ranges: the required content of prefixes.
        derived: how its values are computed from the earlier values, which are in ``keys``. Such a write is recomputed
            from the current values instead of being refused.
    """

    keys: Mapping[str, Seen | None]
    ranges: tuple[Range, ...] = ()
    derived: Mapping[str, Derivation] = field(default_factory=dict[str, Derivation])


def broken(conditions: Conditions, confirmed: Mapping[str, _Entry], ahead: Mapping[str, _Entry | None]) -> str:
    """Describe a condition that does not hold; "" if all hold.

    Args:
        conditions: the conditions.
        confirmed: the state of the log.
        ahead: the entries from the client's own earlier pending writes; None deletes.
    """
    for key, wanted in conditions.keys.items():
        there = ahead[key] if key in ahead else confirmed.get(key)
        if not _is_at(there, wanted):
            found = None if there is None else there.version
            if wanted is not None and found == wanted.version:
                return f"key {key!r:.80} was made anew, with another value"
            return f"key {key!r:.80} is {_at(found)}, not {_at(None if wanted is None else wanted.version)}"
    for one in conditions.ranges:
        present = dict(_under(one, confirmed, ahead))
        for key in sorted({*present, *one.keys}):
            if key not in one.keys or not _is_at(present.get(key), one.keys[key]):
                return f"key {key!r:.80} under {one.prefix!r:.80} has changed"
    return ""


def _is_at(entry: _Entry | None, wanted: Seen | None) -> bool:
    if entry is None or wanted is None:
        return entry is wanted
    return entry.version == wanted.version and wanted.value in ("", entry.identity)


def _at(version: str | None) -> str:
    return "missing" if version is None else f"at version {version}"


def _under(
    one: Range, confirmed: Mapping[str, _Entry], ahead: Mapping[str, _Entry | None]
) -> Iterator[tuple[str, _Entry]]:
    keys = {key for key in confirmed if key.startswith(one.prefix) and key not in ahead}
    keys |= {key for key, entry in ahead.items() if key.startswith(one.prefix) and entry is not None}
    for key in window(sorted(keys), one.first, one.last):
        entry = ahead.get(key) or confirmed[key]
        yield key, entry


def encode_conditions(conditions: Conditions) -> dict[str, Any]:
    """Encode as a JSON value."""
    return {
        "keys": dict(conditions.keys),
        "ranges": [
            {"prefix": one.prefix, "first": one.first, "last": one.last, "keys": dict(one.keys)}
            for one in conditions.ranges
        ],
        "derived": {key: encode_derivation(one) for key, one in conditions.derived.items()},
    }


def decode_conditions(members: Mapping[str, Any]) -> Conditions:
    """Decode from a JSON value. Raises KeyError, TypeError."""
    return Conditions(
        {str(key): None if one is None else Seen(*one) for key, one in members["keys"].items()},
        tuple(
            Range(one["prefix"], one["first"], one["last"], {key: Seen(*at) for key, at in one["keys"].items()})
            for one in members["ranges"]
        ),
        {str(key): decode_derivation(one) for key, one in members["derived"].items()},
    )
