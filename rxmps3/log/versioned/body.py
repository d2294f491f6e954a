"""Encode and decode the versions of the manifest object. Pure.

Decoding trusts nothing, as in `rxmps3.log.codec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rxmps3.errors import Corrupt
from rxmps3.log.codec import FORMAT, CheckpointRef, Reader, check_format, decode_write, json_object, stamp
from rxmps3.log.versioned.names import VersionedNames, is_value_name
from rxmps3.model import jsontext
from rxmps3.model.seal import check_seal, sealed
from rxmps3.model.state import ContentObject, ManifestVersion, Write

__all__ = ["PROTOCOL", "Body", "Named", "decode_body", "encode_body", "is_ours"]

PROTOCOL = "versioned"
_SIGN = f'"log":"{PROTOCOL}"'.encode()


@dataclass(frozen=True)
class Named:
    """A reference to a checkpoint in a body.

    Attributes:
        version: the version of the manifest object after which the state was taken.
        ref: the object; its ``seq`` counts the versions up to that one.
    """

    version: str
    ref: CheckpointRef


@dataclass(frozen=True)
class Body:
    """A decoded version of the manifest object.

    Attributes:
        version: its content; the id is the version id given by the storage.
        previous: the last version that its writer had applied, "" if none.
        own: the last version of the same writer that was seen committed, "" if none.
        checkpoint: the newest checkpoint that its writer knew.
        size: bytes.
        beside: other versions its writer had applied that neither ``previous`` nor ``own`` follows.
    """

    version: ManifestVersion
    previous: str
    own: str
    checkpoint: Named | None
    size: int
    beside: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The version id."""
        return self.version.id

    @property
    def follows(self) -> tuple[str, ...]:
        """The versions that have to come before this one."""
        return tuple(id for id in (self.previous, self.own, *self.beside) if id)


def is_ours(body: bytes) -> bool:
    """Whether an object claims to be a manifest of this protocol, whatever its format and whether it is intact."""
    return _SIGN in body


def encode_body(
    writes: Sequence[str],
    *,
    previous: str,
    own: str,
    beside: Sequence[str] = (),
    writer: str,
    by: str,
    nonce: str,
    time: datetime,
    date: datetime | None = None,
    checkpoint: Named | None = None,
    expired: Sequence[str] = (),
) -> bytes:
    """The bytes of a version; ``writes`` are texts made by `rxmps3.log.codec.encode_write`.

    The nonce makes each body unique, so that no two versions have the same ETag.
    """
    named = None
    if checkpoint is not None:
        ref = checkpoint.ref
        named = {
            "count": ref.seq,
            "name": ref.name,
            "sha256": ref.sha256,
            "size": ref.size,
            "version": checkpoint.version,
        }
    members = {
        "by": by,
        "checkpoint": named,
        "date": None if date is None else stamp(date, "seconds"),
        "format": FORMAT,
        "log": PROTOCOL,
        "nonce": nonce,
        "own": own,
        "previous": previous,
        "requires": [],
        "time": stamp(time, "milliseconds"),
        "writer": writer,
        **({"beside": list(beside)} if beside else {}),
        **({"expired": list(expired)} if expired else {}),
    }
    return sealed(f'{jsontext.encode(members)[:-1]},"writes":[{",".join(writes)}]}}'.encode())


def decode_body(body: bytes, version: str, names: VersionedNames) -> Body:
    """Read a version of the manifest object.

    Args:
        body: its bytes.
        version: its version id.
        names: the manifest's names.

    Raises:
        Corrupt: not a version of a versioned manifest.
        Unsupported: a newer format.
    """
    what = f"manifest {names.object!r}, version {version!r}"
    if not is_ours(body):
        raise Corrupt(
            f"not a version of a {PROTOCOL} log: {_looks_like(body)}",
            object=what,
            remedy="open it in its own protocol, or choose another manifest name; nothing is overwritten",
        )
    check_seal(body, what)
    members = json_object(jsontext.decode_container(body, what), what)
    check_format(members, what)
    read = Reader(members, what)
    if read.text("log") != PROTOCOL:
        raise Corrupt(f"of log {members['log']!r:.40}", object=what)
    read.text("nonce")
    writer = read.text("writer")
    writes = tuple(decode_write(part, writer, what, is_value_name) for part in read.array("writes"))
    for write in writes:
        _check_write(write, names, what)
    said = ManifestVersion(
        version,
        writer,
        read.text("by"),
        read.time("time"),
        writes,
        None if members.get("date") is None else read.time("date"),
        read.texts("expired") if "expired" in members else (),
    )
    named = None if members.get("checkpoint") is None else _decode_named(read.object("checkpoint"), names, what)
    beside = read.texts("beside") if "beside" in members else ()
    return Body(said, read.text("previous"), read.text("own"), named, len(body), beside)


def _check_write(write: Write, names: VersionedNames, what: str) -> None:
    for key, entry in write.update.items():
        try:
            names.check_key(key)
        except ValueError:
            raise Corrupt(f"key {key!r:.80} cannot be one here", object=what) from None
        if entry is not None and not (isinstance(entry.content, ContentObject) and entry.content.version):
            raise Corrupt(f"key {key!r:.80} does not say which version of its object it is", object=what)


def _decode_named(members: dict[str, object], names: VersionedNames, what: str) -> Named:
    read = Reader(members, what)
    ref = CheckpointRef(read.number("count"), read.text("name"), read.hash("sha256"), read.number("size"))
    if names.count_of(ref.name) != ref.seq or not ref.seq:
        raise Corrupt(f"{ref.name!r:.200} is not the name of a checkpoint of this manifest", object=what)
    return Named(read.text("version"), ref)


def _looks_like(body: bytes) -> str:
    if body.strip() in (b'""', b""):
        return "it looks like the manifest of protocol 'mps3'"
    return "it looks like a value or a foreign object"
