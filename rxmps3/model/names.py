"""Format and parse the object names of the sequenced log. Pure.

Below the prefix of the database a manifest owns one folder::

    <manifest>/head
    <manifest>/<incarnation>/log/<seq, 20 digits>
    <manifest>/<incarnation>/checkpoint/<seq, 20 digits>-<nonce>
    <manifest>/<incarnation>/checkpoint/<seq, 20 digits>-<nonce>.<number>
    <manifest>/values/<escaped key>@<version>
    <manifest>/values/@<version>.<number>
    .rxmps3-probe/<nonce>
    .rxmps3-presence/<manifest>/<client>

Names use ``A-Za-z0-9-._~/%@`` only: real servers and proxies break on other characters, on the segments ``.`` and
``..``, and on empty segments. Escaping is percent-encoding of the UTF-8 bytes; a slash that would make an empty
segment is escaped too, and a segment longer than file systems take is cut, with ``@/`` between the parts. So every
key has exactly one name and every name at most one key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from rxmps3.errors import Corrupt, InvalidKey, InvalidOption

__all__ = [
    "PRESENCE_PREFIX",
    "PROBE_PREFIX",
    "RESERVED",
    "VALUES",
    "Layout",
    "check_key",
    "escape",
    "foreign_folders",
    "is_chunk_name",
    "is_pack_name",
    "pack_name",
    "parse_value_name",
    "presence_folder",
    "probe",
    "unescape",
    "value_name",
]

RESERVED = ".rxmps3"
VALUES = "values/"
PROBE_PREFIX = f"{RESERVED}-probe/"
PRESENCE_PREFIX = f"{RESERVED}-presence/"
MAX_NAME_BYTES = 1024
"""The longest object name, in bytes. Source: Amazon S3 User Guide, "Naming Amazon S3 objects"."""
_VERSION_BYTES = 40
_VERSION = re.compile(r"[0-9A-Za-z]+-[0-9]+(\.[0-9A-Za-z]+)?")
_PACK = re.compile(r"values/@[0-9A-Za-z]+-[0-9]+\.[0-9]+(\.[0-9A-Za-z]+)?")
_SEQ_DIGITS = 20
_MAX_SEGMENT = 200
_GOES_ON = "@/"


_SEGMENT = r"(?!\.\.?(?:/|\Z))[0-9A-Za-z_.~-]{1,200}"
_PLAIN = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")


def escape(key: str) -> str:
    """The name of a key: one or more segments, none of them empty, ``.`` or ``..``."""
    if _PLAIN.fullmatch(key):
        return key
    return _escape(key)


def _escape(key: str) -> str:
    segments = [_split(_escape_dots(quote(segment, safe="~"))) for segment in key.split("/")]
    name = segments[0]
    for segment in segments[1:]:
        name += "/" + segment if segment and name and not name.endswith("/") else "%2F" + segment
    return name


def unescape(name: str) -> str:
    """The key of a name made by `escape`."""
    return unquote(name.replace(_GOES_ON, ""), errors="strict")


def _split(segment: str) -> str:
    return _GOES_ON.join(segment[at : at + _MAX_SEGMENT] for at in range(0, len(segment), _MAX_SEGMENT))


def _escape_dots(segment: str) -> str:
    return segment.replace(".", "%2E") if segment in (".", "..") else segment


def check_key(key: object, limit: int) -> str:
    """Return ``key`` if it is a usable key.

    Args:
        key: what the caller gave as a key.
        limit: the longest escaped key, in bytes, that fits an object name.

    Raises:
        InvalidKey: not a string, empty, not encodable as UTF-8, or too long once escaped.
    """
    if not isinstance(key, str):
        raise InvalidKey(f"a key is a str, not {type(key).__name__}", object=f"key {key!r:.80}")
    if not key:
        raise InvalidKey("a key has at least one character", object="key ''")
    try:
        name = escape(key)
    except UnicodeEncodeError as error:
        raise InvalidKey(
            f"not valid Unicode: a lone surrogate at position {error.start}", object=f"key {key!r:.80}"
        ) from None
    if len(name) > limit:
        raise InvalidKey(
            f"{len(name)} bytes long once escaped, the storage allows {limit} here",
            object=f"key {key!r:.80}…",
            remedy="shorten it or keep the long part in the value",
        )
    return key


@dataclass(frozen=True)
class Layout:
    """The object names of one manifest.

    Attributes:
        manifest: the manifest's name, any non-empty text.
        name_limit: the longest object name in bytes that the storage takes below its prefix.
    """

    manifest: str
    name_limit: int = MAX_NAME_BYTES
    root: str = field(init=False)
    """The folder that holds everything of this manifest, with its slash."""

    def __post_init__(self) -> None:
        if not isinstance(self.manifest, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption("a manifest's name is text", object=f"manifest {self.manifest!r:.80}")
        if not self.manifest or self.manifest.startswith(RESERVED):
            raise InvalidOption(
                f"a manifest's name is not empty and does not start with {RESERVED!r}",
                object=f"manifest {self.manifest!r}",
            )
        try:
            folder = _escape_dots(quote(self.manifest, safe="~"))
        except UnicodeEncodeError:
            raise InvalidOption("not valid Unicode", object=f"manifest {self.manifest!r}") from None
        object.__setattr__(self, "root", folder + "/")
        if self.key_limit < 64:
            raise InvalidOption(
                "prefix and manifest name together leave no room for keys", object=f"manifest {self.manifest!r:.80}"
            )

    @property
    def key_limit(self) -> int:
        """The longest escaped key, in bytes."""
        return self.name_limit - len(self.values) - 1 - _VERSION_BYTES

    @property
    def head(self) -> str:
        return self.root + "head"

    @property
    def values(self) -> str:
        """The folder of the values that are too large for the log."""
        return self.root + VALUES

    def is_of_another(self, name: str) -> bool:
        """Whether an object below the root belongs to a database with a longer prefix, judged by its name."""
        parts = name.removeprefix(self.root).split("/")
        return not _is_of_a_manifest(parts) and any(
            _is_of_a_manifest(parts[start:]) or parts[start].startswith(RESERVED) for start in range(len(parts))
        )

    def log_of(self, name: str) -> str:
        """The incarnation whose entry or checkpoint an object of this manifest would be, by its name; else ""."""
        owner, _, rest = name.removeprefix(self.root).partition("/")
        is_part = rest.startswith(("log/", "checkpoint/")) and owner + "/" != VALUES and not self.is_of_another(name)
        return owner if is_part else ""

    def log(self, incarnation: str) -> str:
        """The folder of the log's entries."""
        return f"{self.root}{incarnation}/log/"

    def entry(self, incarnation: str, seq: int) -> str:
        """The name of one log entry."""
        return f"{self.log(incarnation)}{seq:0{_SEQ_DIGITS}d}"

    def seq_of(self, incarnation: str, name: str) -> int | None:
        """The number of a log entry, parsed from its name; None if the name is not an entry of this log."""
        digits = name.removeprefix(self.log(incarnation))
        return int(digits) if len(digits) == _SEQ_DIGITS and digits.isascii() and digits.isdigit() else None

    def checkpoint(self, incarnation: str, seq: int, nonce: str) -> str:
        """The name of one checkpoint."""
        return f"{self.root}{incarnation}/checkpoint/{seq:0{_SEQ_DIGITS}d}-{nonce}"

    def chunk(self, incarnation: str, seq: int, nonce: str, number: int) -> str:
        """The name of one chunk, which is written for the checkpoint of this number."""
        return f"{self.checkpoint(incarnation, seq, nonce)}.{number}"

    def content(self, name: str) -> str:
        """The full name of a value's object, which log entries name relative to the manifest."""
        return self.root + name


