"""The graph of one live query: its operators in topological order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rxmps3.errors import InvalidValue
from rxmps3.model.collections.cells import Cell
from rxmps3.model.collections.delta import Delta
from rxmps3.model.collections.operators import Changes, Limit, Operator, Sort, combined
from rxmps3.model.collections.order import rank_of
from rxmps3.model.missing import MISSING
from rxmps3.model.snapshot import ByRank, Keyed, Rows
from rxmps3.model.sortedmap import SortedMap

__all__ = ["Graph", "Plan", "merged"]


def _itself(key: Any) -> Any:
    return key


def _sought(key_rank: Callable[[Any], Any], key: Any) -> Any:
    """The rank of any object as a key. Raises `LookupError` if it cannot be a key."""
    try:
        return key_rank(key)
    except InvalidValue as error:
        raise LookupError from error


@dataclass(frozen=True, eq=False)
class Plan:
    """A query: a source of rows, or an operator on other plans. Compared by identity.

    Attributes:
        inputs: the plans it depends on; none for a source.
        make: creates its operator, from those of its inputs; None for a source.
        of_text: whether its keys are text, which is compared as it is.
        name: what it is called where something fails.
    """

    inputs: tuple[Plan, ...] = ()
    make: Callable[[list[Any]], Operator] | None = None
    of_text: bool = False
    name: str = ""

    @property
    def key_rank(self) -> Callable[[Any], Any]:
        """The rank by which its keys are compared."""
        return _itself if self.of_text else rank_of

    def in_order(self) -> list[Plan]:
        """This plan and all it depends on, each after its inputs."""
        found: dict[Plan, None] = {}
        stack: list[tuple[Plan, bool]] = [(self, False)]
        while stack:
            plan, done = stack.pop()
            if done:
                found[plan] = None
            elif plan not in found:
                stack.append((plan, True))
                stack.extend((one, False) for one in plan.inputs)
        return list(found)


class Graph:
    """A running plan: `push` takes the changes that one step made to all of its sources.

    One step changes the output once, even if a source reaches it by two paths.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._plans = plan.in_order()
        self._operators: dict[Plan, Operator] = {}
        for one in self._plans:
            if one.make is not None:
                self._operators[one] = one.make([self._operators.get(input) for input in one.inputs])
        self._key_rank = plan.key_rank
        root = self._operators.get(plan)
        self._sorted = root if isinstance(root, (Sort, Limit)) else None
        self._cells: SortedMap[Any] = SortedMap()

    @property
    def due(self) -> float | None:
        """When to push next even without changes."""
        times = [operator.due for operator in self._operators.values() if operator.due is not None]
        return min(times) if times else None

    def push(self, sources: Mapping[Plan, Changes], now: float) -> Changes:
        """The changes of the output for one step, given those of the sources. Raises what a user's function raises."""
        done: dict[Plan, Changes] = {}
        for plan in self._plans:
            operator = self._operators.get(plan)
            if operator is None:
                changes = sources.get(plan, _NOTHING)
            else:
                inputs = [done[input] for input in plan.inputs]
                due = operator.due
                if not any(inputs) and (due is None or due > now):
                    changes = _NOTHING
                else:
                    try:
                        changes = operator.apply(inputs, now)
                    except Exception as error:
                        error.add_note(f"in {plan.name}")
                        raise
            done[plan] = changes
        changes = done[self.plan]
        if changes and self._sorted is None:
            updates: dict[Any, Any] = {}
            for key, (_, after) in changes.items():
                row = after if self.plan.of_text else (key, after)
                updates[self._key_rank(key)] = MISSING if after is None else row
            self._cells = self._cells.update(updates)
        return changes

    def rows(self) -> Rows:
        """The current output. O(1)."""
        if self._sorted is not None:
            sort = self._sorted.sort if isinstance(self._sorted, Limit) else self._sorted
            ranks = sort.ranks
            return ByRank(self._sorted.rows, lambda key: ranks[_sought(sort.key_rank, key)])
        return Keyed(self._cells) if self.plan.of_text else ByRank(self._cells, partial(_sought, rank_of))

    def deltas(self, changes: Changes) -> tuple[Delta[Any, Any], ...]:
        """Changes of the output, in key order."""
        keys = sorted(changes, key=self._key_rank)
        return tuple([Delta[Any, Any].of(key, *changes[key]) for key in keys])


_NOTHING: Changes = {}


def merged(first: Changes, then: Changes) -> Changes:
    """The combined changes of two steps."""
    befores: dict[Any, Cell] = {}
    afters: dict[Any, Cell] = {}
    for key in dict.fromkeys([*first, *then]):
        before = first[key][0] if key in first else then[key][0]
        after = then[key][1] if key in then else first[key][1]
        if before is not None:
            befores[key] = before
        if after is not None:
            afters[key] = after
    return combined(befores, afters)
