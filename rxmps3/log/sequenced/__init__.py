"""The sequenced log: one object per version, created if absent; a commit's position is known before it is sent."""

from __future__ import annotations

from rxmps3.log.protocol import Context, Kit
from rxmps3.log.sequenced.archive import SequencedArchive
from rxmps3.log.sequenced.collector import SequencedCollector
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.log.sequenced.placing import SequencedPlacing
from rxmps3.log.sequenced.probe import ensure_conditional_writes
from rxmps3.model.names import Layout
from rxmps3.storage.base import Missing, Storage

__all__ = ["is_there", "open_kit", "probe"]


def open_kit(context: Context) -> Kit:
    """The sequenced log of a manifest."""
    layout = Layout(context.manifest, context.storage.name_limit)
    log = SequencedLog(context.storage, layout, context.clock, writer=context.writer, by=context.by, kept=context.kept)
    collector = SequencedCollector(context.storage, layout, log, context.state, context.clock, context.retention)
    archive = SequencedArchive(context.storage, layout, log, context.clock)
    return Kit("sequenced", log, SequencedPlacing(layout), collector, linear=True, archive=archive)


probe = ensure_conditional_writes


async def is_there(storage: Storage, manifest: str) -> bool:
    """Whether there is a sequenced manifest of this name."""
    return not isinstance(await storage.get(Layout(manifest, storage.name_limit).head), Missing)
