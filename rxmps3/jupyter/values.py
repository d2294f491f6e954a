"""Values as fields and as visible text. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

__all__ = ["fields_of", "fraction", "frame_rows", "is_number", "plain", "rounded", "rows_of", "visible"]

_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """A text with control characters, including terminal and bidirectional ones, as visible escapes."""
    return _HIDDEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def plain(value: Any) -> Any:
    """A scalar of numpy, torch and the like as Python's own; anything else as it is."""
    if type(value).__module__ == "builtins" or getattr(value, "shape", None) != ():
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def rounded(value: Any) -> Any:
    """A float as it is looked at beside others: six digits, from 1,000 on two decimals; anything else as it is."""
    if not isinstance(value, float):
        return value
    return round(value, 2) if 1e3 <= abs(value) < 1e15 else float(f"{value:.6g}")


def is_number(value: Any) -> bool:
    """Whether it belongs into a column of numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def fraction(text: str) -> int:
    """How many characters a number has from its point on."""
    return 0 if "." not in text else len(text) - text.index(".")


def frame_rows(value: Any) -> dict[str, Any] | None:
    """The rows of a data frame of pandas or polars, or the items of a series of pandas; None for anything else.

    None also for a frame with two columns of one name, which would hide each other.
    """
    if callable(getattr(value, "to_dicts", None)):
        return {str(number): row for number, row in enumerate(value.to_dicts())}
    if not hasattr(value, "iloc") or not callable(getattr(value, "to_dict", None)):
        return None
    named = value if value.index.is_unique else value.reset_index(drop=True)
    if not hasattr(named, "columns"):
        rows = named.to_dict()
    elif named.columns.is_unique:
        rows = named.to_dict("index")
    else:
        return None
    return {str(name): row for name, row in rows.items()}


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a mapping, dataclass, pydantic model or named tuple; None for anything else."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in cast("Mapping[Any, Any]", value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    names: Any = getattr(type(cast(object, value)), "model_fields", None) or getattr(value, "_fields", None)
    if isinstance(names, (Mapping, tuple)) and all(isinstance(name, str) for name in cast("tuple[Any, ...]", names)):
        return {name: plain(getattr(value, name)) for name in cast("tuple[str, ...]", names)}
    return None


def rows_of(value: Any, most: int) -> dict[str, dict[str, Any]] | None:
    """The first rows of a mapping or list whose first values all have fields; None for anything else."""
    parts: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        first = islice(cast("Mapping[Any, Any]", value).items(), most)
        parts = [(str(key), part) for key, part in first]
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) and not _named(value):
        parts = [(str(number), part) for number, part in enumerate(cast("Sequence[Any]", value)[:most])]
    else:
        return None
    rows = {key: fields_of(part) for key, part in parts}
    if not rows or any(row is None for row in rows.values()):
        return None
    return cast("dict[str, dict[str, Any]]", rows)


def _named(value: Any) -> bool:
    return hasattr(cast("type[Any]", type(value)), "_fields")