def _is_of_a_manifest(parts: Sequence[str]) -> bool:
    in_log = len(parts) == 3 and parts[1] in ("log", "checkpoint")
    return in_log or list(parts) == ["head"] or (len(parts) > 1 and parts[0] + "/" == VALUES)


def is_chunk_name(name: str) -> bool:
    """Whether an object in the folder of checkpoints is a chunk, by its name."""
    return "." in name.rpartition("/")[2]


def value_name(key: str, version: str, again: str = "") -> str:
    """The name, relative to its manifest, of the object that holds a key's value at one version.

    ``again`` distinguishes a later upload of the same value.
    """
    return f"{VALUES}{escape(key)}@{version}{'.' if again else ''}{again}"


def pack_name(version: str, number: int, again: str = "") -> str:
    """The name, relative to its manifest, of the object that holds several values of one write, its ``number``-th.

    No key has such a name, since a key has at least one character. ``again`` as in `value_name`.
    """
    return f"{VALUES}@{version}.{number}{'.' if again else ''}{again}"


def is_pack_name(name: str) -> bool:
    """Whether a name was made by `pack_name`."""
    return _PACK.fullmatch(name) is not None


def parse_value_name(name: str) -> tuple[str, str]:
    """The key and version of a name made by `value_name`.

    Raises:
        Corrupt: it is not such a name.
    """
    escaped, _, version = name.removeprefix(VALUES).rpartition("@")
    try:
        key = unescape(escaped)
    except UnicodeDecodeError:
        key = ""
    if not key or not _VERSION.fullmatch(version) or value_name(key, version) != name:
        raise Corrupt("not the name of a value", object=f"object {name!r:.200}")
    return key, version


def foreign_folders(names: Iterable[str]) -> tuple[str, ...]:
    """The folders, each with its slash, in which there is something else than values; its folders are not named again.

    Args:
        names: of all objects among the values of a manifest, relative to it.
    """
    found: set[str] = set()
    for name in names:
        if not is_pack_name(name):
            try:
                parse_value_name(name)
            except Corrupt:
                found.add(name[: name.rindex("/") + 1])
    outermost: list[str] = []
    for folder in sorted(found):  # those within a folder follow it
        if not outermost or not folder.startswith(outermost[-1]):
            outermost.append(folder)
    return tuple(outermost)


def probe(nonce: str) -> str:
    """The name of a probe object."""
    return PROBE_PREFIX + nonce


def presence_folder(manifest: str) -> str:
    """The folder of a manifest's presence objects, for any protocol; it is outside the manifest.

    Raises:
        InvalidOption: the name is not valid Unicode.
    """
    try:
        return f"{PRESENCE_PREFIX}{_escape_dots(quote(manifest, safe='~'))}/"
    except UnicodeEncodeError:
        raise InvalidOption("not valid Unicode", object=f"manifest {manifest!r}") from None
