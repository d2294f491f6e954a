"""Decides who is here, from a listing and the server's clock. Pure.

Each client has an object whose body is::

    {"format": 1, "by": "ana", "since": "2026-11-22T10:00:00+00:00", "me": {"cursor": 12}}

A sign of life writes the same bytes again, so that only the object's ``LastModified`` moves: that is when the client
was last seen, and by the same clock as the ``Date`` of the listing. No client's clock decides anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any, cast

from rxmps3.errors import Corrupt, InvalidValue, Unsupported
from rxmps3.model import jsontext
from rxmps3.model.seal import sealed

__all__ = [
    "ID_CHARACTERS",
    "MAX_BODY_BYTES",
    "MAX_ME_BYTES",
    "RUBBISH_AFTER",
    "Participant",
    "Said",
    "Sighting",
    "decode",
    "encode",
    "encode_me",
    "id_of",
    "is_alive",
    "rendered",
    "who_is_here",
]

FORMAT = 1
ID_CHARACTERS = 12
MAX_ME_BYTES = 4096
"""The longest ``me``, as JSON text."""
MAX_BODY_BYTES = 64 << 10
"""No body longer than this is read."""
RUBBISH_AFTER = timedelta(days=1)
"""Any client that sees an object that was not renewed for this long deletes it."""
_ID = re.compile(rf"[0-9a-v]{{{ID_CHARACTERS}}}")


@dataclass(frozen=True)
class Participant:
    """A client that is here.

    Attributes:
        id: its id, a new one for each presence that is made.
        me: what it says about itself.
        by: the name it was connected with, unverified.
        since: when it arrived, by the storage's clock.
        seen: its last sign of life, by the storage's clock. Ignored when participants are compared.
    """

    id: str
    me: Any
    by: str
    since: datetime
    seen: datetime = field(compare=False)


@dataclass(frozen=True, slots=True)
class Said:
    """What a client's object says, ``me`` as JSON text."""

    me: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """A client's object as it was last seen."""

    said: Said
    modified: datetime


def id_of(name: str, folder: str) -> str | None:
    """The id in an object's name; None if it is not a client's object."""
    id = name.removeprefix(folder)
    return id if name.startswith(folder) and _ID.fullmatch(id) else None


def is_alive(modified: datetime, now: datetime, ttl: timedelta) -> bool:
    """Whether a client whose object has that age is still here; both times are the storage's."""
    return now - modified <= ttl


def who_is_here(seen: Mapping[str, Sighting], now: datetime, ttl: timedelta) -> dict[str, Sighting]:
    """Those whose last sign of life is no older than the ttl, in the order of arrival."""
    here = ((id, one) for id, one in seen.items() if is_alive(one.modified, now, ttl))
    return dict(sorted(here, key=lambda item: (item[1].said.since, item[0])))


def rendered(here: Mapping[str, Sighting]) -> dict[str, Participant]:
    """What a reader gets: its own copies."""
    return {
        id: Participant(id, jsontext.decode(one.said.me), one.said.by, one.said.since, one.modified)
        for id, one in here.items()
    }


def encode_me(me: Any) -> str:
    """The text of what a client says about itself.

    Raises:
        InvalidValue: JSON cannot express it, or it is too long for an object that everybody reads.
    """
    text = jsontext.encode(me, "presence")
    if (size := len(text.encode())) > MAX_ME_BYTES:
        raise InvalidValue(
            f"{size:,} bytes long, {MAX_ME_BYTES:,} are allowed", object="presence", remedy="put the rest in a key"
        )
    return text


def encode(said: Said) -> bytes:
    """The body of a client's object."""
    head = {"format": FORMAT, "by": said.by, "since": said.since.isoformat()}
    return sealed(f'{jsontext.encode(head)[:-1]},"me":{said.me}}}'.encode())


def decode(body: bytes, what: str) -> Said:
    """What the body of a client's object says.

    Raises:
        Corrupt: it is not the body of a client's object.
        Unsupported: it is of a newer format.
    """
    value = jsontext.decode_bytes(body, what)
    if not isinstance(value, dict):
        raise Corrupt("not what a client says about itself", object=what)
    members = cast("dict[str, Any]", value)
    if type(members.get("format")) is not int:
        raise Corrupt("it names no format", object=what)
    if members["format"] != FORMAT:
        raise Unsupported(f"format {members['format']}", object=what, remedy="upgrade rxmps3")
    by, since = members.get("by"), _moment(members.get("since"))
    if "me" not in members or not isinstance(by, str) or since is None:
        raise Corrupt("not what a client says about itself", object=what)
    return Said(jsontext.encode(members["me"], what), by, since)


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < MAXYEAR else None  # so that any time zone can show it
