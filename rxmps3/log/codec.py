"""Encode and decode log entries and the head. Pure.

Decoding trusts nothing. Malformed input raises `Corrupt`; a newer format, or a required feature that this version does
not know, raises `Unsupported`. Both errors name the object.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from rxmps3.errors import Corrupt, InvalidValue, Unsupported
from rxmps3.model import jsontext, valuetext
from rxmps3.model.names import is_pack_name, parse_value_name
from rxmps3.model.seal import check_seal, sealed
from rxmps3.model.state import ContentObject, Entry, Inline, ManifestVersion, Write, WriteId

__all__ = [
    "CHUNKS",
    "FORMAT",
    "PACKS",
    "CheckpointRef",
    "Head",
    "LogEntry",
    "Names",
    "Reader",
    "any_names",
    "as_decoded",
    "check_format",
    "decode_entry",
    "decode_head",
    "decode_packs",
    "decode_state_entry",
    "decode_write",
    "digest",
    "encode_entry",
    "encode_head",
    "encode_state_entry",
    "encode_write",
    "features_of",
    "genesis",
    "json_bytes",
    "json_object",
    "packs_in",
    "sequenced_names",
    "stamp",
]

FORMAT = 1
_HEX = re.compile("[0-9a-f]{64}")
TAGS = "tags"
"""What a head requires that has tags: a client that did not know them would leave them out of the next one."""
JSON, BYTES = "json", "bytes"
"""The types of values. A release that does not know one refuses what names it."""
PACKS = "packs"
"""What an entry or a checkpoint requires that refers to values in packs."""
CHUNKS = "chunks"
"""What a head requires that names a checkpoint in chunks, and that checkpoint."""
KNOWN_FEATURES: frozenset[str] = frozenset({CHUNKS, PACKS, TAGS})
_PACKED_SHA256 = re.compile("[0-9A-Za-z_-]{42}[AEIMQUYcgkosw048]")
"""URL-safe Base64 of 32 bytes, without its padding; the last digit has four bits."""


Names = Callable[[str, str], bool]
"""Whether an object's name, its first argument, can be that of a value of a key, its second."""


def sequenced_names(name: str, key: str) -> bool:
    """The object names of the sequenced log."""
    try:
        return parse_value_name(name)[0] == key
    except Corrupt:
        return False


def any_names(name: str, key: str) -> bool:
    """The object names of any protocol, for files that only this client writes."""
    return bool(name and key)


def digest(body: bytes) -> str:
    """Hex SHA-256 of an entry's bytes, which the next entry holds as ``previous``."""
    return hashlib.sha256(body).hexdigest()


def genesis(incarnation: str) -> str:
    """The ``previous`` of the first entry, which ties the chain to its log."""
    return digest(incarnation.encode())


@dataclass(frozen=True)
class CheckpointRef:
    """A reference to the checkpoint of the state at one number.

    Attributes:
        seq: the state is the one after this entry.
        name: the object, relative to the manifest.
        sha256: hex, of its JSON before compression.
        size: bytes of that JSON.
        state: of a checkpoint in chunks: hex SHA-256 that is the same for the same state, whatever its chunks are
            called; else "".
        written: of a checkpoint in chunks: bytes of JSON, of this object and of the chunks that were written for it.
    """

    seq: int
    name: str
    sha256: str
    size: int
    state: str = ""
    written: int = field(default=0, compare=False)

    @property
    def cost(self) -> int:
        """The bytes of JSON that were written for it."""
        return self.written or self.size

    def contradicts(self, other: CheckpointRef) -> bool:
        """Whether both are of one number, and not of one state."""
        if self.seq != other.seq or bool(self.state) != bool(other.state):
            return False
        return self.state != other.state if self.state else self.sha256 != other.sha256


