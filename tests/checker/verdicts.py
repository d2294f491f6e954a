"""What clients recorded, compared with what the bucket holds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tests.checker.causality import Step, find_patterns
from tests.checker.logs import Item, Log
from tests.checker.trace import COUNTER, MISSING_VALUE, Call, Event, Seen, Session

KINDS = (
    "lost",
    "doubled",
    "forged",
    "reordered",
    "turned back",
    "torn",
    "not causal",
    "diverged",
    "broken log",
    "not fresh",
    "stuck",
)
_REFUSED = ("Rejected", "Conflict", "InvalidKey", "InvalidValue", "Overloaded")
"""Failures that say that the write is not in the log, and never will be."""


@dataclass
class Report:
    """The result of a run.

    Attributes:
        calls, acknowledged, stored, failed: how many writes of each kind there were.
        in_log: how many writes the log holds.
        seen: how many steps were compared.
        found: what is wrong, by kind.
    """

    calls: int = 0
    acknowledged: int = 0
    stored: int = 0
    failed: int = 0
    in_log: int = 0
    seen: int = 0
    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found

    def __str__(self) -> str:
        lines = [
            f"{self.calls} writes, {self.acknowledged} acknowledged, {self.stored} called stored, {self.failed} refused or failed; "
            f"{self.in_log} in the log; {self.seen} steps of what was shown compared",
            ", ".join(f"{kind} {len(self.found.get(kind, []))}" for kind in KINDS),
        ]
        for kind, examples in self.found.items():
            lines += [f"  {kind}: {example}" for example in examples[:4]]
            if len(examples) > 4:
                lines.append(f"  {kind}: … {len(examples) - 4} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class Expected:
    """What a log and a run promise.

    Attributes:
        linear: the log's order respects real time, and a look sees a prefix of it.
        single: an item is one write.
        since: a moment before which the bucket was something else; what was called earlier need not be there, nor all
            of its values if it is, and what was shown is not judged.
    """

    linear: bool = True
    single: bool = True
    since: float | None = None


def judge(log: Log, sessions: list[Session], expected: Expected) -> Report:
    """Compare what clients recorded with what the bucket holds."""
    report = Report()
    found = report.found
    if expected.since is not None:
        log = replace(log, problems=[one for one in log.problems if not _is_of_a_value(one)])
    for problem in log.problems:
        found["broken log"].append(problem)
    if not log.problems and log.state != _folded(log):
        found["lost"].append("the newest state is not the fold of all writes: " + _unlike(log.state, _folded(log)))
    calls = {call.id: call for session in sessions for call in session.calls}
    positions = _positions(log, calls, expected, report)
    _count(report, calls, positions)
    _contents(log.items, calls, expected, report)
    _lost(calls, positions, log, expected, report)
    if expected.since is not None:
        later = [call for call in calls.values() if call.at >= expected.since and call.acknowledged is not None]
        if not later:
            found["stuck"].append("nobody wrote anything after the bucket had been replaced and clients started anew")
    else:
        _orders(calls, sessions, positions, expected, report)
        for session in sessions:
            earlier = [other for other in sessions if other.client == session.client][: _life(session, sessions)]
            _shown(session, earlier, log, calls, positions, expected, report)
        if log.complete:
            _causality(sessions, positions, report)
        _counters(log, report)
    for session in sessions:
        if session.final is not None and session.final != log.state:
            found["diverged"].append(f"{session.name} ends with another state: " + _unlike(session.final, log.state))
        if session.stopped is not None and (expected.since is None or not session.calls):
            found["stuck"].append(f"{session.name}: {session.stopped}")
    return report


def _life(session: Session, sessions: list[Session]) -> int:
    return [other.name for other in sessions if other.client == session.client].index(session.name)


def _folded(log: Log) -> Seen:
    state = dict(log.before)
    for item in log.items:
        state |= item.update
    return {key: id for key, id in state.items() if id is not None}


def _unlike(one: Seen, other: Seen) -> str:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return ", ".join(f"{key} is {one.get(key)}, not {other.get(key)}" for key in keys[:3]) + f" ({len(keys)} keys)"


def _is_of_a_value(problem: str) -> bool:
    """Whether it says that a value's object is gone: whoever wrote it had uploaded it to the bucket before this one."""
    return problem.endswith(" is not there") and not problem.startswith("the checkpoint")


