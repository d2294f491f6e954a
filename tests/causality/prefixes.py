"""White-box checks: the log is a witness. Linear in the length of the log and of the history."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.causality.history import INIT, Deleted, History, Observed, Operation, Session, Written
from tests.causality.violations import Pattern, Violation

__all__ = ["Log", "LoggedWrite", "check_exactly_once", "check_prefixes"]


@dataclass(frozen=True)
class LoggedWrite:
    """A write as it stands in the log: its id, and what it does to each key; ``None`` deletes."""

    id: str
    update: Mapping[str, str | None]


Log = Sequence[Sequence[LoggedWrite]]
"""The versions of a log, in order, each with its writes. Replicas read whole versions only."""


def check_prefixes(log: Log, history: History) -> list[Violation]:
    """Check that every session saw prefixes of the log with its own pending writes on top, and never went back.

    What a session saw need not say which prefix it was: the shortest that fits is taken, not shorter than the one
    before (if any choice fits, this one does). Where a read says what its prefix was, that one must fit.
    A write that is in the log twice counts where it comes first.

    Returns:
        violations by NotAPrefix, PrefixShrank, BackdatedWrite, ReorderedWrites. Empty if all is well.
    """
    index = _LogIndex(log)
    return [violation for session in history.sessions for violation in _Reader(index, session).check()]


def check_exactly_once(log: Log, history: History) -> list[Violation]:
    """Check that the log has every acknowledged write once, no write twice, and none that was not made.

    Returns:
        violations by LostWrite, DuplicateWrite, InventedWrite. Empty if all is well.
    """
    violations: list[Violation] = []
    found: dict[str, int] = {}
    for number, version in enumerate(log):
        for logged in version:
            write = history.writes.get(logged.id)
            if logged.id in found:
                where = f"versions {found[logged.id]} and {number}"
                text = f"the write {logged.id!r} is in the log more than once: in {where}, counting from 0"
                violations.append(Violation(Pattern.DUPLICATE_WRITE, () if write is None else (write,), text))
                continue
            found[logged.id] = number
            if write is None:
                text = f"version {number} of the log has a write {logged.id!r}, which nobody made"
                violations.append(Violation(Pattern.INVENTED_WRITE, (), text))
            elif dict(write.writes) != _written(logged):
                text = (
                    f"version {number} of the log has the write {logged.id!r} as {dict(logged.update)}, not as {write}"
                )
                violations.append(Violation(Pattern.INVENTED_WRITE, (write,), text))
    for id, write in history.acknowledged.items():
        if id not in found:
            text = f"{write} (the write {id!r}) was acknowledged, but is not in the log"
            violations.append(Violation(Pattern.LOST_WRITE, (write,), text))
    return violations


def _written(logged: LoggedWrite) -> dict[str, Written]:
    return {key: Deleted(logged.id) if value is None else value for key, value in logged.update.items()}


class _Timeline:
    """What the log says of one key: from which length of prefix on it has which value."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.values: list[Written] = []
        self._place: dict[Written, int] = {}
        self._vacant: list[int] = []

    def append(self, start: int, value: Written) -> None:
        if self.starts and self.starts[-1] == start:  # overwritten within one version: never seen
            del self._place[self.values[-1]]
            if isinstance(self.values[-1], Deleted):
                self._vacant.pop()
            self.values[-1] = value
        else:
            self.starts.append(start)
            self.values.append(value)
        self._place[value] = len(self.values) - 1
        if isinstance(value, Deleted):
            self._vacant.append(len(self.values) - 1)

    def first_match(self, value: Observed, prefix: int) -> int | None:
        """The shortest prefix, no shorter than this one, at which the key has this value."""
        if value is INIT or value is None:
            if not self.starts or prefix < self.starts[0]:
                return prefix
            if value is INIT:
                return None
            place = bisect_right(self.starts, prefix) - 1
            vacant = bisect_left(self._vacant, place)
            if vacant == len(self._vacant):
                return None
            return max(prefix, self.starts[self._vacant[vacant]])
        found = self._place.get(value)
        if found is None:
            return None
        if found + 1 < len(self.starts) and self.starts[found + 1] <= prefix:
            return None
        return max(prefix, self.starts[found])


_UNTOUCHED = _Timeline()


class _LogIndex:
    """The log by key and by write."""

    def __init__(self, log: Log) -> None:
        self.length = len(log)
        self.committed: dict[str, tuple[int, int]] = {}
        """Per write the shortest prefix that has it, and its place among all writes."""
        self._timelines: dict[str, _Timeline] = {}
        for number, version in enumerate(log):
            for write in version:
                if write.id in self.committed:
                    continue
                self.committed[write.id] = (number + 1, len(self.committed))
                for key, value in _written(write).items():
                    self._timelines.setdefault(key, _Timeline()).append(number + 1, value)

    def timeline(self, key: str) -> _Timeline:
        return self._timelines.get(key, _UNTOUCHED)


