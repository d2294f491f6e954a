"""Decode large JSON texts piece by piece. Pure.

Python's decoder works through a text in one call, during which no other thread of the process runs: 100 MB stop the
event loop for a second even if another thread decodes them. Here each call of it gets one window of the text. It
decodes the members of an array or object that fit into the window; a member that does not is taken apart in the same
way. So the cost is that of Python's decoder, and about one Python step for each member of a large container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder, decoder
from typing import Any, TypeVar

__all__ = ["Scan", "Windows", "scan_with"]

H = TypeVar("H")

Scan = Callable[[str, int], tuple[Any, int]]
"""Decodes the value at a place of a text: `json.JSONDecoder.scan_once`."""

_scan_string: Callable[[str, int, bool], tuple[str, int]] = decoder.scanstring  # pyright: ignore
_BLANK = re.compile(r"[ \t\n\r]*")
_CUT_OFF = 3
"""A number that ends closer to the end of a window may go on after it: of 1.5e+3 the window may hold 1.5e+."""
_ESCAPE = 6
"""The longest escape in a string: a backslash, u, four digits."""


def scan_with(decoder: JSONDecoder) -> Scan:
    """What a decoder does with the value at one place of a text. Typeshed does not know it."""
    return decoder.scan_once  # pyright: ignore


class Windows:
    """One JSON text.

    Args:
        text: the text.
        scan: decodes what fits into a window.
        seen: called with each piece of text that is decoded at once.
        size: characters of a window, at least 16: the longest run of escapes that belong together has 12.
    """

    def __init__(self, text: str, scan: Scan, seen: Callable[[str], None], size: int) -> None:
        self._text = text
        self._scan = scan
        self._seen = seen
        self._size = size

    def whole(self) -> Any:
        """The value of the text. Raises `JSONDecodeError`, `RecursionError`."""
        value, end = self._value(self._skip(0))
        self._check_end(end)
        return value

    def members(self, large: str, take: Callable[[Iterator[tuple[str, Any]], dict[str, Any]], None]) -> dict[str, Any]:
        """The members of the text's object but one, which is an object and whose members are passed on one by one,
        with those of the whole that come before it.

        Raises as `whole`, also if the text or that member is not an object.
        """
        found: dict[str, Any] = {}
        place = self._open(self._skip(0))
        for name in self._names(place):
            if name == large:
                inner = self._open(place[0])
                take(self._pairs(inner), found)
                place[0] = inner[0]
            else:
                found[name], place[0] = self._value(place[0])
        self._check_end(place[0])
        return found

    def _skip(self, at: int) -> int:
        blank = _BLANK.match(self._text, at)
        return at if blank is None else blank.end()

    def _check_end(self, end: int) -> None:
        if (end := self._skip(end)) != len(self._text):
            raise JSONDecodeError("Extra data", self._text, end)

    def _open(self, at: int) -> list[int]:
        if not self._text.startswith("{", at):
            raise JSONDecodeError("Expecting an object", self._text, at)
        return [at]

    def _value(self, at: int) -> tuple[Any, int]:
        """The value that begins at this place, and where it ends."""
        window = self._text[at : at + self._size]
        try:
            value, end = self._scan(window, 0)
        except (StopIteration, JSONDecodeError) as error:
            first = window[:1]
            if at + self._size >= len(self._text) or first not in ("[", "{", '"'):
                raise self._placed(error, at) from None
        else:
            if end + _CUT_OFF <= len(window) or at + self._size >= len(self._text) or window[0] in '[{"':
                self._seen(window)
                return value, at + end
            value, end = self._scan(self._text, at)  # a number, of which the window may hold only the beginning
            self._seen(self._text[at:end])
            return value, end
        if first == '"':
            return self._string(at)
        if first == "[":
            place = [at]
            return list(self._items(place)), place[0]
        place = [at]
        return dict(self._pairs(place)), place[0]

    def _placed(self, error: Exception, base: int) -> JSONDecodeError:
        if isinstance(error, JSONDecodeError):
            return JSONDecodeError(error.msg, self._text, base + error.pos)
        return JSONDecodeError("Expecting value", self._text, base + getattr(error, "value", 0))

    def _items(self, place: list[int]) -> Iterator[Any]:
        """The items of the array that begins at ``place[0]``, which afterwards is where it ends."""
        return (value for _, value in self._valued(self._starts(place), place))

    def _pairs(self, place: list[int]) -> Iterator[tuple[str, Any]]:
        """The members of the object that begins at ``place[0]``, which afterwards is where it ends."""
        return self._valued(self._names(place), place)

    def _valued(self, heads: Iterator[H], place: list[int]) -> Iterator[tuple[H, Any]]:
        """What each value belongs to, at whose beginning ``place[0]`` is by then, and the value."""
        text, scan, size = self._text, self._scan, self._size
        window, base, rest = "", 0, False
        for head in heads:
            at = place[0]
            while True:
                try:
                    value, end = scan(window, at - base)
                    whole = end + _CUT_OFF <= len(window) or rest
                except (StopIteration, JSONDecodeError):
                    value, end, whole = None, 0, False
                if whole:
                    place[0] = end + base
                    break
                if window and at == base:
                    value, place[0] = self._value(at)  # larger than a window, or wrong
                    break
                base, window = at, text[at : at + size]
                rest = at + size >= len(text)
                self._seen(window)
                if not window:
                    raise JSONDecodeError("Expecting value", text, at)
            yield head, value

    def _starts(self, place: list[int]) -> Iterator[None]:
        """Once for each item; ``place[0]`` is where it begins, and the caller moves it to where it ends."""
        text = self._text
        at = self._skip(place[0] + 1)
        if text.startswith("]", at):
            place[0] = at + 1
            return
        while True:
            place[0] = at
            yield
            at = self._skip(place[0])
            if text.startswith("]", at):
                place[0] = at + 1
                return
            if not text.startswith(",", at):
                raise JSONDecodeError("Expecting ',' delimiter", text, at)
            at = self._skip(at + 1)

    def _names(self, place: list[int]) -> Iterator[str]:
        """The names of the members; ``place[0]`` is where the value begins, and the caller moves it to where it
        ends."""
        text = self._text
        at = self._skip(place[0] + 1)
        if text.startswith("}", at):
            place[0] = at + 1
            return
        while True:
            if not text.startswith('"', at):
                raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
            name, at = _scan_string(text, at + 1, True)
            self._seen(text[at - 32 if at > 32 else 0 : at] if len(name) < 16 else text[place[0] : at])
            at = self._skip(at)
            if not text.startswith(":", at):
                raise JSONDecodeError("Expecting ':' delimiter", text, at)
            place[0] = self._skip(at + 1)
            yield name
            at = self._skip(place[0])
            if text.startswith("}", at):
                place[0] = at + 1
                return
            if not text.startswith(",", at):
                raise JSONDecodeError("Expecting ',' delimiter", text, at)
            at = self._skip(at + 1)

    def _string(self, at: int) -> tuple[str, int]:
        """The string that begins at this place, in parts that end between escapes."""
        text = self._text
        parts: list[str] = []
        begin = at + 1
        while True:
            cut = begin + self._size
            if cut >= len(text):
                part, end = _scan_string(text, begin, True)
                self._seen(text[begin:end])
                parts.append(part)
                return "".join(parts), end
            cut = self._between_escapes(begin, cut)
            piece = text[begin:cut]
            self._seen(piece)
            try:
                part, end = _scan_string(f'{piece}"', 0, True)
            except JSONDecodeError as error:
                raise self._placed(error, begin) from None
            if end <= len(piece):
                parts.append(part)
                return "".join(parts), begin + end
            if "\ud800" <= part[-1] <= "\udbff":  # the other half of the character comes in the next escape
                part, cut = part[:-1], cut - _ESCAPE
            parts.append(part)
            begin = cut

    def _between_escapes(self, begin: int, cut: int) -> int:
        """The last place up to ``cut`` that is not within an escape."""
        last = self._text.rfind("\\", max(begin, cut - _ESCAPE + 1), cut)
        if last < 0:
            return cut
        before = self._text[begin : last + 1]
        slashes = len(before) - len(before.rstrip("\\"))
        return last if slashes % 2 else cut