def _positions(log: Log, calls: dict[str, Call], expected: Expected, report: Report) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, item in enumerate(log.items):
        for id in item.ids - ({MISSING_VALUE} if expected.since is not None else set()):
            if id not in calls:
                report.found["forged"].append(f"{item.where} sets what nobody wrote: {id}")
            elif id in positions:
                report.found["doubled"].append(f"{id} is in {log.items[positions[id]].where} and in {item.where}")
            else:
                positions[id] = position
    return positions


def _count(report: Report, calls: dict[str, Call], positions: dict[str, int]) -> None:
    report.calls = len(calls)
    report.acknowledged = sum(call.acknowledged is not None for call in calls.values())
    report.stored = sum(call.stored is not None for call in calls.values())
    report.failed = sum(call.failed is not None for call in calls.values())
    report.in_log = len(positions)


def _contents(items: list[Item], calls: dict[str, Call], expected: Expected, report: Report) -> None:
    """Each item does exactly what was asked for."""
    for item in items:
        members = sorted((calls[id] for id in item.ids if id in calls), key=lambda call: _number(call.id))
        if not members:
            if item.update and not item.ids:
                report.found["forged"].append(f"{item.where} deletes what nobody deleted")
            continue
        asked: Seen = {}
        for call in members:
            asked |= call.update
        if expected.since is not None:  # what has lost its value does not tell of which write it was
            asked = {key: MISSING_VALUE if item.update.get(key) == MISSING_VALUE else id for key, id in asked.items()}
        if asked != item.update:
            report.found["torn"].append(
                f"{item.where} does not do what {members[0].id} asked for: " + _unlike(item.update, asked)
            )
        if expected.single and len(members) > 1:
            report.found["torn"].append(f"{item.where} is made of {[call.id for call in members]}")


def _lost(calls: dict[str, Call], positions: dict[str, int], log: Log, expected: Expected, report: Report) -> None:
    for call in calls.values():
        if call.id in positions or not log.complete:
            continue
        if expected.since is not None and call.at < expected.since:
            continue
        if call.acknowledged is not None:
            report.found["lost"].append(f"{call.id} was acknowledged and is not in the log")
        elif call.stored is not None and call.failed is None and expected.since is None:
            report.found["lost"].append(f"{call.id} was called stored and is not in the log")
    for call in calls.values():
        if call.id in positions and call.failed is not None and call.failed.startswith(_REFUSED):
            report.found["forged"].append(f"{call.id} was refused ({call.failed}) and is in the log")


def _number(id: str) -> tuple[int, int]:
    _, life, number = id.rsplit(".", 2)
    return int(life), int(number)


def _orders(
    calls: dict[str, Call], sessions: list[Session], positions: dict[str, int], expected: Expected, report: Report
) -> None:
    """The order of the calls of a client; of what was called after something was acknowledged, anywhere."""
    mine: dict[str, list[Call]] = defaultdict(list)
    for session in sessions:
        mine[session.client] += [call for call in session.calls if call.id in positions and COUNTER not in call.update]
    for client, own in mine.items():
        for first, second in pairwise(own):
            if positions[first.id] > positions[second.id]:
                report.found["reordered"].append(
                    f"{client} called {first.id} before {second.id}, and the log has them the other way"
                )
    if not expected.linear:
        return
    earliest: Call | None = None
    for call in sorted((calls[id] for id in positions), key=lambda call: -positions[call.id]):
        if earliest is not None and earliest.acknowledged is not None and earliest.acknowledged < call.at:
            report.found["reordered"].append(
                f"{earliest.id} was acknowledged before {call.id} was called, and comes after it"
            )
        if call.acknowledged is not None and (earliest is None or call.acknowledged < (earliest.acknowledged or 0)):
            earliest = call


# -- what was shown -------------------------------------------------------------------------------------------------


