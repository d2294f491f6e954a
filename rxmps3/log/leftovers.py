"""What is left of a manifest whose log is gone: values, as far as their names tell what they are.

A client that had not noticed yet that its bucket was emptied leaves the values that it uploaded in the meantime; a
lifecycle rule may take a log and leave its values. Their names tell the keys in the sequenced log, and in the mps3
format without versions. In the versioned log, and in mps3 with versions, the object of a key has the key's name, so
that any other program's objects look the same.

No name tells whether a key had been deleted, nor the keys of values that share an object; and values that were inline
were in the log alone. So what is found is less than what was there, or more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rxmps3.errors import Corrupt, Unavailable, Unsupported
from rxmps3.log.mps3.names import key_of_content, manifest_of
from rxmps3.log.protocol import ProtocolName
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.model import jsontext, valuetext
from rxmps3.model.names import RESERVED, VALUES, Layout, escape, is_pack_name, parse_value_name, unescape
from rxmps3.storage.base import Found, Listed, Storage, list_all, versions_of

__all__ = ["LeftValue", "Leftovers", "find_leftovers", "marker_of", "read_left"]


_OF_A_LOG = re.compile(r"/(head|clock/[^/]+|log/\d{20}|checkpoint/\d{20}-[^/]+)$")


class LeftValue(NamedTuple):
    """An object that has a value.

    Attributes:
        key: whose, by its name.
        name: of the object, below the storage's prefix.
        size: its bytes.
    """

    key: str
    name: str
    size: int


@dataclass(frozen=True)
class Leftovers:
    """The values of one protocol that no log names.

    Attributes:
        protocol: in which they are stored so.
        newest: of each key the one that was stored last.
        objects: how many objects they and the older ones are.
        size: their bytes in all.
        packs: objects that hold several values; which keys they belong to only the log knew.
        others: other manifests of the same protocol beside, which may name some of them.
    """

    protocol: ProtocolName
    newest: Mapping[str, LeftValue] = field(default_factory=dict[str, LeftValue])
    objects: int = 0
    size: int = 0
    packs: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


async def find_leftovers(storage: Storage, manifest: str) -> list[Leftovers]:
    """Find the values that may be a manifest's, which has no log any more. Lists everything, reads and writes nothing.

    Raises:
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    layout = Layout(manifest, storage.name_limit)
    everything = await list_all(storage, "")
    found = [
        _sequenced(layout, everything),
        _mps3(manifest, everything),
        _natural(VersionedNames(manifest, storage.name_limit), everything),
    ]
    return [one for one in found if one.objects]


async def marker_of(storage: Storage, manifest: str) -> str | None:
    """The version id of the delete marker that hides a versioned manifest; None if there is none. Writes nothing."""
    name = VersionedNames(manifest, storage.name_limit).object
    try:
        page = await versions_of(storage).list_versions(name)
    except Unsupported:
        return None
    versions = [one for one in page.versions if one.name == name]
    hidden = len(versions) > 1 and versions[0].is_delete_marker and not all(one.is_delete_marker for one in versions)
    return versions[0].version if hidden else None


async def read_left(storage: Storage, protocol: ProtocolName, value: LeftValue) -> str:
    """The text of a value. Where the log alone knew whether it was JSON, it is that if it is written as JSON is here,
    and else bytes.

    Raises:
    Corrupt: it is not the body of a client's object.
        Unavailable: it has been deleted meanwhile; and as `Storage.get`.
    """
    answer = await storage.get(value.name)
    if not isinstance(answer, Found):
        raise Unavailable("it has been deleted meanwhile", object=f"value {value.name!r}")
    if protocol == "mps3":
        return jsontext.encode(jsontext.decode_bytes(answer.body, f"value {value.name!r}"))
    try:
        text = jsontext.encode(jsontext.decode_bytes(answer.body, value.name))
    except Corrupt:
        text = ""
    if text.encode() == answer.body:
        return text
    return valuetext.text_of_body(answer.body, valuetext.ANY_BYTES)


def _sequenced(layout: Layout, everything: Iterable[Listed]) -> Leftovers:
    values: list[tuple[str, str, Listed]] = []
    packs: list[Listed] = []
    for one in everything:
        if not one.name.startswith(layout.values):
            continue
        name = one.name.removeprefix(layout.root)
        try:
            values.append((*parse_value_name(name), one))
        except Corrupt:
            if is_pack_name(name):
                packs.append(one)
    found = _newest("sequenced", [(key, _number(version), one) for key, version, one in values])
    size = found.size + sum(pack.size for pack in packs)
    names = tuple(pack.name for pack in packs)
    return Leftovers("sequenced", found.newest, found.objects + len(packs), size, names)


def _number(version: str) -> int:
    return int(version.partition("-")[2].partition(".")[0])


def _mps3(manifest: str, everything: Iterable[Listed]) -> Leftovers:
    values = [
        (key, 0, one)
        for one in everything
        if not one.name.startswith(RESERVED) and (key := key_of_content(one.name)) is not None
    ]
    others = {other for one in everything if (other := manifest_of(one.name)) is not None and other != manifest}
    found = _newest("mps3", values)
    return Leftovers("mps3", found.newest, found.objects, found.size, (), tuple(sorted(others)))


def _natural(names: VersionedNames, everything: Iterable[Listed]) -> Leftovers:
    """Objects whose names are those of keys, leaving out what is of anything else in this format or another."""
    folders = {one.name.removesuffix("head") for one in everything if one.name.endswith("/head")}
    mps3 = {other for one in everything if (other := manifest_of(one.name)) is not None}
    versioned = {unescape(one.name.split("/")[1]) for one in everything if one.name.startswith(f"{RESERVED}/")}
    values: list[tuple[str, int, Listed]] = []
    for one in everything:
        name = one.name
        if (
            name.startswith(RESERVED)
            or name in mps3
            or manifest_of(name) is not None
            or key_of_content(name) is not None
            or f"/{VALUES}" in name
            or _OF_A_LOG.search(name)
            or any(name.startswith(folder) for folder in folders)
        ):
            continue
        try:
            key = unescape(name)
        except UnicodeDecodeError:
            continue
        if escape(key) == name and name != names.object and key not in versioned:
            values.append((key, 0, one))
    found = _newest("versioned", values)
    others = tuple(sorted(versioned - {unescape(names.object)}))
    return Leftovers("versioned", found.newest, found.objects, found.size, (), others)


def _newest(protocol: ProtocolName, values: Iterable[tuple[str, int, Listed]]) -> Leftovers:
    """Of each key the value that was stored last; of those of one second the one with the highest number."""

    def when(value: tuple[str, int, Listed]) -> tuple[float, int]:
        modified = value[2].modified
        return 0.0 if modified is None else modified.timestamp(), value[1]

    stored = sorted(values, key=when)
    newest = {key: LeftValue(key, one.name, one.size) for key, _, one in stored}
    return Leftovers(protocol, dict(sorted(newest.items())), len(stored), sum(one.size for _, _, one in stored))
