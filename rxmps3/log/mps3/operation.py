"""Encode and decode operations, and compute the state they result in. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rxmps3.errors import Corrupt
from rxmps3.log.mps3.names import Stamp
from rxmps3.model import jsontext

__all__ = [
    "LAG",
    "MAX_OPERATION_BYTES",
    "WINDOW",
    "File",
    "Files",
    "Operation",
    "decode",
    "encode",
    "file_of",
    "is_valid",
    "resolve",
]

MAX_OPERATION_BYTES = 64 << 20
LAG = 5000
"""Milliseconds: an operation counts if its time differs by less than this from when the server stored it."""
WINDOW = 2 * LAG + 2000
"""Milliseconds before the newest operation within which operations are replayed on its base.

An operation that its writer had not seen was stored after that writer read, at most ``LAG`` after its own time; and
the newest one's time is at most ``LAG`` after that read. The JavaScript client replays ``LAG`` alone and misses some.
The rest is for stored times that are cut to whole seconds.
"""

File = Mapping[str, Any]
"""``{"version": …, "replication": …}``."""
Files = dict[str, File]
"""By ``<bucket>/<key>``, in the order in which they were added."""


@dataclass(frozen=True)
class Operation:
    """One operation: its writer's state before it, and what it changes.

    Attributes:
        stamp: from its name.
        files: its writer's state before it.
        update: the new version by file; None deletes it.
    """

    stamp: Stamp
    files: Mapping[str, File]
    update: Mapping[str, File | None]


def file_of(version: str) -> File:
    """How an operation names a value."""
    return {"version": version, "replication": ""}


def is_valid(stamp: Stamp, stored: float | None) -> bool:
    """Whether an operation is valid.

    Args:
        stamp: from its name.
        stored: when the server stored it, in milliseconds since the epoch; None if it does not say.
    """
    return stored is None or abs(stamp.time - stored) < LAG


def encode(files: Mapping[str, File], update: Mapping[str, File | None]) -> bytes:
    """The bytes of an operation."""
    return json.dumps({"files": files, "update": {"files": update}}, ensure_ascii=False, indent=2).encode()


def decode(body: bytes, stamp: Stamp, name: str) -> Operation:
    """Read an operation.

    Raises:
        Corrupt: it is none; ``name`` is named.
    """
    what = f"operation {name!r}"
    members = jsontext.decode_bytes(body, what)
    try:
        files = _files(members["files"])
        update = _files(members["update"]["files"])
    except (KeyError, TypeError) as error:
        raise Corrupt(
            f"not in the mps3 format: {error!r:.100}",
            object=what,
            remedy="restore or delete the object; nothing is overwritten",
        ) from None
    return Operation(stamp, {name: file for name, file in files.items() if file is not None}, update)


def _files(value: Any) -> dict[str, File | None]:
    if not isinstance(value, dict):
        raise TypeError("'files' is not an object")
    for name, file in cast("dict[str, Any]", value).items():
        if file is not None and not isinstance(file["version"], str):
            raise TypeError(f"the version of {name!r:.80} is not a string")
    return cast("dict[str, File | None]", value)


def resolve(newest_first: Sequence[Operation]) -> Files:
    """The state after valid operations: the newest one's base, with all of them replayed on it, oldest first.

    Args:
        newest_first: the newest operation and the others within `WINDOW` before it.
    """
    files: Files = dict(newest_first[0].files) if newest_first else {}
    for operation in reversed(newest_first):
        apply(files, operation.update.items())
    return files


def apply(files: Files, update: Iterable[tuple[str, File | None]]) -> None:
    """Change a state in place."""
    for name, file in update:
        if file is not None:
            files[name] = file
        else:
            files.pop(name, None)
