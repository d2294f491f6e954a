"""Transactions of one replica that use the same keys queue behind each other, so that they never conflict.

A transaction claims what it reads before it reads it, and what it writes before it is handed over, and gives it all up
once its changes are pending: whoever comes next reads them there. Claims are granted in the order in which they were
asked for. They only save attempts: what is committed is checked by conditions, so a claim may be passed over. It is

* by a transaction begun within the one that holds it,
* where two would wait for each other,
* once it has been held for `HELD_FOR` seconds: its function may be waiting for something that waits for this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rxmps3.runtime.clock import Clock
from rxmps3.runtime.worker import sleep_until

__all__ = ["HELD_FOR", "Claim", "Claims"]

HELD_FOR = 5.0


class Claims:
    """The claims of one replica. On the loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: dict[str, dict[Claim, None]] = {}
        self._by_prefix: dict[str, dict[Claim, None]] = {}
        self._asked = 0

    def begin(self, within: Claim | None = None) -> Claim:
        """A claim to nothing yet.

        Args:
            within: that of the transaction in which this one is begun.
        """
        return Claim(self, self._clock, within)

    def next_place(self) -> int:
        """The place in the queue of what is asked for now."""
        self._asked += 1
        return self._asked

    def add(self, claim: Claim, keys: Iterable[str], prefixes: Iterable[str]) -> None:
        """Note that somebody wants these."""
        for names, table in ((keys, self._by_key), (prefixes, self._by_prefix)):
            for name in names:
                table.setdefault(name, {})[claim] = None

    def remove(self, claim: Claim) -> None:
        """It wants nothing any more."""
        for names, table in ((claim.keys, self._by_key), (claim.prefixes, self._by_prefix)):
            for name in names:
                claims = table[name]
                claims.pop(claim, None)
                if not claims:
                    del table[name]

    def overlapping(self, keys: Iterable[str], prefixes: Iterable[str]) -> Iterator[tuple[Claim, int]]:
        """The claims to these keys, or to keys that may be under these prefixes, each with its place."""
        for key in keys:
            for claim in self._by_key.get(key, ()):
                yield claim, claim.keys[key]
            for prefix, claims in self._by_prefix.items():
                if key.startswith(prefix):
                    for claim in claims:
                        yield claim, claim.prefixes[prefix]
        for prefix in prefixes:
            for key, claims in self._by_key.items():
                if key.startswith(prefix):
                    for claim in claims:
                        yield claim, claim.keys[key]
            for other, claims in self._by_prefix.items():
                if other.startswith(prefix) or prefix.startswith(other):
                    for claim in claims:
                        yield claim, claim.prefixes[other]


class Claim:
    """What one transaction has claimed.

    Attributes:
        keys, prefixes: each with its place in the queue.
        waits_for: the claim that it is waiting for.
        granted_at: when it was granted first, by the clock.
        is_over: whether it has been given up.
    """

    def __init__(self, claims: Claims, clock: Clock, within: Claim | None) -> None:
        self.keys: dict[str, int] = {}
        self.prefixes: dict[str, int] = {}
        self.waits_for: Claim | None = None
        self.granted_at: float | None = None
        self.is_over = False
        self._claims = claims
        self._clock = clock
        self._within = within
        self._watching: dict[object, Callable[[], None]] = {}

    def ask(self, keys: Iterable[str] = (), prefixes: Iterable[str] = ()) -> tuple[set[str], set[str]]:
        """Take a place in the queue for what is not claimed yet; returns that. Those who ask later wait for it."""
        new_keys, new_prefixes = set(keys) - self.keys.keys(), set(prefixes) - self.prefixes.keys()
        place = self._claims.next_place()
        self.keys.update(dict.fromkeys(sorted(new_keys), place))
        self.prefixes.update(dict.fromkeys(sorted(new_prefixes), place))
        self._claims.add(self, sorted(new_keys), sorted(new_prefixes))
        return new_keys, new_prefixes

    async def take(self, keys: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        """Wait until everybody who claimed any of these before has given it up or is passed over."""
        new_keys, new_prefixes = self.ask(keys, prefixes)
        if new_keys or new_prefixes:
            place = self._claims.next_place()
            while (before := self._last_before(new_keys, new_prefixes, place)) is not None:
                self.waits_for = before
                try:
                    await before.wait()
                finally:
                    self.waits_for = None
        if self.granted_at is None:
            self.granted_at = self._clock.monotonic()
            self._tell()

    def _last_before(self, keys: set[str], prefixes: set[str], place: int) -> Claim | None:
        """The one that asked last of those to wait for."""
        found = [
            (there, claim)
            for claim, there in self._claims.overlapping(keys, prefixes)
            if there < place and claim is not self and not claim.has_lapsed and not self._is_stuck_behind(claim)
        ]
        return max(found, key=_place)[1] if found else None

    def _is_stuck_behind(self, other: Claim) -> bool:
        """Whether that claim cannot be given up before this one is."""
        mine: set[Claim] = {self}
        outer = self._within
        while outer is not None:
            mine.add(outer)
            outer = outer._within
        behind: Claim | None = other
        while behind is not None:
            if behind in mine:
                return True
            behind = behind.waits_for
        return False

    @property
    def has_lapsed(self) -> bool:
        """Whether it has been held for so long that nobody waits for it any more."""
        return self.granted_at is not None and self._clock.monotonic() - self.granted_at >= HELD_FOR

    async def wait(self) -> None:
        """Wait until it has been granted, given up, or has lapsed, whichever comes next."""
        left = HELD_FOR
        if self.granted_at is not None:
            left -= self._clock.monotonic() - self.granted_at
        await sleep_until(self._clock, left, self._on_change)

    def _on_change(self, action: Callable[[], None]) -> Callable[[], None]:
        self._watching[key := object()] = action

        def forget() -> None:
            self._watching.pop(key, None)

        return forget

    def _tell(self) -> None:
        for action in list(self._watching.values()):
            action()

    def release(self) -> None:
        """Give everything up."""
        if not self.is_over:
            self.is_over = True
            self._claims.remove(self)
            self._tell()


def _place(found: tuple[int, Claim]) -> int:
    return found[0]
