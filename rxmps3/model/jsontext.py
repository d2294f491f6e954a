"""Values as JSON text: the one canonical form in which they are compared, hashed and stored. Pure.

Canonical text is what Python's `json` writes with keys sorted, no blanks and non-ASCII characters as they are.
1, 1.0 and true differ in it, as they do for a reader; two values are the same exactly if their texts are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, cast

from rxmps3.errors import Corrupt, InvalidValue

__all__ = ["MAX_DEPTH", "decode", "decode_bytes", "encode"]

MAX_DEPTH = 256
"""The deepest nesting of arrays and objects in a value; every reader must be able to walk what a writer stored."""


def encode(value: Any, what: str = "value") -> str:
    """The canonical text of a value.

    Args:
        value: None, bool, int, float, str, or lists (tuples) and str-keyed dicts of such.
        what: names the value in errors, such as ``"value of key 'a'"``.

    Raises:
        InvalidValue: JSON cannot express it (NaN, infinities, bytes, other types, non-string keys, a cycle, lone
            surrogates), it nests deeper than `MAX_DEPTH`, or holds an integer too long to print.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        if not text.isascii():
            text.encode()
    except RecursionError:
        raise InvalidValue(f"nested more than {MAX_DEPTH} levels deep", object=what) from None
    except UnicodeEncodeError:
        raise InvalidValue("text that is not valid Unicode (a lone surrogate)", object=what) from None
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"JSON cannot express it: {error}", object=what) from None
    if isinstance(value, (dict, list, tuple)):
        _check_containers(value, what)
    return text


def decode(text: str, what: str = "value") -> Any:
    """The value of a JSON text, a new one at every call.

    Raises:
        Corrupt: it is not JSON; NaN and infinities are not, either.
    """
    try:
        value = _DECODER.decode(text)
        if _DOUBTFUL.search(text):
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"not JSON: {error or 'nested too deep'}", object=what) from None


def decode_bytes(body: bytes, what: str) -> Any:
    """`decode` for UTF-8 bytes."""
    try:
        return decode(body.decode(), what)
    except UnicodeDecodeError as error:
        raise Corrupt(f"not UTF-8: {error.reason} at byte {error.start}", object=what) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DOUBTFUL = re.compile(r"\\u[dD]|[eE]\+?\d{3}|\d{309}")
"""What may be a lone surrogate, or a number that is infinite as a float."""
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _check_containers(value: Any, what: str) -> None:
    """What `json.dumps` lets pass: keys that it would turn into strings, and nesting that readers could not walk."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        parts: Iterable[Any]
        for container in level:
            if isinstance(container, dict):
                members = cast("dict[Any, Any]", container)
                for key in members:
                    if not isinstance(key, str):
                        raise InvalidValue(
                            f"an object's keys are strings, not {type(key).__name__} ({key!r:.80})", object=what
                        )
                parts = members.values()
            else:
                parts = cast("list[Any]", container)
            below.extend(part for part in parts if _is_container(part))
        if not below:
            return
        level = below
    raise InvalidValue(f"nested more than {MAX_DEPTH} levels deep", object=what)


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))
