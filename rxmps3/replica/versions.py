"""The events of the log as the versions that observers get. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxmps3.log.protocol import LogEvent
from rxmps3.model.state import Committed, Loaded, ManifestVersion, Replayed

__all__ = ["Reset", "versions_of"]


@dataclass(frozen=True)
class Reset:
    """The state was reloaded from a checkpoint: the versions up to this one are no longer in the log."""

    id: str


def versions_of(event: LogEvent, *, loaded: bool) -> Sequence[ManifestVersion | Reset]:
    """The versions in an event; ``loaded`` says whether a state was loaded before it."""
    match event:
        case Committed(version):
            return (version,)
        case Replayed(versions=versions, told=False):
            return versions
        case Loaded(state) if loaded and state.version:
            return (Reset(state.version),)
        case _:
            return ()
