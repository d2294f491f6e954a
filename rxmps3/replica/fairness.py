"""When a writer yields to other writers of its log. No I/O; time and randomness are arguments.

The writer that has just committed knows the end of the log first and would win every race for the next number. So
writers take turns. Everybody reads the same log, and so knows who writes and who has waited longest:

* A writer commits without a pause for its share of `_ROUND`, then waits until the others have had their chance.
* The others do not race against it. They read along until nothing new has come for some time: the one that has waited
  longest for the shortest time, the next for a little longer, and so on. So two of them rarely try at once.
* Who still loses a race waits a random time whose bound doubles with each race lost in a row.
* Who has waited for long beside a writer that leaves no gap, or only gaps shorter than its own requests, races.

A writer that lets others pass a few times, or has not written for some seconds, is not waited for. One that commits
without a break leaves a gap now and then all the same, since it cannot see who never wins: the more rarely and the
shorter, the longer nobody else has been seen.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from rxmps3.runtime.clock import Random

__all__ = ["Fairness"]

_ROUND = 1.0
"""Seconds in which each active writer is to have had a turn."""
_ACTIVE = 3.0
"""Another writer counts as active for so many seconds after its last version."""
_PASSES = 3
"""A writer that has let others go first so often counts no longer as active."""
_COMPANY = 10.0
"""For so many seconds after the last version of another writer gaps are longer and come sooner."""
_GAP_IN_COMPANY = 1.0
_GAP_ALONE = 4.0
_RAREST_GAP_ALONE = 30.0
"""Commits without a break go on for so many seconds between two gaps."""
_SLOTS = 16
"""A gap has so many slots at most. Mostly it is short and now and then long: the slower another writer, the longer the
gap that it needs."""
_SLOTS_ALONE = (5.0, 7.0)
"""Enough for a writer whose requests take some times as long."""
_SLOT_COMMITS = 2.0
_SLOT_SECONDS = 0.004
"""A slot is the time in which another can have seen the last version and committed: so many commits, and so much more
for the work around them."""
_PATIENCE = 1.2
"""A writer that has waited for its turn for so many seconds tries without one."""
_PATIENCE_OF_A_NEWCOMER = 0.5
"""The same for one that the only other writer cannot know of, and that is not slower."""
_READS_PER_SLOT = 16
_SHORTEST_CHASED = 0.015
"""Where slots are shorter, the client's own work takes as long as the requests, and chance alone lets it win soon."""
_SLOW = 3.5
"""A writer whose slot is so many times as long as the other's commits is slower than that."""
_MOST_DOUBLINGS = 2
_LONGEST_SLOT = 1.0
_INSTANT = 0.001
"""Shorter waits are none."""


