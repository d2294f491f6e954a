"""Writes that rest on something: up to which they may be sent, and what becomes of one whose basis is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rxmps3.errors import Conflict, Corrupt, InvalidInput, Rejected
from rxmps3.log.protocol import Log
from rxmps3.model.conditions import Conditions, broken, seen
from rxmps3.model.state import Entry, Refused, Write, WriteId
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.values import Values

__all__ = ["ConditionChecker", "Derived"]

_LOOKS = 2
"""So often the end of the log is looked for at most while news keep coming."""


class Derived(NamedTuple):
    """What is made of the present values: canonical texts by key, None for no value, and what they now rest on."""

    texts: Mapping[str, str | None]
    conditions: Conditions


class ConditionChecker:
    """Judges the pending writes that have a basis.

    Args:
        remake: gives a pending write other values; says whether it is pending still.
    """

    def __init__(
        self, log: Log, dataflow: Dataflow, values: Values, remake: Callable[[WriteId, Derived], bool]
    ) -> None:
        self._log = log
        self._dataflow = dataflow
        self._values = values
        self._remake = remake
        self._read_since = 0  # pending writes with a lower ordinal were made before the last read of the log began

    def standing(self, ready: Sequence[Write]) -> list[Write]:
        """Of the oldest pending writes those before the first whose basis does not hold as far as the log is known."""
        if all(write.conditions is None for write in ready):
            return list(ready)
        confirmed = self._dataflow.view.confirmed.entries
        ahead: dict[str, Entry | None] = {}
        for index, write in enumerate(ready):
            if write.conditions is not None and broken(write.conditions, confirmed, ahead):
                return list(ready[:index])
            ahead.update(write.update)
        return list(ready)

    async def reconsider(self) -> list[WriteId]:
        """Look whether the pending writes rest on what is there; refuse those that do not, or make them anew.

        A write is judged by a state that has all that was committed before it was made; one that needs a newer look is
        left for the next call.

        Returns:
            Those that were made anew.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: not all could be decided.
        """
        if self._needs_a_look():
            self._read_since = await self._look()
        remade: list[WriteId] = []
        view = self._dataflow.view
        confirmed = view.confirmed
        ahead: dict[str, Entry | None] = {}
        for id in [write.id for write in view.queue()]:
            pending, now = self._dataflow.view.pending.get(id), self._dataflow.view.confirmed
            if now is not confirmed or (pending is not None and pending.ordinal >= self._read_since):
                break
            if pending is None:
                continue
            conditions = pending.write.conditions
            what = "" if conditions is None else broken(conditions, confirmed.entries, ahead)
            if conditions is not None and what:
                if not await self._mend(id, conditions, what, ahead):
                    continue
                remade.append(id)
            pending = self._dataflow.view.pending.get(id)
            if pending is not None:
                ahead.update(pending.write.update)
        return remade

    async def _look(self) -> int:
        """Read to the end of the log; the ordinal from which on writes were made after that began."""
        newest = self._dataflow.view.next_ordinal
        for _ in range(_LOOKS):
            before = self._log.reached
            await self._log.read()
            if self._log.reached == before:
                break  # while much was read, more may have come, and what is made of it would come too late
        return newest

    def _needs_a_look(self) -> bool:
        """Whether there is a write to be judged that was made since the last look began."""
        view = self._dataflow.view
        queue = view.queue()
        standing = len(self.standing(queue))
        return standing < len(queue) and view.pending[queue[standing].id].ordinal >= self._read_since

    async def _mend(self, id: WriteId, conditions: Conditions, what: str, ahead: Mapping[str, Entry | None]) -> bool:
        """Make a write anew whose basis does not hold; False if it is refused or over."""
        if not conditions.derived:
            remedy = "read again and decide again"
            self._refuse(Conflict(what, operation="commit", object=f"write {id.version}", remedy=remedy), id)
            return False
        confirmed = self._dataflow.view.confirmed.entries
        there = {key: ahead[key] if key in ahead else confirmed.get(key) for key in conditions.keys}
        try:
            return self._remake(id, await self._derive(conditions, there))
        except (Corrupt, InvalidInput) as error:
            rejected = Rejected(f"cannot be made of what is there now: {error}", operation="commit")
            rejected.__cause__ = error
            self._refuse(rejected, id)
            return False

    async def _derive(self, conditions: Conditions, there: Mapping[str, Entry | None]) -> Derived:
        before = {key: await self._values.fetch(entry) for key, entry in there.items() if entry is not None}
        texts = {key: derivation.apply(before.get(key)) for key, derivation in conditions.derived.items()}
        return Derived(
            texts, Conditions({key: seen(entry) for key, entry in there.items()}, derived=conditions.derived)
        )

    def _refuse(self, error: Rejected, id: WriteId) -> None:
        self._dataflow.refusals.on_next(Refused(id, error))
