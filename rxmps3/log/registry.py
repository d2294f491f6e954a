"""The protocols by name, best first: detecting a manifest's protocol and opening its kit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, get_args

from rxmps3.errors import Error, InvalidInput, InvalidOption, Unsupported
from rxmps3.log.codec import sequenced_names
from rxmps3.log.detect import Choice, IsThere
from rxmps3.log.protocol import Context, Kit, ProtocolName
from rxmps3.model.state import Inline, Write
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Storage

__all__ = ["PROTOCOLS", "checked_choice", "default_manifest", "examine", "fits", "is_there", "open_kit", "protocol_of"]


class _Protocol(NamedTuple):
    """The interface of a protocol's package."""

    open_kit: Callable[[Context], Kit]
    is_there: Callable[[Storage, str], Awaitable[bool]]
    probe: Callable[[Storage, Clock], Awaitable[None]]


PROTOCOLS: tuple[ProtocolName, ...] = ("sequenced", "versioned", "mps3")
"""Best first."""


def _package(protocol: ProtocolName) -> _Protocol:
    """Imported only when it is used; most programs use one."""
    match protocol:
        case "sequenced":
            from rxmps3.log import sequenced

            return _Protocol(sequenced.open_kit, sequenced.is_there, sequenced.probe)
        case "versioned":
            from rxmps3.log import versioned

            return _Protocol(versioned.open_kit, versioned.is_there, versioned.probe)
        case "mps3":
            from rxmps3.log import mps3

            return _Protocol(mps3.open_kit, mps3.is_there, mps3.probe)


def open_kit(protocol: ProtocolName, context: Context) -> Kit:
    """Open one manifest in a protocol."""
    return _package(protocol).open_kit(context)


async def _is_there(protocol: ProtocolName, storage: Storage, manifest: str) -> bool:
    return await _package(protocol).is_there(storage, manifest)


async def examine(storage: Storage, clock: Clock) -> dict[ProtocolName, Error | None]:
    """What stands in the way of each protocol, best first, by the probes that decide for ``protocol="auto"``.

    `Unsupported` means that the storage cannot carry it; any other error, that its probe could not be completed.
    """
    found: dict[ProtocolName, Error | None] = {}
    for protocol in PROTOCOLS:
        try:
            await _package(protocol).probe(storage, clock)
        except Error as error:
            found[protocol] = error
        else:
            found[protocol] = None
    return found


def is_there(storage: Storage, manifest: str) -> dict[ProtocolName, IsThere]:
    """For each protocol, best first, a function that checks whether a manifest exists in it."""
    return {protocol: partial(_is_there, protocol, storage, manifest) for protocol in PROTOCOLS}


async def protocol_of(storage: Storage, manifest: str) -> ProtocolName | None:
    """The protocol of a manifest; None if the manifest does not exist. Writes nothing.

    Raises:
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    for protocol, found in is_there(storage, manifest).items():
        try:
            if await found():
                return protocol
        except (InvalidInput, Unsupported):
            continue  # that protocol cannot have a manifest of this name, or in this storage
    return None


def fits(protocol: ProtocolName, write: Write) -> bool:
    """Whether a write's values are stored where the protocol puts them."""
    contents = [(key, entry.content) for key, entry in write.update.items() if entry is not None]
    ours = all(
        isinstance(content, Inline) or content.offset is not None or sequenced_names(content.name, key)
        for key, content in contents
    )
    return ours if protocol == "sequenced" else not ours or not contents


def checked_choice(protocol: str) -> Choice:
    """Return the protocol name if it is valid. Raises `InvalidOption` otherwise."""
    for choice in get_args(Choice):
        if protocol == choice:
            return choice
    raise InvalidOption(
        f"there is no protocol {protocol!r}", operation="connect", remedy=f"one of {', '.join(get_args(Choice))}"
    )


def default_manifest(protocol: str) -> str:
    """The name of the manifest that is opened by default."""
    return "manifest.json" if protocol == "mps3" else "main"
