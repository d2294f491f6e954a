"""The protocols by name, best first: whether a manifest is in one of them, and what each brings along."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from rxmps3.compact import Collector
from rxmps3.errors import InvalidOption
from rxmps3.layout import Layout
from rxmps3.log import versioned
from rxmps3.log.archive import Archive
from rxmps3.log.choosing import Choice, IsThere
from rxmps3.log.codec import sequenced_names
from rxmps3.log.kit import Context, Kit, ProtocolName
from rxmps3.log.mps3 import kit as mps3
from rxmps3.log.placing import SequencedPlacing
from rxmps3.log.sequenced import SequencedLog
from rxmps3.state import Inline, Write
from rxmps3.storage.base import Missing, Storage

__all__ = ["PROTOCOLS", "checked_choice", "default_manifest", "fits", "is_there", "open_kit"]


def open_sequenced(context: Context) -> Kit:
    """The sequenced log of a manifest."""
    layout = Layout(context.manifest, context.storage.name_limit)
    log = SequencedLog(
        context.storage, layout, context.clock, writer=context.writer, by=context.by, deliver=context.deliver
    )
    collector = Collector(context.storage, layout, log, context.state, context.clock, context.retention)
    archive = Archive(context.storage, layout, log, context.clock)
    return Kit("sequenced", log, SequencedPlacing(layout), collector, linear=True, archive=archive)


async def is_sequenced(storage: Storage, manifest: str) -> bool:
    """Whether there is a sequenced manifest of this name."""
    return not isinstance(await storage.get(Layout(manifest, storage.name_limit).head), Missing)


_OPENERS: dict[ProtocolName, Callable[[Context], Kit]] = {
    "sequenced": open_sequenced,
    "versioned": versioned.open_kit,
    "mps3": mps3.open_kit,
}
_SEEKERS = {"sequenced": is_sequenced, "versioned": versioned.is_there, "mps3": mps3.is_there}

PROTOCOLS: tuple[ProtocolName, ...] = tuple(_OPENERS)
"""Best first."""


def open_kit(protocol: ProtocolName, context: Context) -> Kit:
    """What a protocol brings along for one manifest."""
    return _OPENERS[protocol](context)


def is_there(storage: Storage, manifest: str) -> dict[ProtocolName, IsThere]:
    """For each protocol, best first, how to find out whether a manifest is there in it."""
    return {protocol: partial(_SEEKERS[protocol], storage, manifest) for protocol in PROTOCOLS}


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