class Fairness:
    """One client's turns among the writers of its log.

    Args:
        writer: the client's writer id.
    """

    def __init__(self, writer: str) -> None:
        self._me = writer
        self._took: deque[float] = deque(maxlen=5)
        self._takes = 0.0  # their median
        self._seats: dict[str, _Seat] = {}
        self._holder = ""
        self._run_began = 0.0
        self._seen_at = -_COMPANY
        self._foreign_at = -_COMPANY
        self._foreign: deque[float] = deque(maxlen=16)
        self._gap_at: float | None = None
        self._waiting_since: float | None = None
        self._due: float | None = None
        self._backed_off = False
        self._lost = 0
        self._lost_in = 0.0
        self._granted = False

    def seen(self, writer: str, now: float) -> None:
        """Note a version of the log, own ones included, in the order of the log."""
        if writer != self._holder:
            self._pass_over(writer)
            self._holder, self._run_began = writer, now
        if self._gap_at is None:
            self._gap_at = now  # the time before the first version was one
            self._foreign_at = now - _COMPANY
        self._seats.pop(writer, None)
        self._seats[writer] = _Seat(now)
        self._seen_at, self._due = now, None
        if writer != self._me:
            self._foreign_at = now
            self._foreign.append(now)

    def _pass_over(self, writer: str) -> None:
        """Those who have waited longer than a writer that begins a turn have let it pass."""
        if writer not in self._seats:
            return
        ahead: list[str] = []
        for other in self._seats:
            if other == writer:
                break
            ahead.append(other)
        for other in ahead:
            self._let_pass(other)

    def _let_pass(self, writer: str) -> None:
        seat = self._seats[writer]
        seat.passes += 1
        if seat.passes >= _PASSES and writer != self._me:
            del self._seats[writer]

    def ended(self, now: float, began: float, *, won: bool) -> None:
        """Note that a commit was attempted."""
        self._due, self._backed_off = None, False
        if won:
            self._took.append(now - began)
            self._takes = median(self._took)
            self._lost, self._waiting_since = 0, None
        else:
            self._lost += 1
            self._lost_in = (now - began) / 2  # the attempt and a read

    def passed(self) -> None:
        """The turn that was waited for was not used, so the next attempt need not wait again."""
        self._granted = True

    @property
    def slot(self) -> float:
        """The time in seconds in which another can have seen the last version and committed."""
        commit = self._takes if self._took else self._lost_in
        return min(_LONGEST_SLOT, _SLOT_COMMITS * commit + _SLOT_SECONDS)

    @property
    def in_company(self) -> bool:
        """Whether another writer has been seen lately: what it wrote while this one waited has to be read first."""
        return self._lost > 0 or any(writer != self._me for writer in self._seats)

    def _may_chase(self, now: float) -> bool:
        """Whether the only other writer has not seen this one, which is not slower, and requests take some time."""
        if self._me in self._seats or len(self._seats) != 1:
            return False
        pace = (now - self._foreign[0]) / len(self._foreign)
        return _SHORTEST_CHASED <= self.slot <= _SLOW * pace

    def chase(self, now: float) -> tuple[float, float] | None:
        """For how many seconds to look for the next entry of the only other writer before a race, and how often; None
        if that is no use.

        Whoever sends an entry when the one before appears is about as fast as its writer; one that reads to the end
        first is too late nearly always, beside a writer that leaves no gap. A writer that is slower than the other one
        has to wait for a gap, and not to miss it.
        """
        ready = self._lost and self._backed_off and self._may_chase(now)
        return (2 * self.slot, self.slot / _READS_PER_SLOT) if ready else None

    def wait(self, now: float, rng: Random) -> float:
        """Seconds to wait, and in company to read the log, before asking again; 0.0 if it is this writer's turn."""
        if self._granted:
            self._granted = False
            return 0.0
        seconds = self._seconds_left(now, rng)
        return seconds if seconds > _INSTANT else 0.0

    def _seconds_left(self, now: float, rng: Random) -> float:
        for writer in [one for one, seat in self._seats.items() if now - seat.at > _ACTIVE]:
            del self._seats[writer]
        others = len(self._seats.keys() - {self._me})
        if self._holder == self._me and not self._lost:
            return self._after_own(now, rng, others)
        return self._after_others(now, rng)

    def _after_own(self, now: float, rng: Random, others: int) -> float:
        quiet = now - self._seen_at
        if not others:
            return self._gap(now, rng, quiet)
        if now - self._run_began < _ROUND / (1 + others):
            return 0.0
        if self._due is None:
            longest = max(_ROUND * others / (1 + others), 2 * self.slot)
            waiting = sum(not seat.passes for writer, seat in self._seats.items() if writer != self._me)
            self._due = min(longest, (waiting + 2) * self.slot / (1 - rng.random()))
        if quiet >= self._due:
            self._run_began, self._due = now, None
            for writer in self._seats.keys() - {self._me}:
                self._let_pass(writer)
            return 0.0
        return self._due - quiet

    def _after_others(self, now: float, rng: Random) -> float:
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since > (_PATIENCE_OF_A_NEWCOMER if self._may_chase(now) else _PATIENCE):
            return self._before_a_race(rng)
        if self._due is None:
            is_over = now - self._run_began >= _ROUND / max(1, len(self._seats))
            slots = (0.1 if is_over else 0.6) + self._rank() + rng.uniform(0, 0.4)
            self._due = self.slot * slots + self._back_off(rng)
        return self._due - (now - self._seen_at)

    def _before_a_race(self, rng: Random) -> float:
        if self._backed_off:
            return 0.0
        self._backed_off = True
        return max(2 * _INSTANT, rng.uniform(0, self.slot / 8))  # never none: the log is to be read right before

    def _back_off(self, rng: Random) -> float:
        return rng.uniform(0, self.slot * 2 ** min(self._lost, _MOST_DOUBLINGS)) if self._lost else 0.0

    def _rank(self) -> int:
        """How many active writers have waited for longer."""
        rank = 0
        if self._me in self._seats:
            for writer in self._seats:
                if writer == self._me:
                    break
                rank += 1
        return rank

    def _gap(self, now: float, rng: Random, quiet: float) -> float:
        if quiet > _SLOT_COMMITS * self.slot:
            self._gap_at = now  # there was one just now
            return 0.0
        age = now - self._foreign_at
        every = _GAP_IN_COMPANY if age < _COMPANY else min(_RAREST_GAP_ALONE, max(_GAP_ALONE, age / 10))
        if self._gap_at is not None and now - self._gap_at < every:
            return 0.0
        gap = self.slot * (min(_SLOTS, 1 / (1 - rng.random())) if age < _COMPANY else rng.uniform(*_SLOTS_ALONE))
        self._gap_at = now + gap
        return gap


class _Seat:
    """Another active writer: when it wrote last, and how often it has let others pass since."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.passes = 0
