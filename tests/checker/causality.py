"""Causal convergence, judged by what sessions wrote and saw alone: no log, no order but that within each session.

Source: Bouajjani, Enea, Guerraoui, Hamza, "On verifying causal consistency", POPL 2017. Every write has its own value,
so who read from whom is known, and the property is the absence of five patterns. PO is the order within a session,
RF goes from a write to a step that saw its value, CO is the transitive closure of both.

- *CyclicCO*: a cycle in PO and RF.
- *ThinAirRead*: a value was seen that nobody wrote.
- *WriteCOInitRead*: nothing was seen where a write is CO-before.
- *WriteCORead*: a value was seen though another write of the key is CO-between.
- *CyclicCF*: a cycle in CO and CF, where a write is CF-before another of the same key if it is CO-before a step that
  saw the other's value.

A write of several keys is one step. The CO-past of a step is, in each session, all steps up to some place, so it is
kept as one number per session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.checker.trace import Seen


@dataclass
class Step:
    """One step of a session: what it saw, or what it wrote under an id."""

    saw: Seen = field(default_factory=dict[str, str | None])
    wrote: Seen = field(default_factory=dict[str, str | None])
    id: str = ""


@dataclass(frozen=True)
class Pattern:
    """A violation."""

    name: str
    explanation: str


Place = tuple[int, int]
"""A session and a step of it."""


def find_patterns(sessions: Mapping[str, list[Step]]) -> list[Pattern]:
    """Every kind of pattern that the history contains, each with an example or more."""
    return _Check(sessions).run()


class _Check:
    def __init__(self, sessions: Mapping[str, list[Step]]) -> None:
        self.names = list(sessions)
        self.steps = list(sessions.values())
        self.found: list[Pattern] = []
        self.of_id = {
            step.id: (at, index) for at, steps in enumerate(self.steps) for index, step in enumerate(steps) if step.id
        }
        self.writes: dict[str, list[list[int]]] = defaultdict(lambda: [[] for _ in self.steps])
        """By key and session, the steps that write it."""
        for at, steps in enumerate(self.steps):
            for index, step in enumerate(steps):
                for key in step.wrote:
                    self.writes[key][at].append(index)
        self.past: list[list[list[int]]] = [[] for _ in self.steps]
        """Of each step, by session how many of its steps are in its CO-past; itself included."""

    def run(self) -> list[Pattern]:
        """All patterns."""
        self._thin_air()
        if self._causal_past():
            edges = self._reads()
            self._convergence(edges)
        return self.found

    def _name(self, place: Place) -> str:
        step = self.steps[place[0]][place[1]]
        return f"{self.names[place[0]]}#{place[1]}" + (f" (writes {step.id})" if step.id else "")

    def _thin_air(self) -> None:
        for at, steps in enumerate(self.steps):
            for index, step in enumerate(steps):
                for key, id in step.saw.items():
                    if id is None:
                        continue
                    source = self.of_id.get(id)
                    if source is None or self.steps[source[0]][source[1]].wrote.get(key) != id:
                        self.found.append(Pattern("ThinAirRead", f"{self._name((at, index))} saw {key}={id}"))

    def _causal_past(self) -> bool:
        """Fill in `past`, session by session as far as their sources are known."""
        done = [0] * len(self.steps)
        progress = True
        while progress:
            progress = False
            for at, steps in enumerate(self.steps):
                while done[at] < len(steps):
                    sources = [self.of_id[id] for id in steps[done[at]].saw.values() if id in self.of_id]
                    if any(index >= done[session] for session, index in sources):
                        break
                    past = list(self.past[at][-1]) if self.past[at] else [0] * len(self.steps)
                    for session, index in sources:
                        past = [max(pair) for pair in zip(past, self.past[session][index], strict=True)]
                    past[at] = done[at] + 1
                    self.past[at].append(past)
                    done[at] += 1
                    progress = True
        stuck = [(at, done[at]) for at, steps in enumerate(self.steps) if done[at] < len(steps)]
        if stuck:
            self.found.append(Pattern("CyclicCO", " and ".join(self._name(place) for place in stuck[:3])))
        return not stuck

    def _last(self, key: str, session: int, before: int) -> int | None:
        """The last step of a session, of the first so many, that writes a key."""
        indices = self.writes[key][session]
        low, high = 0, len(indices)
        while low < high:
            middle = (low + high) // 2
            if indices[middle] < before:
                low = middle + 1
            else:
                high = middle
        return indices[low - 1] if low else None

    def _between(self, key: str, past: list[int], after: Place | None) -> Iterable[Place]:
        """Of each session the last write of a key in a past, if it comes after a place; ``None`` is the beginning."""
        for session, count in enumerate(past):
            index = self._last(key, session, count)
            if index is None or (session, index) == after:
                continue
            if after is None or self.past[session][index][after[0]] > after[1]:
                yield session, index

    def _reads(self) -> list[tuple[Place, Place]]:
        """WriteCOInitRead and WriteCORead; the edges of CF."""
        edges: list[tuple[Place, Place]] = []
        deletes = {
            key: [
                (at, index)
                for at, indices in enumerate(lists)
                for index in indices
                if self.steps[at][index].wrote[key] is None
            ]
            for key, lists in self.writes.items()
        }
        for at, steps in enumerate(self.steps):
            for index, step in enumerate(steps):
                past = list(self.past[at][index])
                past[at] = index  # what it writes itself comes after what it saw
                for key, id in step.saw.items():
                    if id is None:
                        self._saw_nothing((at, index), key, past, deletes.get(key, []))
                        continue
                    source = self.of_id.get(id)
                    if source is None:
                        continue
                    newer = next(iter(self._between(key, past, source)), None)
                    if newer is not None:
                        self.found.append(
                            Pattern(
                                "WriteCORead",
                                f"{self._name((at, index))} saw {key}={id}, and {self._name(newer)} lies between",
                            )
                        )
                    edges += [(other, source) for other in self._between(key, past, None) if other != source]
        return edges

    def _saw_nothing(self, place: Place, key: str, past: list[int], deletes: list[Place]) -> None:
        """What it saw is the beginning, or one of the deletes: some one of them has to be possible."""
        before = next(iter(self._between(key, past, None)), None)
        if before is None:
            return
        for delete in deletes:
            follows = self.past[delete[0]][delete[1]][place[0]] > place[1]
            if not follows and next(iter(self._between(key, past, delete)), None) is None:
                return
        self.found.append(
            Pattern(
                "WriteCOInitRead", f"{self._name(place)} saw nothing at {key}, and {self._name(before)} comes before"
            )
        )

    def _convergence(self, edges: list[tuple[Place, Place]]) -> None:
        """Whether CO and CF have a cycle."""
        after: dict[Place, set[Place]] = defaultdict(set)
        missing: dict[Place, int] = {}
        for at, steps in enumerate(self.steps):
            for index, step in enumerate(steps):
                missing.setdefault((at, index), 0)
                if index:
                    after[at, index - 1].add((at, index))
                for id in step.saw.values():
                    if id in self.of_id:
                        after[self.of_id[id]].add((at, index))
        for first, second in edges:
            after[first].add(second)
        for successors in after.values():
            for place in successors:
                missing[place] += 1
        ready = [place for place, count in missing.items() if count == 0]
        for place in ready:  # grows as it goes
            for successor in after[place]:
                missing[successor] -= 1
                if missing[successor] == 0:
                    ready.append(successor)
        if len(ready) < len(missing):
            rest = missing.keys() - set(ready)
            tangled = [self._name(pair[0]) for pair in edges if pair[0] in rest and pair[1] in rest]
            self.found.append(Pattern("CyclicCF", f"{len(rest)} steps lie on or after a cycle, such as {tangled[:3]}"))
