"""Values as JSON text, in the canonical form in which they are compared, hashed and stored. Pure.

Canonical text is the output of Python's `json` with sorted keys, no whitespace, and non-ASCII characters unescaped. 1,
1.0 and true differ in it, as they do for a reader; two values are equal exactly if their texts are.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from json.encoder import c_make_encoder, encode_basestring  # pyright: ignore
from math import isfinite
from typing import Any, cast

from rxmps3.errors import Corrupt, InvalidValue
from rxmps3.model.jsonwindows import Scan, Windows, scan_with

__all__ = [
    "LARGE",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "decode",
    "decode_bytes",
    "decode_container",
    "decode_members",
    "encode",
    "encode_as_read",
    "quote",
]

LARGE = 1 << 18
"""Texts of more characters are decoded in windows, so that other threads run in between. It takes about a millisecond
to decode one window."""

MAX_DEPTH = 256
"""The deepest nesting of arrays and objects in a value; every reader must be able to walk what a writer stored."""

MAX_DIGITS = 4300
"""The longest integer in a value, in decimal digits: Python's default limit. It belongs to the format, so what an
interpreter is set to (`sys.set_int_max_str_digits`) decides neither what may be written nor what can be read."""


def encode(value: Any, what: str = "value") -> str:
    """The canonical text of a value.

    Args:
        value: None, bool, int, float, str, or lists (tuples) and str-keyed dicts of such.
        what: names the value in errors, such as ``"value of key 'a'"``.

    Raises:
        InvalidValue: JSON cannot express it (NaN, infinities, bytes, other types, non-string keys, a cycle, lone
            surrogates), it nests deeper than `MAX_DEPTH`, or holds an integer longer than `MAX_DIGITS`.
    """
    try:
        if sys.get_int_max_str_digits() == MAX_DIGITS:
            text = _dumped(value)
        else:
            text = _dumps_with_raw(_with_raw(value, what))
        if not text.isascii():
            text.encode()
    except RecursionError:
        raise InvalidValue(f"nested more than {MAX_DEPTH} levels deep", object=what) from None
    except UnicodeEncodeError:
        raise InvalidValue("text that is not valid Unicode (a lone surrogate)", object=what) from None
    except InvalidValue:
        raise
    except (TypeError, ValueError) as error:
        if "integer string conversion" in str(error):
            raise _too_long(what) from None
        raise InvalidValue(f"JSON cannot express it: {error}", object=what) from None
    if isinstance(value, _CONTAINERS) and not _is_flat(value):
        _check_containers(value, what)
    return text


def quote(text: str) -> str:
    """`encode` of a text. Raises as that."""
    return encode_basestring(text) if text.isascii() else encode(text)


def decode(text: str, what: str = "value") -> Any:
    """The value of a JSON text, a new object at every call.

    Raises:
        Corrupt: it is not JSON, or has NaN, an infinity or an integer longer than `MAX_DIGITS`.
    """
    usual = sys.get_int_max_str_digits() == MAX_DIGITS
    decoder = _DECODER if usual else _EXACT
    try:
        if len(text) <= LARGE:
            value = _decoded(text, _SCAN if usual else scan_with(_EXACT), decoder)
            doubtful = is_doubtful(text)
        else:
            doubts = _Doubts(_is_doubtful_string if text.startswith('"') else is_doubtful)
            value = Windows(text, scan_with(decoder), doubts.look, LARGE).whole()
            doubtful = doubts.found
        if doubtful:
            _check_finite_and_unicode(value)
        return value
    except (ValueError, RecursionError) as error:
        raise _not_json(error, what) from None


def _decoded(text: str, scan: Scan, decoder: json.JSONDecoder) -> Any:
    """As the decoder does it, in less time for a text that has nothing before or after it, as canonical text."""
    try:
        value, end = scan(text, 0)
    except (StopIteration, ValueError):
        return decoder.decode(text)
    return value if end == len(text) else decoder.decode(text)


def decode_members(
    body: bytes, large: str, take: Callable[[Iterator[tuple[str, Any]], dict[str, Any]], None], what: str
) -> Any:
    """As `decode_container`, of an object whose member ``large`` is an object of many members: those go to ``take``,
    together with the members of the whole that come before it.

    If that raises `Corrupt`, ``take`` may have got some of them.
    """
    decoder = _DECODER if sys.get_int_max_str_digits() == MAX_DIGITS else _EXACT
    try:
        return Windows(body.decode(), scan_with(decoder), _refuse_doubtful, LARGE).members(large, take)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, what) from None


def _not_json(error: Exception, what: str) -> Corrupt:
    if "integer string conversion" in str(error):
        return Corrupt(f"not JSON: an integer of more than {MAX_DIGITS:,} digits", object=what)
    return Corrupt(f"not JSON: {error or 'nested too deep'}", object=what)


def decode_bytes(body: bytes, what: str) -> Any:
    """`decode` for UTF-8 bytes."""
    try:
        return decode(body.decode(), what)
    except UnicodeDecodeError as error:
        raise Corrupt(f"not UTF-8: {error.reason} at byte {error.start}", object=what) from None


def decode_container(body: bytes, what: str) -> Any:
    """As `decode_bytes`, for a document with the values of many keys: one bad number does not affect the others.

    Numbers that `decode` refuses, including NaN and infinities, become objects that only `encode_as_read` accepts. Lone
    surrogates pass.

    Raises:
        Corrupt: it is not JSON even so.
    """
    try:
        return decode_bytes(body, what)
    except Corrupt:
        try:
            return _LENIENT.decode(body.decode())
        except (ValueError, RecursionError):
            pass
        raise


def encode_as_read(value: Any) -> str:
    """The text of a value from `decode_container`; where `encode` refuses the value, `decode` refuses the text."""
    try:
        return encode(value)
    except InvalidValue:
        return _dumps_with_raw(value, ensure_ascii=True)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


class _RawNumber:
    """A number as written in a JSON text."""

    def __init__(self, text: str) -> None:
        self.text = text


def _refuse_type(part: object) -> str:
    raise TypeError(f"Object of type {type(part).__name__} is not JSON serializable")


_DIGITS_AT_ONCE = 512
"""No interpreter can be set to convert fewer than 640."""


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of more than {MAX_DIGITS:,} digits")
    value = 0
    for start in range(0, len(digits), _DIGITS_AT_ONCE):
        part = digits[start : start + _DIGITS_AT_ONCE]
        value = value * 10 ** len(part) + int(part)
    return value if digits is text else -value


def _integer_or_raw(text: str) -> int | _RawNumber:
    return _RawNumber(text) if len(text) > MAX_DIGITS else _integer(text)


def _float_or_raw(text: str) -> float | _RawNumber:
    value = float(text)
    return _RawNumber(text) if value in (float("inf"), float("-inf")) else value


_SURROGATE = re.compile(r"\\u[dD]")
_EXPONENT = re.compile(r"(?:[\[:,\s]|\A)-?\d+(?:\.\d+)?[eE]\+?\d{3}")
_PERHAPS_SMALL_E = re.compile(r'e\+?\d{3,}(?![0-9A-Za-z"])')
_PERHAPS_LARGE_E = re.compile(r'E\+?\d{3,}(?![0-9A-Za-z"])')
"""Both are found in a quarter of the time of `_EXPONENT`. A hash has their like in it, followed by a digit, a letter or
a quote."""
_SPARSE = 100
_TWO_DIGITS = re.compile(r"\d\d")
_DENSER = 16
_THIRTEEN_DIGITS = re.compile(r"\d{13}")
_MANY_DIGITS = re.compile(r"(?<!\d)\d{210}")


def _is_doubtful_string(text: str) -> bool:
    """Whether the text of a JSON string may hold a lone surrogate."""
    return "\\u" in text and bool(_SURROGATE.search(text))


def is_doubtful(text: str) -> bool:
    """Whether a JSON text may hold a lone surrogate, or a number that is infinite as a float: one of 210 digits or with
    an exponent of three. Of 210 digits in a row two at least are among every hundredth character, and 13 among every
    sixteenth."""
    return bool(
        ("\\u" in text and _SURROGATE.search(text))
        or ((_PERHAPS_SMALL_E.search(text) or _PERHAPS_LARGE_E.search(text)) and _EXPONENT.search(text))
        or (
            len(text) >= 210
            and _TWO_DIGITS.search(text[::_SPARSE])
            and _THIRTEEN_DIGITS.search(text[::_DENSER])
            and _MANY_DIGITS.search(text)
        )
    )


class _Doubts:
    """Whether any piece of a text is doubtful."""

    def __init__(self, is_doubtful: Callable[[str], bool]) -> None:
        self.found = False
        self._is_doubtful = is_doubtful

    def look(self, piece: str) -> None:
        self.found = self.found or self._is_doubtful(piece)


def _refuse_doubtful(piece: str) -> None:
    if is_doubtful(piece):
        raise ValueError("a number or text that not every reader accepts")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_SCAN = scan_with(_DECODER)
_EXACT = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer)
_LENIENT = json.JSONDecoder(parse_constant=_RawNumber, parse_int=_integer_or_raw, parse_float=_float_or_raw)


def _check_finite_and_unicode(value: Any) -> None:
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            members = cast("dict[str, Any]", part)
            waiting.extend(members)
            waiting.extend(members.values())
        elif isinstance(part, list):
            waiting.extend(cast("list[Any]", part))
        elif isinstance(part, str):
            part.encode()
        elif isinstance(part, float) and not isfinite(part):
            raise ValueError("a number that is infinite as a float")


_ENCODERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): lambda _: "null",
}
_ENCODE = c_make_encoder and c_make_encoder(  # pyright: ignore
    None, _refuse_type, encode_basestring, None, ":", ",", True, False, False
)
"""What `json.dumps` makes anew at each call. It does not notice cycles: those end in RecursionError."""


def _dumped(value: Any) -> str:
    """`_dumps`, in less time for the small values that most are."""
    encoder = _ENCODERS.get(value.__class__)
    if encoder is not None:
        return encoder(value)
    if _ENCODE is None:
        return _dumps(value)
    try:
        return "".join(cast("Iterable[str]", _ENCODE(value, 0)))
    except (RecursionError, TypeError, ValueError):
        return _dumps(value)  # which says what is wrong


def _dumps(value: Any, default: Callable[[Any], str] | None = None, *, ensure_ascii: bool = False) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
        default=default,
    )


_SIGN = "\0 number {} \0"
"""Stands for a raw number in a text that is being made."""


def _dumps_with_raw(value: Any, *, ensure_ascii: bool = False) -> str:
    numbers: list[str] = []

    def stand_in(part: object) -> str:
        if not isinstance(part, _RawNumber):
            raise TypeError(f"Object of type {type(part).__name__} is not JSON serializable")
        numbers.append(part.text)
        return _SIGN.format(len(numbers) - 1)

    text = _dumps(value, stand_in, ensure_ascii=ensure_ascii)
    for place, number in enumerate(numbers):
        text = text.replace(json.dumps(_SIGN.format(place)), number, 1)
    return text


def _with_raw(value: Any, what: str, depth: int = 0) -> Any:
    """The value with long integers as raw numbers, which print whatever the interpreter's limit is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 2000:
        digits = str(Decimal(value))
        if len(digits.removeprefix("-")) > MAX_DIGITS:
            raise _too_long(what)
        return _RawNumber(digits)
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        return {key: _with_raw(part, what, depth + 1) for key, part in members.items()}
    if isinstance(value, (list, tuple)):
        return [_with_raw(part, what, depth + 1) for part in cast("list[Any]", value)]
    return value


def _too_long(what: str) -> InvalidValue:
    return InvalidValue(
        f"it holds an integer of more than {MAX_DIGITS:,} digits",
        object=what,
        remedy="put it as text, which has no such limit",
    )


_CONTAINERS = (dict, list, tuple)
_TEXT: frozenset[type] = frozenset({str})
_ATOMS: frozenset[type] = frozenset({str, int, float, bool, type(None)})


def _is_flat(value: Any) -> bool:
    """Whether it is an object with text as keys and nothing in containers, as most are."""
    return (
        value.__class__ is dict and _TEXT.issuperset(map(type, value)) and _ATOMS.issuperset(map(type, value.values()))  # pyright: ignore[reportUnknownArgumentType]
    )


def _check_containers(value: Any, what: str) -> None:
    """Check what `json.dumps` accepts: keys that it would convert to strings, and nesting too deep for readers."""
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
            below.extend([part for part in parts if isinstance(part, _CONTAINERS)])
        if not below:
            return
        level = below
    raise InvalidValue(f"nested more than {MAX_DEPTH} levels deep", object=what)