class _View:
    """The state after some items with the pending writes of a session on top, and where it differs from what is shown."""

    def __init__(self, log: Log, positions: dict[str, int], left: list[Call]) -> None:
        self._items = log.items
        self._positions = positions
        self.position = 0
        self.state = dict(log.before)
        self.shown: Seen = {}
        self.pending: list[Call] = []
        self.loose: Counter[str] = Counter()
        """Keys of which it is not known whether a pending write of an earlier life shows on them."""
        self._left: dict[str, Call] = {}
        for call in left:
            if call.id in positions or _may_have_been_refused_later(call):
                self._left[call.id] = call
                self.loose.update(call.update.keys())
        self.unlike: set[str] = set()
        self._check(self.state.keys())

    def call(self, call: Call) -> None:
        self.pending.append(call)
        if call.failed is not None or COUNTER in call.update:
            self.loose.update(call.update.keys())
        self._check(call.update.keys())

    def failed(self, call: Call) -> None:
        self.pending = [other for other in self.pending if other.id != call.id]
        self.loose.subtract(call.update.keys())
        self._check(call.update.keys())

    def show(self, changes: Seen) -> None:
        self.shown.update(changes)
        self._check(changes.keys())

    def advance(self) -> None:
        item = self._items[self.position]
        self.position += 1
        for key, id in item.update.items():
            if id is None:
                self.state.pop(key, None)
            else:
                self.state[key] = id
        changed = set(item.update)
        for call in [call for call in self.pending if call.id in item.ids]:
            self.pending.remove(call)
            changed |= call.update.keys()
            if COUNTER in call.update:
                self.loose.subtract(call.update.keys())
        for id in item.ids & self._left.keys():
            self.loose.subtract(self._left.pop(id).update.keys())
        self._check(changed)

    def _check(self, keys: Iterable[str]) -> None:
        for key in keys:
            expected = self.state.get(key)
            for call in self.pending:
                if key in call.update:
                    expected = call.update[key]
            if self.loose[key] > 0 or self.shown.get(key) == expected:
                self.unlike.discard(key)
            else:
                self.unlike.add(key)

    @property
    def at_end(self) -> bool:
        return self.position == len(self._items)


def _shown(
    session: Session,
    earlier: list[Session],
    log: Log,
    calls: dict[str, Call],
    positions: dict[str, int],
    expected: Expected,
    report: Report,
) -> None:
    """A session's views: never back, whole writes, and where the log is linear, prefixes of it with its own on top.

    What a stream shows and what gets return each never go back; one may be behind the other, since both wait for values
    that have to be fetched.
    """
    highest: dict[tuple[bool, str], int] = {}
    state: Seen = {}
    cause = -1
    of_key = _history(log) if expected.linear else {}
    view = _View(log, positions, [call for life in earlier for call in life.calls])
    judged = expected.linear
    for event in session.events:
        if event.call is not None:
            view.call(event.call)
            position = positions.get(event.call.id)
            if position is not None and position < cause:
                report.found["not causal"].append(
                    f"{session.name} had seen {log.items[cause].where} when it called {event.call.id}, which comes before"
                )
            continue
        if event.failed is not None:
            view.failed(event.failed)
            continue
        report.seen += 1
        for key, id in (event.seen or event.read or event.fresh or {}).items():
            if id is None:
                continue
            if id not in positions:
                call = calls.get(id)
                if call is None:
                    report.found["forged"].append(f"{session.name} was shown at {key} what nobody wrote: {id}")
                elif call not in session.calls and call.failed is None and not _same_client(session, call):
                    report.found["turned back"].append(
                        f"{session.name} was shown {id} of another at {key}, which is not in the log"
                    )
                continue
            track = (event.seen is not None, key)
            known = highest.get(track, -1)
            if positions[id] < known and key != COUNTER:  # attempts of transactions come and go
                report.found["turned back"].append(
                    f"{session.name} was shown at {key} first {log.items[known].where}, then {id}"
                )
            highest[track] = max(known, positions[id])
            if not _same_client(session, calls[id]):
                cause = max(cause, positions[id])
        if event.seen is not None:
            state |= event.seen
            _whole(session, event.seen, state, calls, positions, report)
            view.show(event.seen)
            if judged and log.complete:
                judged = _follow(session, view, report)
        if event.fresh is not None and expected.linear:
            _fresh(session, event, of_key, calls, positions, report)


