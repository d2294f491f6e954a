"""Directed graphs as lists of successors: topological order, and one short cycle per tangle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

__all__ = ["Graph", "find_cycles", "sort_topologically"]

Graph = list[list[int]]
"""Per node, its successors."""

_STARTS = 50
_EFFORT = 20_000
"""From how many nodes of a tangle the shortest cycle is looked for at the most, and how many nodes that may take."""


def sort_topologically(graph: Graph) -> list[int]:
    """The nodes, each after its predecessors; short of those that lie on or after a cycle."""
    missing = [0] * len(graph)
    for successors in graph:
        for node in successors:
            missing[node] += 1
    ready = [node for node, count in enumerate(missing) if count == 0]
    for node in ready:  # grows as it goes
        for successor in graph[node]:
            missing[successor] -= 1
            if missing[successor] == 0:
                ready.append(successor)
    return ready


def find_cycles(graph: Graph) -> list[list[int]]:
    """One short cycle for each strongly connected component that has any; none if the graph is acyclic."""
    sorted_nodes = set(sort_topologically(graph))
    if len(sorted_nodes) == len(graph):
        return []
    rest = [node for node in range(len(graph)) if node not in sorted_nodes]
    return [_short_cycle(graph, component) for component in _components(graph, rest) if _tangled(graph, component)]


def _tangled(graph: Graph, component: list[int]) -> bool:
    return len(component) > 1 or component[0] in graph[component[0]]


def _components(graph: Graph, nodes: Iterable[int]) -> Iterator[list[int]]:
    """The strongly connected components within reach of the nodes. Source: Tarjan 1972, made iterative."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    for root in nodes:
        if root in number:
            continue
        path: list[tuple[int, Iterator[int]]] = []

        def enter(node: int, path: list[tuple[int, Iterator[int]]] = path) -> None:
            number[node] = low[node] = len(number)
            stack.append(node)
            on_stack.add(node)
            path.append((node, iter(graph[node])))

        enter(root)
        while path:
            node, successors = path[-1]
            for successor in successors:
                if successor not in number:
                    enter(successor)
                    break
                if successor in on_stack:
                    low[node] = min(low[node], number[successor])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == number[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    yield component


def _short_cycle(graph: Graph, component: list[int]) -> list[int]:
    members = set(component)
    starts = component[: max(1, min(_STARTS, _EFFORT // len(component)))]
    cycles = [_cycle_through(graph, members, start) for start in starts]
    return min(cycles, key=len)


def _cycle_through(graph: Graph, members: set[int], start: int) -> list[int]:
    """The shortest cycle through a node of a strongly connected component, from that node on."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while start not in came_from:
        node = queue.popleft()
        for successor in graph[node]:
            if successor in members and successor not in came_from:
                came_from[successor] = node
                queue.append(successor)
    cycle = [came_from[start]]
    while cycle[-1] != start:
        cycle.append(came_from[cycle[-1]])
    return cycle[::-1]
