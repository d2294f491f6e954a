"""Black-box checks: from what sessions wrote and saw alone, whether it was causally consistent, and atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.causality.graphs import Graph, find_cycles
from tests.causality.history import History, Operation, shown
from tests.causality.order import INITIAL, Order, Reads
from tests.causality.violations import Pattern, Violation

__all__ = ["check_atomic", "check_ccv"]


def check_ccv(history: History) -> list[Violation]:
    """Check for causal convergence (CCv): causality, and that everyone ends up with the same.

    Writes of several keys are not taken as atomic here (`check_atomic` does that); what one read sees is.
    The checker looks for the bad patterns of Bouajjani et al.; a history without them has the property, and one
    with any of them has not. Where session order and reads-from have a cycle, the patterns that presuppose an
    order are not looked for.

    Source: Bouajjani, Enea, Guerraoui, Hamza, "On verifying causal consistency", POPL 2017.

    Returns:
        violations by CyclicCO, ThinAirRead, WriteCOInitRead (for every read), WriteCORead (for every pair of
        writes, at most one a read), CyclicCF (for every set of writes that are all before each other, which takes
        in those of WriteCORead). Empty if all is well.
    """
    reads = Reads(history)
    order = reads.explain(whole=False)
    violations = list(_reads_from_nowhere(reads))
    if order is None:
        return [*_cyclic_co(reads), *violations]
    conflicts = _conflicts(order)
    violations += _overlooked(order)
    violations += _overwritten(order, conflicts)
    violations += _disagreements(order, conflicts, Pattern.CYCLIC_CF)
    return violations


def check_atomic(history: History) -> list[Violation]:
    """Check that there is one order of the writes, taken as wholes, that explains all reads.

    By saturation: wherever a read sees key x of write a, and another write b of x is before that read in session
    order and reads-from, b must be before a. Session order, reads-from and what was added must have no cycle.
    This is the stronger check: whatever `check_ccv` finds, it finds too, if by another name.

    Source: Biswas, Enea, "On the complexity of checking transactional consistency", OOPSLA 2019, for
    transactional causal consistency. Fractured reads are those of Bailis et al., "Scalable atomic visibility with
    RAMP transactions", SIGMOD 2014, as far as the order of the writes is known.

    Returns:
        violations by CyclicCO, ThinAirRead, FracturedRead (half of a write in one observation), CyclicAtomic
        (whatever else has no such order, and every fractured read again). Empty if all is well.
    """
    reads = Reads(history)
    order = reads.explain(whole=True)
    violations = list(_reads_from_nowhere(reads))
    if order is None:
        return [*_cyclic_co(reads), *violations]
    violations += _fractured(order)
    violations += (
        Violation(Pattern.CYCLIC_ATOMIC, violation.operations, violation.explanation)
        for violation in _overlooked(order)
    )
    violations += _disagreements(order, _conflicts(order), Pattern.CYCLIC_ATOMIC)
    return violations


def _reads_from_nowhere(reads: Reads) -> Iterator[Violation]:
    for number, key in reads.from_nowhere:
        read = reads.operations[number]
        text = f"{_name(read)} reads {key}={shown(read.reads[key])}, which nobody wrote"
        yield Violation(Pattern.THIN_AIR_READ, (read,), text)


def _cyclic_co(reads: Reads) -> Iterator[Violation]:
    for cycle in find_cycles(reads.graph()):
        yield _cycle(Pattern.CYCLIC_CO, reads, cycle, lambda before, after: _link(reads, before, after))


def _overlooked(order: Order) -> Iterator[Violation]:
    """WriteCOInitRead: reads of the beginning with a write in their past."""
    for number, sources in enumerate(order.reads.sources):
        for key, source in sources.items():
            if source != INITIAL:
                continue
            part = next(order.latest(key, number), None)
            if part is None:
                continue
            read, write = order.reads.operations[number], order.reads.operations[order.operation_of[part]]
            seen = "as never written" if read.reads[key] is not None else "without a value, which no delete explains"
            text = f"{_name(read)} sees {key} {seen}, though {_wrote(write, key)} is causally before it"
            yield Violation(Pattern.WRITE_CO_INIT_READ, (write, read), text)


_Conflicts = dict[tuple[int, int], tuple[int, str]]
"""Pairs of nodes, writes of one key, of which the first must be before the second; and the read and key that say so."""


def _conflicts(order: Order) -> _Conflicts:
    """CF: w1 before w2 if w1 is causally before a read that, of their key, saw w2."""
    conflicts: _Conflicts = {}
    for number, sources in enumerate(order.reads.sources):
        for key, source in sources.items():
            if source == INITIAL:
                continue
            part = order.parts[source][key]
            for other in order.latest(key, number):
                if other != part and (other, part) not in conflicts:
                    conflicts[other, part] = (number, key)
    return conflicts


def _overwritten(order: Order, conflicts: _Conflicts) -> Iterator[Violation]:
    """WriteCORead: conflicts against the causal order, one for each read that gives rise to any."""
    told: set[tuple[int, str]] = set()
    operations = order.reads.operations
    for (later, part), (number, key) in conflicts.items():
        if (number, key) in told or not order.is_before(part, order.operation_of[later]):
            continue
        told.add((number, key))
        write, over, read = (operations[n] for n in (order.operation_of[part], order.operation_of[later], number))
        text = (
            f"{_name(read)} reads {_wrote(write, key)}, though {_wrote(over, key)} "
            "is causally after that write and before the read"
        )
        yield Violation(Pattern.WRITE_CO_READ, (write, over, read), text)


def _disagreements(order: Order, conflicts: _Conflicts, pattern: Pattern) -> Iterator[Violation]:
    """Cycles in the causal order and the conflicts."""
    reads = order.reads
    graph: Graph = [[] for _ in order.operation_of]
    for number, (previous, sources) in enumerate(zip(reads.previous, reads.sources, strict=True)):
        node = order.read_node[number]
        for part in set(order.parts[number].values()):
            graph[node].append(part)
        if previous is not None:
            for before in (order.read_node[previous], *set(order.parts[previous].values())):
                graph[before].append(node)
        for before in {order.parts[source][key] for key, source in sources.items() if source != INITIAL}:
            graph[before].append(node)
    for before, after in conflicts:
        graph[before].append(after)

    def link(before: int, after: int) -> str:
        if (before, after) not in conflicts:
            return _link(reads, order.operation_of[before], order.operation_of[after])
        read, key = conflicts[before, after]
        return f"must precede (by {key} in: {reads.operations[read]})"

    for cycle in find_cycles(graph):
        yield _cycle(pattern, reads, cycle, link, order.operation_of)


def _fractured(order: Order) -> Iterator[Violation]:
    """Reads that see one key of a write, and of another key of it something that is not after it."""
    operations = order.reads.operations
    for number, sources in enumerate(order.reads.sources):
        seen_of: dict[int, list[str]] = {}
        for key, source in sources.items():
            if source != INITIAL:
                seen_of.setdefault(source, []).append(key)
        mutual: set[int] = set()
        for source, seen in seen_of.items():
            write, part = operations[source], order.parts[source][seen[0]]
            for key in write.writes:
                other = sources.get(key, source)
                if other == source or other in mutual:
                    continue
                if other == INITIAL or order.is_before(order.parts[other][key], source):
                    missed = f"{key} as it was before"
                elif not order.is_before(part, other) and any(old in operations[other].writes for old in seen):
                    missed = f"{key} of {_name(operations[other])}, which writes both, too"
                    mutual.add(source)
                else:
                    continue
                read = operations[number]
                text = f"{_name(read)} sees {_wrote(write, seen[0])} of the write {write.id!r}, but {missed}"
                involved = (write, read) if other == INITIAL else (write, operations[other], read)
                yield Violation(Pattern.FRACTURED_READ, involved, text)
                break


def _name(operation: Operation) -> str:
    return f"{operation.session}#{operation.index}"


def _wrote(write: Operation, key: str) -> str:
    return f"{key}={shown(write.writes[key])} (by {_name(write)})"


def _link(reads: Reads, before: int, after: int) -> str:
    """Why one operation is before another."""
    if reads.operations[before].session == reads.operations[after].session and before < after:
        return "then, in its session,"
    key = next(key for key, source in reads.sources[after].items() if source == before)
    return f"whose {key} is read by"


def _cycle(
    pattern: Pattern,
    reads: Reads,
    nodes: list[int],
    link: Callable[[int, int], str],
    operation_of: list[int] | None = None,
) -> Violation:
    """A violation from a cycle of nodes, told step by step; steps within one operation are left out."""
    involved: list[Operation] = []
    words: list[str] = []
    for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        number, next_number = (
            (node, following) if operation_of is None else (operation_of[node], operation_of[following])
        )
        if number == next_number and len(nodes) > 1:
            continue
        reason = link(node, following)
        involved.append(reads.operations[number])
        words.append(f"{reads.operations[number]} – {reason}")
    return Violation(pattern, tuple(involved), " ".join([*words, str(involved[0])]))
