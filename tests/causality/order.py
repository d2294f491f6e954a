"""The causal order of a history: who was before whom.

An operation reads first, all at one moment, and then writes. Its read, and each part of its write, is a node of the
order. How a write falls into parts is the *grain*:

* by key, each key that it writes is a part of its own. Parts of one write are not ordered among each other:
  whoever has seen one need not have seen another. That is causality alone, as the literature defines it.
* whole, the write is one part. Whoever has seen one key of it has seen it all. That is causality and atomicity.

The past of a node is a Python int used as a set of bits, one for each node before it. A history of n operations
takes O(n) unions of O(n) bits: 10,000 operations take a second or two and some 30 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.causality.graphs import Graph, sort_topologically
from tests.causality.history import INIT, Deleted, History, Operation

__all__ = ["INITIAL", "Order", "Reads"]

INITIAL: Final = -1
"""The source of a read that saw a key as never written."""

_ROUNDS = 4
"""How often what is known about reads of "no value" is used to learn more about others."""


class Reads:
    """Where the reads of a history got their values.

    Attributes:
        operations: all operations of the history; elsewhere they are called by their number here.
        previous: per operation the one before it in its session, if any.
        sources: per operation and key read, who wrote what was seen, or `INITIAL`. Keys of which that is not
            known (a value that nobody wrote; "no value" with several explanations) are left out.
        from_nowhere: reads of values that nobody wrote.
        unexplained: reads of "no value" of which it is not known yet what they saw.
    """

    def __init__(self, history: History) -> None:
        self.operations: list[Operation] = list(history.operations)
        self.previous: list[int | None] = [
            number - 1 if operation.index else None for number, operation in enumerate(self.operations)
        ]
        self.sources: list[dict[str, int]] = []
        self.from_nowhere: list[tuple[int, str]] = []
        self.unexplained: list[tuple[int, str]] = []
        number_of = {operation: number for number, operation in enumerate(self.operations)}
        deleted = {key for operation in self.operations for key, value in operation.writes.items() if _deletes(value)}
        for number, operation in enumerate(self.operations):
            known: dict[str, int] = {}
            for key, value in operation.reads.items():
                if value is INIT or (value is None and key not in deleted):
                    known[key] = INITIAL
                elif value is None:
                    self.unexplained.append((number, key))
                elif (writer := history.writer(key, value)) is not None:
                    known[key] = number_of[writer]
                else:
                    self.from_nowhere.append((number, key))
            self.sources.append(known)

    def graph(self) -> Graph:
        """Session order and reads-from, between operations."""
        graph: Graph = [[] for _ in self.operations]
        for number, previous in enumerate(self.previous):
            if previous is not None:
                graph[previous].append(number)
            for source in set(self.sources[number].values()) - {INITIAL}:
                graph[source].append(number)
        return graph

    def explain(self, *, whole: bool) -> Order | None:
        """The causal order, or None if session order and reads-from have a cycle.

        Reads of "no value" are explained by elimination: such a read saw either the beginning, or a delete of that
        key. A single candidate left is the source. No candidate left: then the beginning is taken, which the
        checks find to be wrong. Reads with more candidates stay unexplained, and are not judged.
        """
        for _ in range(_ROUNDS):
            order = Order.of(self, whole=whole)
            if order is None or not self.unexplained:
                return order
            still: list[tuple[int, str]] = []
            for number, key in self.unexplained:
                candidates = order.explanations(number, key)
                if len(candidates) > 1:
                    still.append((number, key))
                else:
                    self.sources[number][key] = candidates[0] if candidates else INITIAL
            if len(still) == len(self.unexplained):
                return order
            self.unexplained = still
        return Order.of(self, whole=whole)


def _deletes(value: object) -> bool:
    return isinstance(value, Deleted)


class Order:
    """The causal order of an acyclic history, at one grain. Nodes are numbered in order of session.

    Attributes:
        reads: where it comes from.
        read_node: per operation its node.
        parts: per operation and key written, the node of that part.
        operation_of: per node its operation.
        past: per operation the nodes that are causally before its writes, as bits: its own read and what is before
            that. No part of its own is among them.
    """

    def __init__(self, reads: Reads, *, whole: bool) -> None:
        self.reads = reads
        self.read_node: list[int] = []
        self.parts: list[dict[str, int]] = []
        self.operation_of: list[int] = []
        self._writers: dict[str, dict[str, int]] = {}
        self._deletes: dict[str, list[int]] = {}
        for number, operation in enumerate(reads.operations):
            self.read_node.append(self._node(number))
            shared = self._node(number) if whole and operation.writes else None
            parts = {key: self._node(number) if shared is None else shared for key in operation.writes}
            self.parts.append(parts)
            for key, part in parts.items():
                by_session = self._writers.setdefault(key, {})
                by_session[operation.session] = by_session.get(operation.session, 0) | 1 << part
                if _deletes(operation.writes[key]):
                    self._deletes.setdefault(key, []).append(number)
        self.past: list[int] = [0] * len(reads.operations)

    @classmethod
    def of(cls, reads: Reads, *, whole: bool) -> Order | None:
        """The causal order, or None if session order and reads-from have a cycle."""
        numbers = sort_topologically(reads.graph())
        if len(numbers) < len(reads.operations):
            return None
        order = cls(reads, whole=whole)
        for number in numbers:
            order._place(number)
        return order

    def _node(self, number: int) -> int:
        self.operation_of.append(number)
        return len(self.operation_of) - 1

    def _place(self, number: int) -> None:
        past = 1 << self.read_node[number]
        previous = self.reads.previous[number]
        if previous is not None:
            past |= self.past[previous]
            for part in set(self.parts[previous].values()):
                past |= 1 << part
        seen: set[int] = set()
        for key, source in self.reads.sources[number].items():
            if source == INITIAL:
                continue
            part = self.parts[source][key]
            if part not in seen:
                seen.add(part)
                past |= self.past[source] | 1 << part
        self.past[number] = past

    def is_before(self, node: int, number: int) -> bool:
        """Whether a node is causally before an operation's writes."""
        return bool(self.past[number] >> node & 1)

    def latest(self, key: str, number: int) -> Iterator[int]:
        """Of each session, the last write of the key that is causally before an operation's read: the part's node.

        These stand for all writes of the key in the past: the others are before them in their session.
        """
        past = self.past[number]
        for written in self._writers.get(key, {}).values():
            known = past & written
            if known:
                yield known.bit_length() - 1

    def explanations(self, number: int, key: str) -> list[int]:
        """Up to two operations (or `INITIAL`) that a read of "no value" may have seen."""
        latest = list(self.latest(key, number))
        found = [] if latest else [INITIAL]
        for delete in self._deletes[key]:
            part = self.parts[delete][key]
            if self.is_before(part, number):
                if any(self.is_before(part, self.operation_of[other]) for other in latest):
                    continue
            elif delete == number or self.is_before(self.read_node[number], delete):
                continue
            found.append(delete)
            if len(found) == 2:
                break
        return found
