"""Values as plain text, for consoles and saved notebooks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any, cast

from rxmps3.jupyter.values import fraction, is_number, plain, rounded, visible

__all__ = ["MOST_CHARACTERS", "MOST_IN_A_ROW", "MOST_ROWS", "short", "size_text", "to_text"]

MOST_ROWS = 200
MOST_CHARACTERS = 10_000
MOST_IN_A_ROW = 500
_WIDEST_KEY = 40


def to_text(value: Any) -> str:
    """One line per key for a mapping, a str as it is, anything else by `repr`; without control characters.

    The floats of a mapping are `rounded`, and numbers alone are aligned by their points.
    """
    if isinstance(value, Mapping):
        return visible(_lines(cast("Mapping[Any, Any]", value)) or "{}")
    return visible(short(value))


def short(value: Any, most: int = MOST_CHARACTERS) -> str:
    """A value on one line, truncated if it is long."""
    if isinstance(value, (list, tuple)):
        value = cast("list[Any] | tuple[Any, ...]", value)[:most]  # each item takes at least one character
    value = plain(value)
    if isinstance(value, datetime):
        value = value.isoformat(" ", "seconds")
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[:most] + "…"


def size_text(size: int) -> str:
    """A number of bytes as people say it; 0 is one that the log does not tell."""
    if not size:
        return "a large value"
    number, unit = next(
        ((size / step, unit) for step, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= step * 0.9995),
        (size, "bytes"),
    )
    return f"{number:.1f} {unit}" if number < 9.95 and unit != "bytes" else f"{number:.0f} {unit}"


def _lines(mapping: Mapping[Any, Any]) -> str:
    shown = [(key, plain(value)) for key, value in islice(mapping.items(), MOST_ROWS)]
    rows = [(short(key, MOST_IN_A_ROW), short(rounded(value), MOST_IN_A_ROW)) for key, value in shown]
    if all(is_number(value) for _, value in shown):
        whole = max((len(text) - fraction(text) for _, text in rows), default=0)
        rows = [(key, " " * (whole - len(text) + fraction(text)) + text) for key, text in rows]
    width = min(max((len(key) for key, _ in rows), default=0), _WIDEST_KEY)
    more = len(mapping) - MOST_ROWS
    rest = [f"and {more:,} more"] if more > 0 else []
    return "\n".join([f"{key:{width}}  {value}" for key, value in rows] + rest)
