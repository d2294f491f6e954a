"""What a write rests on, and whether that is still so. Pure.

A write with a basis is committed only at a place of the log where its basis holds. That place is known before it is
sent, since a commit aims at the number after the last entry that was read: a log with one order of commits can promise
this, and only such a one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from rxmps3.deriving import Derivation, decode_derivation, encode_derivation

__all__ = ["Basis", "Range", "broken", "decode_basis", "encode_basis", "window"]

T = TypeVar("T")


class _Versioned(Protocol):
    @property
    def version(self) -> str: ...


@dataclass(frozen=True)
class Range:
    """What was seen under a prefix.

    Attributes:
        prefix: a plain string prefix.
        first, last: how many keys from the start or the end were looked at; None for no bound.
        versions: the version of each key that was seen there.
    """

    prefix: str
    first: int | None
    last: int | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Basis:
    """What a write rests on.

    Attributes:
        versions: the version that each of these keys is to have; None where there is to be none.
        ranges: what is to be seen under prefixes.
        derived: how the values of its keys are made of those before, which are at ``versions``. Such a write is made
            again on what is there instead of being refused.
    """

    versions: Mapping[str, str | None]
    ranges: tuple[Range, ...] = ()
    derived: Mapping[str, Derivation] = field(default_factory=dict[str, Derivation])


def broken(basis: Basis, confirmed: Mapping[str, _Versioned], ahead: Mapping[str, _Versioned | None]) -> str:
    """What of a basis does not hold, in words; "" if all of it does.

    Args:
        basis: what is asked for.
        confirmed: what the log says.
        ahead: what the client's own earlier writes make of it, which wait for their commit; None deletes.
    """
    for key, wanted in basis.versions.items():
        entry = ahead[key] if key in ahead else confirmed.get(key)
        found = None if entry is None else entry.version
        if found != wanted:
            return f"key {key!r:.80} is {_at(found)}, not {_at(wanted)}"
    for seen in basis.ranges:
        there = {key: entry.version for key, entry in _under(seen, confirmed, ahead)}
        if there != seen.versions:
            keys = sorted(key for key in {*there, *seen.versions} if there.get(key) != seen.versions.get(key))
            return f"key {keys[0]!r:.80} under {seen.prefix!r:.80} has changed"
    return ""


def window(keys: list[T], first: int | None, last: int | None) -> list[T]:
    """The first or the last so many."""
    return keys[:first] if last is None else keys[max(0, len(keys) - last) :]


def _at(version: str | None) -> str:
    return "missing" if version is None else f"at version {version}"


def _under(
    seen: Range, confirmed: Mapping[str, _Versioned], ahead: Mapping[str, _Versioned | None]
) -> Iterator[tuple[str, _Versioned]]:
    there = {key: entry for key, entry in confirmed.items() if key.startswith(seen.prefix) and key not in ahead}
    there |= {key: entry for key, entry in ahead.items() if key.startswith(seen.prefix) and entry is not None}
    for key in window(sorted(there), seen.first, seen.last):
        yield key, there[key]


def encode_basis(basis: Basis) -> dict[str, Any]:
    """As a JSON value."""
    return {
        "versions": dict(basis.versions),
        "ranges": [
            {"prefix": one.prefix, "first": one.first, "last": one.last, "versions": dict(one.versions)}
            for one in basis.ranges
        ],
        "derived": {key: encode_derivation(one) for key, one in basis.derived.items()},
    }


def decode_basis(members: Mapping[str, Any]) -> Basis:
    """The way back. Raises KeyError, TypeError."""
    return Basis(
        {str(key): None if version is None else str(version) for key, version in members["versions"].items()},
        tuple(Range(one["prefix"], one["first"], one["last"], dict(one["versions"])) for one in members["ranges"]),
        {str(key): decode_derivation(one) for key, one in members["derived"].items()},
    )
