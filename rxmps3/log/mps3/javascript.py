"""JSON text as JavaScript's ``JSON.stringify(value, null, 2)`` writes it. Pure.

Source: ECMA-262, sections 6.1.6.1.20 (Number::toString), 10.1.11 (order of keys) and 25.5.2 (JSON.stringify).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from rxmps3.errors import InvalidValue
from rxmps3.model import jsontext
from rxmps3.model.valuetext import FileRef

__all__ = ["number", "stringify"]

_INDENT = "  "
_LARGEST_INDEX = 2**32 - 2


def stringify(value: Any, what: str = "value") -> str:
    """The text of a JSON value.

    Raises:
        InvalidValue: JSON cannot express it, or it holds an integer that a JavaScript number cannot.
    """
    if isinstance(value, (bytes, bytearray, memoryview, FileRef)):
        raise InvalidValue(
            "protocol 'mps3' holds JSON only, not bytes", object=what, remedy="use a manifest in another protocol"
        )
    jsontext.encode(value, what)
    return _text(value, "\n", what)


def _text(value: Any, line: str, what: str) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return _integer(int(value), what)
    if isinstance(value, float):
        return number(float(value))
    inner = line + _INDENT
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_text(members[key], inner, what)}" for key in _keys(members)]
        return _enclosed("{", parts, "}", line)
    return _enclosed("[", [_text(one, inner, what) for one in cast("Iterable[Any]", value)], "]", line)


def _enclosed(start: str, parts: list[str], end: str, line: str) -> str:
    inner = line + _INDENT
    return f"{start}{inner}{f',{inner}'.join(parts)}{line}{end}" if parts else start + end


def _keys(members: Mapping[str, Any]) -> list[str]:
    """The keys in JavaScript's order: array indices ascending, then the others in insertion order."""
    indices = [key for key in members if _is_index(key)]
    return [*sorted(indices, key=int), *(key for key in members if not _is_index(key))] if indices else list(members)


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= 10 and str(int(key)) == key and int(key) <= _LARGEST_INDEX


def _integer(value: int, what: str) -> str:
    digits = str(value) if value.bit_length() <= 53 else ""
    if not digits and value.bit_length() < 1024:
        digits = number(float(value))
        digits = digits if digits.lstrip("-").isdigit() and int(digits) == value else ""
    if not digits:
        raise InvalidValue(
            "an integer that a JavaScript number cannot hold exactly",
            object=what,
            remedy="store it as text, or in a manifest of protocol 'sequenced'",
        )
    return digits


def number(value: float) -> str:
    """A finite number as JavaScript prints it: the shortest digits that read back as the same double."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{digits.rjust(len(digits) - point, '0')}"
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}{power}"
