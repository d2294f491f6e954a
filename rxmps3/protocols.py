"""The protocols by name: which of them a manifest is in, and what each brings along."""

from __future__ import annotations

from rxmps3.compact import Collector
from rxmps3.layout import Layout
from rxmps3.log.kit import Context, Kit
from rxmps3.log.placing import SequencedPlacing
from rxmps3.log.sequenced import SequencedLog

__all__ = ["open_sequenced"]


def open_sequenced(context: Context) -> Kit:
    """The sequenced log of a manifest."""
    layout = Layout(context.manifest, context.storage.name_limit)
    log = SequencedLog(
        context.storage, layout, context.clock, writer=context.writer, by=context.by, deliver=context.deliver
    )
    collector = Collector(context.storage, layout, log, context.state, context.clock, context.retention)
    return Kit("sequenced", log, SequencedPlacing(layout), collector)
