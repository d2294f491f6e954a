"""Format and parse the object names of the mps3 format. Pure.

Keys are not escaped in names (only by the HTTP layer), as in the JavaScript client. Operations are named so that
ascending order is newest first::

    <manifest>@<2^42 - 1 - milliseconds, base 32>_<session>_<1023 - operations of the session so far, base 32>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from rxmps3.runtime.clock import ID_ALPHABET, Clock

__all__ = [
    "OPERATIONS_PER_SESSION",
    "Namespace",
    "Stamp",
    "is_content_name",
    "key_of_content",
    "manifest_of",
    "namespace_of",
    "new_session",
    "new_uuid",
    "parse_stamp",
    "stamp_after",
]

OPERATIONS_PER_SESSION = 1024
_LAST_MILLISECOND = 2**42 - 1
_TIME_DIGITS = 9
_COUNT_DIGITS = 2
_STAMP = re.compile(r"([0-9a-z]+)_([0-9a-z]+)_([0-9a-z]{2})")
_OPERATION = re.compile(r"(.+)@[0-9a-v]{9}_[0-9a-z]+_[0-9a-z]{2}", re.DOTALL)
_CONTENT = re.compile(
    r"(.+)@([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})",
    re.DOTALL,
)


class Stamp(NamedTuple):
    """The parsed name of an operation.

    Attributes:
        text: the part of the name after the manifest and the ``@``; ascending is newest first.
        time: milliseconds since the epoch, by its writer's corrected clock.
        session: of its writer.
        number: how many operations the session had written before.
    """

    text: str
    time: int
    session: str
    number: int

    @staticmethod
    def of(time: int, session: str, count: int) -> Stamp:
        """The stamp of an operation that is about to be written."""
        left = _base32(OPERATIONS_PER_SESSION - 1 - count, _COUNT_DIGITS)
        return Stamp(f"{_time_text(time)}_{session}_{left}", time, session, count)


def parse_stamp(text: str) -> Stamp | None:
    """Parse the part of a name after ``@``; None if it is not an operation's."""
    match = _STAMP.fullmatch(text)
    if match is None:
        return None
    try:
        time = _LAST_MILLISECOND - int(match[1], 32)
        count = OPERATIONS_PER_SESSION - 1 - int(match[3], 32)
    except ValueError:
        return None
    return Stamp(text, time, match[2], count) if time >= 0 else None


def stamp_after(time: int) -> str:
    """Text that sorts before every operation up to this millisecond, and after all later ones."""
    return _time_text(time)


def _time_text(time: int) -> str:
    return _base32(_LAST_MILLISECOND - time, _TIME_DIGITS)


def _base32(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = ID_ALPHABET[digit] + digits
    return digits.rjust(width, "0")


def manifest_of(name: str) -> str | None:
    """The manifest whose operation this object would be, by its name, or None."""
    match = _OPERATION.fullmatch(name)
    return match[1] if match is not None else None


def is_content_name(name: str) -> bool:
    """Whether an object's name is that of a value in the layout without versions."""
    return _CONTENT.fullmatch(name) is not None


def key_of_content(name: str) -> str | None:
    """The key whose value an object would be in the layout without versions, by its name, or None."""
    match = _CONTENT.fullmatch(name)
    return match[1] if match is not None else None


def new_uuid(clock: Clock) -> str:
    """A random UUID of version 4 (RFC 9562, section 5.4), in lower case."""
    bits = int(clock.new_id(26), 32) & (2**128 - 1)
    bits = bits & ~(0xF << 76) | 4 << 76
    bits = bits & ~(0x3 << 62) | 2 << 62
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def new_session(clock: Clock) -> str:
    """Three random hexadecimal digits."""
    return f"{int(clock.new_id(3), 32) & 0xFFF:03x}"


@dataclass(frozen=True)
class Namespace:
    """Where the keys of a database are: the bucket, and the prefix of all names.

    Operations name a value ``<bucket>/<prefix><key>``.
    """

    bucket: str
    prefix: str = ""

    def file_of(self, key: str) -> str:
        """How operations name a key."""
        return f"{self.bucket}/{self.prefix}{key}"

    def key_of(self, file: str) -> str | None:
        """The key of a name in an operation, or None if it lies elsewhere."""
        root = f"{self.bucket}/{self.prefix}"
        return file[len(root) :] if file.startswith(root) and len(file) > len(root) else None


def namespace_of(url: str) -> Namespace:
    """The namespace of a storage, from its URL; without a bucket, the last part of the URL is used instead."""
    scheme, _, rest = url.partition(":")
    if scheme == "s3":
        bucket, _, prefix = rest.partition("?endpoint_url=")[0].removeprefix("//").partition("/")
        return Namespace(bucket, prefix)
    return Namespace(unquote(rest).rstrip("/").rpartition("/")[2] or scheme)
