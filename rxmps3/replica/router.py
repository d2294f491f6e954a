"""Routes each step to the streams it concerns: the cost depends on the change, not on the number of observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Protocol

from reactivex.abc import DisposableBase

from rxmps3.model.state import Changes, EntryChange, State, Step
from rxmps3.operators.ending import Ending

__all__ = ["Router", "Sink", "Turn"]


class Turn:
    """One step in the order of delivery: turn ``number`` goes to the sinks added before it.

    ``before`` is the confirmed state before the step.
    """

    __slots__ = ("before", "number", "step")

    def __init__(self, number: int, step: Step, before: State | None = None) -> None:
        self.number = number
        self.step = step
        self.before = step.view.confirmed if before is None else before


class Sink(Protocol):
    """One subscription to the view."""

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        """Receive the changes of a turn that it subscribed to; never raises."""
        ...


class Router:
    """Keeps which sinks subscribed to which keys.

    The sinks of one turn are served in subscription order, each once, with all its changes.
    """

    def __init__(self) -> None:
        self._order = count()
        self._by_key: dict[str, dict[int, Sink]] = {}
        self._by_prefix: dict[str, dict[int, Sink]] = {}
        self._prefix_lengths: dict[int, int] = {}
        self._every: dict[int, Sink] = {}
        self._last: list[Callable[[Turn], None]] = []

    def add_keys(self, keys: Iterable[str], sink: Sink) -> DisposableBase:
        """Route the changes of these keys to a sink until disposed."""
        order, asked = next(self._order), tuple(dict.fromkeys(keys))
        for key in asked:
            self._by_key.setdefault(key, {})[order] = sink
        return _OfKeys(self._by_key, order, asked)

    def add_prefix(self, prefix: str, sink: Sink) -> DisposableBase:
        """Route the changes of all keys that start with ``prefix`` to a sink until disposed."""
        order, length = next(self._order), len(prefix)
        self._by_prefix.setdefault(prefix, {})[order] = sink
        self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1

        def remove() -> None:
            sinks = self._by_prefix[prefix]
            del sinks[order]
            if not sinks:
                del self._by_prefix[prefix]
            self._prefix_lengths[length] -= 1
            if not self._prefix_lengths[length]:
                del self._prefix_lengths[length]

        return Ending(remove)

    def add_every(self, sink: Sink) -> DisposableBase:
        """Route every turn to a sink until disposed, with all its changes."""
        order = next(self._order)
        self._every[order] = sink

        def remove() -> None:
            del self._every[order]

        return Ending(remove)

    def add_last(self, take: Callable[[Turn], None]) -> None:
        """Deliver every turn to this one after all other sinks."""
        self._last.append(take)

    def deliver(self, turn: Turn) -> None:
        """Serve every sink that a turn concerns."""
        concerned: dict[int, tuple[Sink, Sequence[EntryChange]]] = {}
        if self._by_key or self._by_prefix:
            asked: dict[int, tuple[Sink, list[EntryChange]]] = {}
            for change in self._asked_for(turn.step.changes):
                for sinks in self._interested(change.key):
                    for order, sink in sinks.items():
                        if order in asked:
                            asked[order][1].append(change)
                        else:
                            asked[order] = (sink, [change])
            concerned.update(asked)
        for order, sink in self._every.items():
            concerned[order] = (sink, turn.step.changes)
        for order in sorted(concerned):
            sink, changes = concerned[order]
            sink.receive(turn, changes)
        for take in self._last:
            take(turn)

    def _asked_for(self, changes: Sequence[EntryChange]) -> Sequence[EntryChange]:
        """The changes without some that no sink has asked for."""
        if not isinstance(changes, Changes) or "" in self._by_prefix:
            return changes
        by_key = self._by_key
        keys = [key for key in changes.keys if key in by_key or (self._by_prefix and self._interested(key))]
        return changes if len(keys) == len(changes.keys) else changes.at(keys)

    def _interested(self, key: str) -> list[dict[int, Sink]]:
        found = [sinks] if (sinks := self._by_key.get(key)) is not None else []
        for length in self._prefix_lengths:
            if (sinks := self._by_prefix.get(key[:length])) is not None and length <= len(key):
                found.append(sinks)
        return found


class _OfKeys(DisposableBase):
    """One sink's part in the sinks of some keys, until disposed."""

    __slots__ = ("_asked", "_by_key", "_order")

    def __init__(self, by_key: dict[str, dict[int, Sink]], order: int, asked: tuple[str, ...]) -> None:
        self._by_key = by_key
        self._order = order
        self._asked = asked

    def dispose(self) -> None:
        asked, self._asked = self._asked, ()
        for key in asked:
            sinks = self._by_key[key]
            del sinks[self._order]
            if not sinks:
                del self._by_key[key]