class _Reader:
    """One session on its way along the log."""

    def __init__(self, log: _LogIndex, session: Session) -> None:
        self._log = log
        self._session = session
        self._prefix = 0
        self._newest: dict[str, Operation] = {}
        for write in session.inherited:
            self._push(write)

    def _push(self, write: Operation) -> None:
        self._newest.update(dict.fromkeys(write.writes, write))

    def check(self) -> Iterator[Violation]:
        yield from self._check_order()
        for operation in self._session.operations:
            if operation.reads:
                yield from self._read(operation)
            if operation.writes:
                self._push(operation)
                committed = self._log.committed.get(operation.id)
                if committed is not None and committed[0] <= self._prefix:
                    text = (
                        f"{operation} was made after its session had read {self._prefix} versions of the log, "
                        f"but is in the log within the first {committed[0]}"
                    )
                    yield Violation(Pattern.BACKDATED_WRITE, (operation,), text)

    def _check_order(self) -> Iterator[Violation]:
        """The log has the session's writes in their order, and none without those before it."""
        missing: Operation | None = None
        last: tuple[int, Operation] | None = None
        for write in (*self._session.inherited, *(made for made in self._session.operations if made.writes)):
            committed = self._log.committed.get(write.id)
            if committed is None:
                missing = missing or write
                continue
            place = committed[1]
            if missing is not None:
                text = f"{write} is in the log, but {missing}, which its session made earlier, is not"
                yield Violation(Pattern.REORDERED_WRITES, (missing, write), text)
            if last is not None and place < last[0]:
                text = f"{write} stands in the log before {last[1]}, though its session made it later"
                yield Violation(Pattern.REORDERED_WRITES, (last[1], write), text)
            else:
                last = (place, write)

    def _read(self, read: Operation) -> Iterator[Violation]:
        if read.prefix is not None:
            if read.prefix < self._prefix:
                text = f"{read} is at prefix {read.prefix} of the log, but its session was at {self._prefix} before"
                yield Violation(Pattern.PREFIX_SHRANK, (read,), text)
            misfits = [key for key in read.reads if self._first_match(read, key, read.prefix) != read.prefix]
            if misfits or read.prefix > self._log.length:
                differs = f"{', '.join(misfits)} would be otherwise" if misfits else "the log is not that long"
                text = (
                    f"{read} is at prefix {read.prefix} of the log with {self._pending(read.prefix)} on top: {differs}"
                )
                yield Violation(Pattern.NOT_A_PREFIX, (read,), text)
            self._prefix = min(read.prefix, self._log.length)
            return
        prefix = self._shortest(read, self._prefix)
        if prefix is not None:
            self._prefix = prefix
            return
        earlier = self._shortest(read, 0)
        if earlier is None:
            text = f"{read}: no prefix of the log, with the session's pending writes on top, shows this"
            yield Violation(Pattern.NOT_A_PREFIX, (read,), text)
        else:
            text = f"{read}: prefix {earlier} of the log shows this, but the session had read {self._prefix} versions"
            yield Violation(Pattern.PREFIX_SHRANK, (read,), text)
            self._prefix = earlier

    def _shortest(self, read: Operation, prefix: int) -> int | None:
        """The shortest prefix, no shorter than this one, that shows all that was read."""
        settled = False
        while not settled:
            settled = True
            for key in read.reads:
                match = self._first_match(read, key, prefix)
                if match is None:
                    return None
                settled = settled and match == prefix
                prefix = match
        return prefix

    def _first_match(self, read: Operation, key: str, prefix: int) -> int | None:
        """The shortest prefix, no shorter than this one, at which the session sees of the key what was read."""
        seen, own = read.reads[key], self._newest.get(key)
        if own is not None:
            committed, _ = self._log.committed.get(own.id, (None, None))
            if committed is None or prefix < committed:
                mine = own.writes[key]
                if seen == mine or (seen is None and isinstance(mine, Deleted)):
                    return prefix
                if committed is None:
                    return None
                prefix = committed
        return self._log.timeline(key).first_match(seen, prefix)

    def _pending(self, prefix: int) -> str:
        own = dict.fromkeys(self._newest.values())
        pending = [w.id for w in own if self._log.committed.get(w.id, (prefix + 1, 0))[0] > prefix]
        return ", ".join(pending) or "nothing"
