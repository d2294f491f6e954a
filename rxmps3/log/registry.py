"""The protocols by name, best first: whether a manifest is in one of them, and what each brings along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, get_args

from rxmps3.errors import InvalidInput, InvalidOption, Unsupported
from rxmps3.log import mps3, sequenced, versioned
from rxmps3.log.codec import sequenced_names
from rxmps3.log.detect import Choice, IsThere
from rxmps3.log.protocol import Context, Kit, ProtocolName
from rxmps3.model.state import Inline, Write
from rxmps3.storage.base import Storage

__all__ = ["PROTOCOLS", "checked_choice", "default_manifest", "fits", "is_there", "open_kit", "protocol_of"]


class _Protocol(NamedTuple):
    """What a protocol's package offers."""

    open_kit: Callable[[Context], Kit]
    is_there: Callable[[Storage, str], Awaitable[bool]]


_PROTOCOLS: dict[ProtocolName, _Protocol] = {
    "sequenced": _Protocol(sequenced.open_kit, sequenced.is_there),
    "versioned": _Protocol(versioned.open_kit, versioned.is_there),
    "mps3": _Protocol(mps3.open_kit, mps3.is_there),
}

PROTOCOLS: tuple[ProtocolName, ...] = tuple(_PROTOCOLS)
"""Best first."""


def open_kit(protocol: ProtocolName, context: Context) -> Kit:
    """What a protocol brings along for one manifest."""
    return _PROTOCOLS[protocol].open_kit(context)


def is_there(storage: Storage, manifest: str) -> dict[ProtocolName, IsThere]:
    """For each protocol, best first, how to find out whether a manifest is there in it."""
    return {protocol: partial(_PROTOCOLS[protocol].is_there, storage, manifest) for protocol in PROTOCOLS}


async def protocol_of(storage: Storage, manifest: str) -> ProtocolName | None:
    """The protocol that a manifest is in; None if there is no such manifest. Writes nothing.

    Raises:
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    for protocol, found in is_there(storage, manifest).items():
        try:
            if await found():
                return protocol
        except (InvalidInput, Unsupported):
            continue  # no manifest of that protocol can have this name, or be in this storage
    return None


def fits(protocol: ProtocolName, write: Write) -> bool:
    """Whether a write has its values where the protocol puts them."""
    contents = [(key, entry.content) for key, entry in write.update.items() if entry is not None]
    ours = all(isinstance(content, Inline) or sequenced_names(content.name, key) for key, content in contents)
    return ours if protocol == "sequenced" else not ours or not contents


def checked_choice(protocol: str) -> Choice:
    """The protocol that a user asked for. Raises `InvalidOption` if there is none of this name."""
    for choice in get_args(Choice):
        if protocol == choice:
            return choice
    raise InvalidOption(
        f"there is no protocol {protocol!r}", operation="connect", remedy=f"one of {', '.join(get_args(Choice))}"
    )


def default_manifest(protocol: str) -> str:
    """The manifest that is opened if none is named."""
    return "manifest.json" if protocol == "mps3" else "main"