def _may_have_been_refused_later(call: Call) -> bool:
    """Whether it had a condition and its process did not live to hear how it ended: a later process of the client shows it
    until it finds that the condition does not hold. When that was is not recorded, so nothing is told of its key."""
    return COUNTER in call.update and call.acknowledged is None and call.failed is None


def _may_be_left(session: Session, id: str) -> bool:
    """Whether it is a write of an earlier process of the same client: until that is found in the log, it is pending here
    and shown on top of whatever follows it there."""
    return id.startswith(f"{session.client}.") and not id.startswith(f"{session.name}.")


def _same_client(session: Session, call: Call) -> bool:
    return call.id.rsplit(".", 2)[0] == session.client


def _follow(session: Session, view: _View, report: Report) -> bool:
    """Read on in the log until it is what is shown. Whether the rest of the session can be judged."""
    before = view.position
    first = sorted(view.unlike)[:3]
    while view.unlike and not view.at_end:
        view.advance()
    if view.unlike:
        report.found["turned back"].append(
            f"{session.name} was shown what is no prefix of the log from item {before} on, with its own writes on top: {first}"
        )
        return False
    return True


def _whole(
    session: Session, seen: Seen, state: Seen, calls: dict[str, Call], positions: dict[str, int], report: Report
) -> None:
    """Where one key of a write is shown, its others are, or what came after."""
    for id in {id for id in seen.values() if id is not None and id in positions}:
        for key, asked in calls[id].update.items():
            other = state.get(key)
            if other is None or _may_be_left(session, other):
                continue
            if other != asked and positions.get(other, positions[id]) < positions[id]:
                report.found["torn"].append(f"{session.name} was shown {id}, but at {key} still {other}")


def _history(log: Log) -> dict[str, list[tuple[int, str | None]]]:
    found: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    for position, item in enumerate(log.items):
        for key, id in item.update.items():
            found[key].append((position, id))
    return found


def _fresh(
    session: Session,
    event: Event,
    of_key: dict[str, list[tuple[int, str | None]]],
    calls: dict[str, Call],
    positions: dict[str, int],
    report: Report,
) -> None:
    """A get after a refresh: what was acknowledged to anybody before the refresh was called is seen, or what came later."""
    for key, id in (event.fresh or {}).items():
        history = of_key.get(key, [])
        done = [
            position
            for position, writer in history
            for call in [calls.get(writer or "")]
            if call is not None and call.acknowledged is not None and call.acknowledged < event.since
        ]
        if not done or (id is not None and id not in positions):
            continue
        since = done[-1]
        after = history[bisect_left(history, since, key=lambda one: one[0]) :]
        if id not in [one for _, one in after]:
            report.found["not fresh"].append(
                f"{session.name} read {id} at {key}, though item {since} was acknowledged before"
            )


def _counters(log: Log, report: Report) -> None:
    """An increment sets one more than what it follows."""
    last: int | None = None
    for item in log.items:
        number = item.counts.get(COUNTER)
        if number is None:
            continue
        if last is not None and number != last + 1:
            report.found["lost"].append(
                f"{item.where} counts {number} after {last}: an increment did not see the other"
            )
        last = number


def _causality(sessions: list[Session], positions: dict[str, int], report: Report) -> None:
    history: dict[str, list[Step]] = {}
    for session in sessions:
        steps = history[session.name] = []
        void = {COUNTER}
        """Keys whose absence may be a delete that never came to be."""
        gets = history[f"{session.name}, gets"] = []
        for event in session.events:
            if event.call is not None:
                if event.call.id not in positions:
                    void |= event.call.update.keys()
                elif COUNTER not in event.call.update:
                    steps.append(Step(wrote=event.call.update, id=event.call.id))
                continue
            saw = event.seen or event.read or event.fresh or {}
            saw = {
                key: id
                for key, id in saw.items()
                if (
                    key not in void
                    if id is None
                    else key != COUNTER and id in positions and not _may_be_left(session, id)
                )
            }
            if saw:
                (steps if event.seen is not None else gets).append(Step(saw=saw))
    for pattern in find_patterns(history):
        report.found["not causal"].append(f"{pattern.name}: {pattern.explanation}")