@dataclass(frozen=True)
class Head:
    """The one mutable object of a manifest.

    Attributes:
        incarnation: the id of the log; a manifest that was deleted and created again has a new one.
        nonce: new at each rewrite, so that a writer recognises its own head.
        checkpoint: the newest checkpoint, None before the first.
        kept: older checkpoints kept for reading past states, oldest first.
        floor: entries up to this number may be deleted.
        raised_at: when the floor was last raised, if the object has been rewritten since.
        tags: checkpoints kept under a name until the tag is removed, wherever the floor is.
    """

    incarnation: str
    nonce: str
    checkpoint: CheckpointRef | None = None
    kept: tuple[CheckpointRef, ...] = ()
    floor: int = 0
    raised_at: datetime | None = None
    tags: Mapping[str, CheckpointRef] = field(default_factory=dict[str, CheckpointRef])

    @property
    def refs(self) -> tuple[CheckpointRef, ...]:
        """Every checkpoint that the head names, oldest first, without duplicates."""
        named = (*self.kept, self.checkpoint, *self.tags.values())
        by_name = {ref.name: ref for ref in named if ref is not None}
        return tuple(sorted(by_name.values(), key=lambda ref: (ref.seq, ref.name)))


@dataclass(frozen=True)
class LogEntry:
    """A decoded log entry: its version, and the chain hash it claims to follow."""

    seq: int
    previous: str
    version: ManifestVersion


def json_bytes(value: Any) -> bytes:
    """The canonical JSON text of a value, in UTF-8."""
    return jsontext.encode(value).encode()


def encode_write(write: Write, committer: str, based: str | None = None) -> str:
    """The text of one write within an entry. ``writer`` is left out where it is the committer.

    So is ``by``, the name of the writer's user, where it is the committer's, and ``based`` where None is given.
    """
    parts = [] if based is None else [f'"based":{_quote(based)}']
    parts += [] if write.by is None else [f'"by":{_quote(write.by)}']
    parts += [f'"nonce":{_quote(write.nonce)}', f'"number":{write.id.number}']
    packs = packs_in(write.update.values())
    if packs:
        parts.append(f'"packs":{jsontext.encode(list(packs))}')
    members = ",".join(
        f"{_quote(key)}:{'null' if entry is None else encode_state_entry(entry, packs, write.id.version)}"
        for key, entry in sorted(write.update.items())
    )
    parts.append(f'"update":{{{members}}}')
    if write.id.writer != committer:
        parts.append(f'"writer":{_quote(write.id.writer)}')
    return "{" + ",".join(parts) + "}"


def _quote(text: str) -> str:
    return jsontext.quote(text)


def features_of(writes: Iterable[Write]) -> list[str]:
    """What a log entry with these writes requires of its readers."""
    return [PACKS] if any(packs_in(write.update.values()) for write in writes) else []


def packs_in(entries: Iterable[Entry | None]) -> dict[str, int]:
    """The packs that entries refer to, in order of their names, and the number of each."""
    names = {
        entry.content.name
        for entry in entries
        if entry is not None and isinstance(entry.content, ContentObject) and entry.content.offset is not None
    }
    if not names:
        return {}
    return {name: number for number, name in enumerate(sorted(names))}


def encode_state_entry(entry: Entry, packs: Mapping[str, int], version: str = "") -> str:
    """The text of an entry; ``version`` is what an entry's version is understood to be where it is left out."""
    content = entry.content
    if isinstance(content, Inline):
        media = valuetext.media_of(content.text)
        if media is None:
            return f'{{"value":{content.text},"version":{_quote(entry.version)}}}'
        data = b64encode(valuetext.body_of(content.text)).decode()
        return jsontext.encode({"bytes": data, "media": media, "type": BYTES, "version": entry.version})
    if content.offset is not None:
        sha256 = urlsafe_b64encode(bytes.fromhex(content.sha256)).rstrip(b"=").decode()
        own = "" if entry.version == version else entry.version
        rest = [own, content.media] if content.media is not None else [own] if own else []
        return jsontext.encode([packs[content.name], content.offset, content.size, sha256, *rest])
    members = {
        "object": content.name,
        "sha256": content.sha256,
        "size": content.size,
        "type": JSON if content.media is None else BYTES,
        "version": entry.version,
    }
    if content.media is not None:
        members["media"] = content.media
    if content.version is not None:
        members["at"] = content.version
    return jsontext.encode(members)


