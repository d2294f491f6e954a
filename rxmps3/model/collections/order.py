"""A total order of keys, and hashable identities of values. Pure."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, cast

from rxmps3.errors import InvalidValue
from rxmps3.model.missing import MISSING

__all__ = ["Reversed", "fingerprint", "hashable", "rank_of"]


def rank_of(key: Any) -> Any:
    """The sort rank of a key: equal for equal keys; any two ranks can be compared.

    `MISSING`, None, numbers, text, bytes, sequences element by element, then other types by name and by their own
    order.

    Raises:
        InvalidValue: the key is NaN, or of a type that has no order.
    """
    kind = key.__class__
    if kind is str:
        return (2, key)
    if isinstance(key, (int, float)):
        if key != key:
            raise InvalidValue("NaN cannot be ordered", object=f"{key!r}")
        return (1, key)
    if key is MISSING:
        return (0, 0)
    if key is None:
        return (0, 1)
    if isinstance(key, str):
        return (2, key)
    if isinstance(key, bytes):
        return (3, key)
    if isinstance(key, (tuple, list)):
        return (4, tuple([rank_of(part) for part in cast("tuple[Any, ...]", key)]))
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(key, Enum):
        return (5, name, key.name)
    if isinstance(key, frozenset):
        return (5, name, tuple(sorted(map(rank_of, cast("frozenset[Any]", key)))))
    try:
        _ = key < key
    except TypeError:
        raise InvalidValue(
            f"{kind.__name__} cannot be ordered",
            object=f"{key!r:.80}",
            remedy="give a number, text, or a tuple of these",
        ) from None
    return (5, name, key)


class Reversed:
    """A rank in descending order."""

    __slots__ = ("rank",)

    def __init__(self, rank: Any) -> None:
        self.rank = rank

    def __lt__(self, other: Reversed) -> bool:
        return other.rank < self.rank

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reversed) and self.rank == other.rank

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # never in a dict


def hashable(value: Any, what: str) -> Any:
    """The value, if it can be a dict key. Raises `InvalidValue`."""
    try:
        hash(value)
    except TypeError:
        raise InvalidValue(
            f"{what} is a number, text, None or a tuple of these, not {type(value).__name__}", object=f"{value!r:.80}"
        ) from None
    return value


def fingerprint(value: Any) -> Any:
    """An identity that is equal for two values exactly if a reader could not tell them apart. Raises `InvalidValue`."""
    kind = value.__class__
    if kind is dict:
        members = cast("dict[Any, Any]", value)
        return (dict, frozenset([(key, fingerprint(part)) for key, part in members.items()]))
    if kind is list or kind is tuple:
        return (kind, tuple([fingerprint(part) for part in value]))
    if kind is float:
        return (float, repr(value))
    if is_dataclass(kind):
        return (kind, fingerprint({one.name: getattr(value, one.name) for one in fields(kind) if one.compare}))
    if hasattr(kind, "model_fields"):  # a model of pydantic's
        return (kind, fingerprint({**vars(value), **(value.model_extra or {})}))
    return (kind, hashable(value, "what is to be distinct"))
