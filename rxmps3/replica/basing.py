"""Writes that rest on something: up to which they may be sent, and what becomes of one whose basis is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rxmps3.basis import Basis, broken
from rxmps3.errors import Conflict, Corrupt, InvalidInput, Rejected
from rxmps3.log.base import Log
from rxmps3.replica.timeline import Timeline
from rxmps3.state import Entry, Refused, View, Write, WriteId
from rxmps3.values import Values

__all__ = ["Basing", "Derived"]

Ahead = dict[str, Entry | None]
"""What own earlier pending writes make of the confirmed state."""


class Derived(NamedTuple):
    """What is made of the present values: canonical texts by key, and what they now rest on."""

    texts: Mapping[str, str]
    basis: Basis


class Basing:
    """Judges the pending writes that have a basis.

    Args:
        remake: gives a pending write other values.
    """

    def __init__(
        self, log: Log, timeline: Timeline, values: Values, remake: Callable[[WriteId, Derived], None]
    ) -> None:
        self._log = log
        self._timeline = timeline
        self._values = values
        self._remake = remake
        self._read_since = 0  # pending writes with a lower ordinal were made before the last read of the log began

    def standing(self, ready: Sequence[Write]) -> list[Write]:
        """Of the oldest pending writes those before the first whose basis does not hold as far as the log is known."""
        confirmed = self._timeline.view.confirmed.entries
        ahead: Ahead = {}
        for index, write in enumerate(ready):
            if write.basis is not None and broken(write.basis, confirmed, ahead):
                return list(ready[:index])
            ahead.update(write.update)
        return list(ready)

    async def reconsider(self, id: WriteId) -> None:
        """Look whether a write's basis holds at the end of the log; if not, refuse the write, or make it anew.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: nothing was decided.
        """
        view = self._timeline.view
        if id in view.pending and view.pending[id].ordinal >= self._read_since:
            await self._log.read()
            self._read_since = view.next_ordinal
            view = self._timeline.view
        if id not in view.pending:
            return
        basis, ahead = view.pending[id].write.basis, _ahead_of(view, id)
        what = "" if basis is None else broken(basis, view.confirmed.entries, ahead)
        if basis is None or not what:
            return
        if not basis.derived:
            remedy = "read again and decide again"
            self._refuse(Conflict(what, operation="commit", object=f"write {id.version}", remedy=remedy), id)
            return
        there = {key: ahead[key] if key in ahead else view.confirmed.entries.get(key) for key in basis.versions}
        try:
            derived = await self._derive(basis, there)
        except (Corrupt, InvalidInput) as error:
            rejected = Rejected(f"cannot be made of what is there now: {error}", operation="commit")
            rejected.__cause__ = error
            self._refuse(rejected, id)
        else:
            self._remake(id, derived)

    async def _derive(self, basis: Basis, there: Mapping[str, Entry | None]) -> Derived:
        before = {key: await self._values.fetch(entry) for key, entry in there.items() if entry is not None}
        texts = {key: derivation.apply(before.get(key)) for key, derivation in basis.derived.items()}
        versions = {key: None if entry is None else entry.version for key, entry in there.items()}
        return Derived(texts, Basis(versions, derived=basis.derived))

    def _refuse(self, error: Rejected, id: WriteId) -> None:
        self._timeline.submit(Refused(id, error))


def _ahead_of(view: View, id: WriteId) -> Ahead:
    ahead: Ahead = {}
    for write in view.queue():
        if write.id == id:
            break
        ahead.update(write.update)
    return ahead