def encode_entry(
    seq: int,
    previous: str,
    writer: str,
    by: str,
    time: datetime,
    writes: Sequence[str],
    *,
    date: datetime | None = None,
    expired: Sequence[str] = (),
    requires: Sequence[str] = (),
) -> bytes:
    """The bytes of a log entry; ``writes`` are texts made by `encode_write`, ``requires`` is what `features_of` says
    of the writes."""
    parts = [
        f'{{"by":{_quote(by)}',
        f'"date":{"null" if date is None else _quote(stamp(date, "seconds"))}',
        *([f'"expired":{jsontext.encode(list(expired))}'] if expired else []),
        f'"format":{FORMAT}',
        f'"previous":{_quote(previous)}',
        f'"requires":{jsontext.encode(list(requires)) if requires else "[]"}',
        f'"seq":{seq}',
        f'"time":{_quote(stamp(time, "milliseconds"))}',
        f'"writer":{_quote(writer)}',
        f'"writes":[{",".join(writes)}]}}',
    ]
    return sealed(",".join(parts).encode())


def as_decoded(
    seq: int,
    previous: str,
    writer: str,
    by: str,
    time: datetime,
    writes: Sequence[Write],
    *,
    date: datetime | None = None,
    expired: Sequence[str] = (),
) -> LogEntry:
    """What `decode_entry` reads of the entry that `encode_entry` makes of the same arguments, without reading it."""
    version = ManifestVersion(
        str(seq),
        writer,
        by,
        _in_utc(time).replace(microsecond=time.microsecond // 1000 * 1000),
        tuple(map(_as_stored, writes)),
        None if date is None else _in_utc(date).replace(microsecond=0),
        tuple(expired),
    )
    return LogEntry(seq, previous, version)


def _as_stored(write: Write) -> Write:
    """The write as its text has it: without its conditions, its keys in order."""
    update = write.update if len(write.update) == 1 else dict(sorted(write.update.items()))
    if write.conditions is None and update is write.update:
        return write
    return Write(write.id, write.nonce, update, by=write.by, based=write.based)


def stamp(time: datetime, precision: str) -> str:
    """A time as RFC 3339 text in UTC."""
    return _in_utc(time).isoformat(timespec=precision).replace("+00:00", "Z")


def _in_utc(time: datetime) -> datetime:
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def decode_entry(body: bytes, name: str) -> LogEntry:
    """Read a log entry.

    Args:
        body: the object's bytes.
        name: the object's name, for errors.

    Raises:
        Corrupt: not a log entry.
        Unsupported: a newer format.
    """
    what = f"log entry {name!r}"
    check_seal(body, what)
    members = json_object(jsontext.decode_container(body, what), what)
    check_format(members, what)
    read = Reader(members, what)
    writer = read.text("writer")
    writes = tuple(decode_write(part, writer, what) for part in read.array("writes"))
    seq = read.number("seq")
    version = ManifestVersion(
        str(seq),
        writer,
        read.text("by"),
        read.time("time"),
        writes,
        None if members.get("date") is None else read.time("date"),
        read.texts("expired") if "expired" in members else (),
    )
    return LogEntry(seq, read.text("previous"), version)


def decode_write(part: Any, committer: str, what: str, names: Names = sequenced_names) -> Write:
    """Read one write of an entry. Raises as `decode_entry`."""
    read = Reader(json_object(part, what), what)
    writer = read.text("writer") if "writer" in read.members else committer
    id = WriteId(writer, read.number("number"))
    packs = decode_packs(read, names, what)
    update = {
        key: None if entry is None else decode_state_entry(entry, key, what, names, packs, id.version)
        for key, entry in read.object("update").items()
    }
    if not update or "" in update or not all(map(_is_text, update)):
        raise Corrupt("a write without keys, or with a key that is empty or not valid Unicode", object=what)
    by = read.text("by") if "by" in read.members else None
    based = read.text("based") if "based" in read.members else None
    return Write(id, read.text("nonce"), update, by=by, based=based)


def decode_packs(read: Reader, names: Names, what: str) -> Sequence[str]:
    """The names of the packs that a write or a checkpoint refers to by number."""
    packs = read.texts("packs") if "packs" in read.members else ()
    for name in packs:
        if not (is_pack_name(name) or names is any_names):
            raise Corrupt(f"'packs' has what is not the name of a pack: {name!r:.200}", object=what)
    return packs


def _decode_packed(part: Sequence[Any], what: str, packs: Sequence[str], version: str) -> Entry:
    pack, offset, size, sha256 = part[:4] if 4 <= len(part) <= 6 else (None,) * 4
    own, media = (*part[4:], None, None)[:2]
    if not (
        all(type(number) is int and number >= 0 for number in (pack, offset, size))
        and cast("int", pack) < len(packs)
        and isinstance(sha256, str)
        and _PACKED_SHA256.fullmatch(sha256)
        and (own is None or _is_text(own))
        and (len(part) < 6 or _is_text(media))
        and (own or version)
    ):
        raise Corrupt(f"not a reference into a pack: {part!r:.200}", object=what)
    content = ContentObject(
        packs[cast("int", pack)],
        urlsafe_b64decode(sha256 + "=").hex(),
        cast("int", size),
        offset=cast("int", offset),
        media=None if media is None else _media(media, what),
    )
    return Entry(own or version, content)


def decode_state_entry(
    part: Any, key: str, container: str, names: Names, packs: Sequence[str], version: str = ""
) -> Entry:
    """An entry of a write or of a checkpoint, the opposite of `encode_state_entry`.

    Raises:
        Corrupt: it is not one, or names an object that is no value's.
    """
    if isinstance(part, dict) and "value" in part and key.isascii():  # most are so, and need no name for errors
        own: Any = cast("dict[str, Any]", part).get("version")
        if isinstance(own, str) and own.isascii():
            return Entry(own, Inline(jsontext.encode_as_read(part["value"])))
    what = f"{container}, key {key!r:.80}"
    if not _is_text(key):
        raise Corrupt("a key that is not valid Unicode", object=what)
    if isinstance(part, list):
        return _decode_packed(cast("list[Any]", part), what, packs, version)
    read = Reader(json_object(part, what), what)
    version = read.text("version")
    if "value" in read.members:
        return Entry(version, Inline(jsontext.encode_as_read(read.members["value"])))
    if read.text("type") not in (JSON, BYTES):
        raise Unsupported(
            f"a value of type {read.members['type']!r:.40}", object=what, remedy="upgrade rxmps3 to read it"
        )
    media = _media(read.text("media"), what) if read.members["type"] == BYTES else None
    if media is not None and "bytes" in read.members:
        return Entry(version, Inline(valuetext.text_of_body(_bytes(read.text("bytes"), what), media)))
    name = read.text("object")
    if not names(name, key):
        raise Corrupt(f"'object' is not the name of a value of this key: {name!r:.200}", object=what)
    at = read.text("at") if "at" in read.members else None
    sha256 = "" if read.members.get("sha256") == "" and names is any_names else read.hash("sha256")
    return Entry(version, ContentObject(name, sha256, read.number("size"), at, media=media))


def _media(content_type: str, what: str) -> str:
    try:
        return valuetext.check_content_type(content_type)
    except InvalidValue as error:
        raise Corrupt(error.what, object=what) from None


def _bytes(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise Corrupt("'bytes' is not Base64", object=what) from None


def encode_head(head: Head) -> bytes:
    """The bytes of the head object."""
    checkpoint = head.checkpoint
    in_chunks = any(ref.state for ref in head.refs)
    return sealed(
        json_bytes(
            {
                "format": FORMAT,
                "requires": [*([CHUNKS] if in_chunks else []), *([TAGS] if head.tags else [])],
                "log": head.incarnation,
                "nonce": head.nonce,
                "checkpoint": None if checkpoint is None else _ref_members(checkpoint),
                "kept": [_ref_members(one) for one in head.kept],
                "floor": head.floor,
                "raised_at": None if head.raised_at is None else stamp(head.raised_at, "milliseconds"),
                **({"tags": {name: _ref_members(ref) for name, ref in head.tags.items()}} if head.tags else {}),
            }
        )
    )


def _ref_members(ref: CheckpointRef) -> dict[str, Any]:
    return {name: value for name, value in asdict(ref).items() if ref.state or name not in ("state", "written")}


def decode_head(body: bytes, name: str) -> Head:
    """Read the head. Raises as `decode_entry`."""
    what = f"head {name!r}"
    check_seal(body, what)
    members = json_object(jsontext.decode_container(body, what), what)
    check_format(members, what)
    read = Reader(members, what)
    checkpoint = None
    if members.get("checkpoint") is not None:
        checkpoint = _decode_ref(read.object("checkpoint"), what)
    kept = tuple(_decode_ref(json_object(one, what), what) for one in read.array("kept"))
    raised_at = None if members.get("raised_at") is None else read.time("raised_at")
    incarnation = read.text("log")
    if not (incarnation.isascii() and incarnation.isalnum()):
        raise Corrupt("the log's incarnation id is not alphanumeric", object=what)
    floor = read.number("floor")
    tags: dict[str, CheckpointRef] = {}
    if "tags" in members:
        tags = {tag: _decode_ref(json_object(one, what), what) for tag, one in read.object("tags").items()}
    for ref in (*kept, checkpoint, *tags.values()):
        if ref is not None and not re.fullmatch(f"{incarnation}/checkpoint/{ref.seq:020d}-[0-9A-Za-z]+", ref.name):
            raise Corrupt(f"{ref.name!r:.200} is not the name of a checkpoint of its log", object=what)
    if floor > (0 if checkpoint is None else checkpoint.seq):
        raise Corrupt("its floor is beyond its checkpoint", object=what)
    return Head(incarnation, read.text("nonce"), checkpoint, kept, floor, raised_at, tags)


def _decode_ref(members: dict[str, Any], what: str) -> CheckpointRef:
    read = Reader(members, what)
    in_chunks = "state" in members
    return CheckpointRef(
        read.number("seq"),
        read.text("name"),
        read.hash("sha256"),
        read.number("size"),
        read.hash("state") if in_chunks else "",
        read.number("written") if in_chunks else 0,
    )


def check_format(members: Mapping[str, Any], what: str) -> None:
    """Check that this version can read an object's format. Raises as `decode_entry`."""
    found = members.get("format")
    if type(found) is not int or found != FORMAT:
        if type(found) is int and found > FORMAT:
            raise Unsupported(
                f"format {found} is newer than {FORMAT}, the newest known here", object=what, remedy="upgrade rxmps3"
            )
        raise Corrupt(f"format {found!r:.40} is not a known format", object=what)
    requires: Any = members.get("requires", [])
    if not isinstance(requires, list):
        raise Corrupt("'requires' is not an array", object=what)
    features = [str(feature) for feature in cast("list[Any]", requires)]
    unknown = [feature for feature in features if feature not in KNOWN_FEATURES]
    if unknown:
        raise Unsupported(f"requires {', '.join(unknown)}", object=what, remedy="upgrade rxmps3")


def json_object(value: Any, what: str) -> dict[str, Any]:
    """Return the value if it is a JSON object. Otherwise raises `Corrupt` naming ``what``."""
    if not isinstance(value, dict):
        raise Corrupt(f"not a JSON object but {type(value).__name__}", object=what)
    return cast("dict[str, Any]", value)


def _is_text(value: Any) -> bool:
    """Whether the value is a str that UTF-8 can encode; parsed JSON may contain lone surrogates."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Reader:
    """Typed access to the members of a JSON object; each method raises `Corrupt` on a member of another type."""

    def __init__(self, members: dict[str, Any], what: str) -> None:
        self.members = members
        self._what = what

    def _get(self, name: str, valid: Callable[[Any], object], kind: str) -> Any:
        value = self.members.get(name)
        if not valid(value):
            raise Corrupt(f"{name!r} is not {kind}", object=self._what)
        return value

    def text(self, name: str) -> str:
        value = self.members.get(name)
        if isinstance(value, str) and value.isascii():
            return value
        return self._get(name, _is_text, "a string")

    def number(self, name: str) -> int:
        value = self.members.get(name)
        if type(value) is int and value >= 0:
            return value
        raise Corrupt(f"{name!r} is not a whole number", object=self._what)

    def array(self, name: str) -> list[Any]:
        return self._get(name, lambda value: isinstance(value, list), "an array")

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(
            self._get(name, lambda value: all(map(_is_text, value)), "an array of strings") if self.array(name) else ()
        )

    def object(self, name: str) -> dict[str, Any]:
        return self._get(name, lambda value: isinstance(value, dict), "an object")

    def hash(self, name: str) -> str:
        return self._get(name, lambda value: isinstance(value, str) and _HEX.fullmatch(value), "a hex SHA-256")

    def time(self, name: str) -> datetime:
        try:
            stamp = datetime.fromisoformat(self.text(name))
            if stamp.tzinfo is UTC:
                return stamp
            return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise Corrupt(f"{name!r} is not a time", object=self._what) from None
