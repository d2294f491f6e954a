"""What the requests of a connection cost: counted, priced, and kept within a budget."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from rxmps3.errors import InvalidOption
from rxmps3.replica.budget import MONTH, Allowance, Budget, checked_budget
from rxmps3.runtime.clock import Clock
from rxmps3.storage.metered import NO_USAGE, ROOMS, Room, Tally, Usage
from rxmps3.storage.prices import Prices, checked_prices

__all__ = ["BudgetState", "Cost", "Ledger"]

BudgetState = Literal["", "slowed", "passed"]

_SLOT = 10.0
_SLOTS = 60
"""The pace is that of the last ten minutes, in slots of ten seconds."""
_AT_LEAST = 60.0
"""Seconds over which the pace is taken at least, so that opening does not look like a pace."""


@dataclass(frozen=True)
class Cost:
    """What a connection has cost so far, and would cost in a month at the present pace.

    The pace is that of the last ten minutes, or since opening, but of one minute at least. Money is for requests and
    transferred bytes; what is stored is not included.

    Attributes:
        rooms: the usage by what it was for: ``log``, ``values``, ``presence`` and ``upkeep`` (checkpoints, collection).
        total: of all rooms.
        spent: money for all of it so far.
        per_month: money a month, at the present pace.
        rooms_per_month: the same by room.
        requests_per_hour: at the present pace.
        seconds: since the connection was opened.
        prices: how money was counted.
        budget: what may be spent, if that was given.
        state: ``""`` within the budget, or without one; ``"slowed"``: polling and presence are slower than asked
            for, to stay within it; ``"passed"``: writes and reads alone spend more.
    """

    rooms: Mapping[Room, Usage]
    total: Usage
    spent: float
    per_month: float
    rooms_per_month: Mapping[Room, float]
    requests_per_hour: float
    seconds: float
    prices: Prices
    budget: Budget | None = None
    state: BudgetState = ""

    def __str__(self) -> str:
        total = self.total
        return (
            f"{total.requests:,} requests ({total.puts:,} put, {total.lists:,} list, {total.gets:,} get, "
            f"{total.deletes:,} delete), {total.bytes_up:,} bytes up, {total.bytes_down:,} down; "
            f"{self.per_month:.2f} {self.prices.currency} a month at this pace ({self.prices.name})"
        )


class Ledger:
    """Counts the requests of a connection, in all its manifests, and lets looks wait for the budget.

    Its figures can be read from any thread.
    """

    def __init__(self, clock: Clock, prices: Prices) -> None:
        self._clock = clock
        self._prices = prices
        self._priced = False
        self._budget: Budget | None = None
        self._allowance: Allowance | None = None
        self._state: BudgetState = ""
        self._opened = clock.monotonic()
        self._lock = threading.Lock()
        self._before: dict[Room, Usage] = dict.fromkeys(ROOMS, NO_USAGE)  # that of the oldest slot
        self._slots: deque[tuple[int, dict[Room, Tally]]] = deque()
        self._looking = asyncio.Lock()
        self._on_change: list[Callable[[], None]] = []

    def use(self, budget: Budget | float | None, prices: Prices | str | None) -> None:
        """Apply the options of a handle; None leaves them as they are.

        Raises:
            InvalidOption: they are invalid, or another handle gave other ones.
        """
        wanted, priced = checked_budget(budget), checked_prices(prices)
        for name, known, asked in (
            ("budget", self._budget, wanted),
            ("prices", self._prices if self._priced else None, priced),
        ):
            if None not in (known, asked) and known != asked:
                raise InvalidOption(
                    f"already open in this process with a different {name}",
                    operation="connect",
                    remedy="pass shared=False for a connection of its own",
                )
        if priced is not None:
            self._prices, self._priced = priced, True
        if wanted is not None and self._budget is None:
            self._budget = wanted
            per_hour = wanted.requests_per_hour or (wanted.per_month or 0.0) * 3600 / MONTH
            self._allowance = Allowance(per_hour, self._clock.monotonic())
            with self._lock:
                used = sum(self._rooms().values(), NO_USAGE)
            self._charge_budget(used)

    def on_change(self, action: Callable[[], None]) -> None:
        """Call back whenever `state` changes."""
        self._on_change.append(action)

    # -- counting --------------------------------------------------------------------------------------------

    def charge(self, room: Room, usage: Usage) -> None:
        """Count what was used."""
        slot = int((self._clock.monotonic() - self._opened) // _SLOT)
        with self._lock:
            if not self._slots or self._slots[-1][0] != slot:
                self._begin_slot(slot)
            self._slots[-1][1][room].add(usage)
        self._charge_budget(usage)

    def _begin_slot(self, slot: int) -> None:
        self._slots.append((slot, {room: Tally() for room in ROOMS}))
        while self._slots[0][0] <= slot - _SLOTS:
            _, used = self._slots.popleft()
            for room, one in used.items():
                self._before[room] += one.usage

    def _rooms(self) -> dict[Room, Usage]:
        """What was used in all. The caller holds the lock."""
        rooms = dict(self._before)
        for _, used in self._slots:
            for room, one in used.items():
                rooms[room] += one.usage
        return rooms

    def _charge_budget(self, usage: Usage) -> None:
        if self._allowance is None or self._budget is None:
            return
        in_requests = self._budget.requests_per_hour is not None
        self._allowance.charge(usage.requests if in_requests else self._prices.of(usage), self._clock.monotonic())
        self._review()

    def cost(self) -> Cost:
        """The figures now."""
        seconds = self._clock.monotonic() - self._opened
        slot = int(seconds // _SLOT)
        recent: dict[Room, Usage] = dict.fromkeys(ROOMS, NO_USAGE)
        with self._lock:
            rooms = self._rooms()
            for number, used in self._slots:
                if number > slot - _SLOTS:
                    for room, one in used.items():
                        recent[room] += one.usage
        covered = max(min(seconds, seconds - (slot - _SLOTS + 1) * _SLOT), _AT_LEAST)
        total = sum(rooms.values(), NO_USAGE)
        months = MONTH / covered
        per_month: dict[Room, float] = {room: self._prices.of(usage) * months for room, usage in recent.items()}
        return Cost(
            rooms,
            total,
            self._prices.of(total),
            sum(per_month.values()),
            per_month,
            sum(usage.requests for usage in recent.values()) * 3600 / covered,
            seconds,
            self._prices,
            self._budget,
            self._state,
        )

    # -- the budget ------------------------------------------------------------------------------------------

    @property
    def state(self) -> BudgetState:
        """See `Cost.state`."""
        return self._state

    async def wait_to_look(self) -> None:
        """Wait until the budget allows another look; those who wait take turns."""
        if self._allowance is None:
            return
        async with self._looking:
            while (seconds := self._allowance.wait(self._clock.monotonic())) > 0:
                self._review(waiting=True)
                await self._clock.sleep(seconds)
            self._review()

    def _review(self, *, waiting: bool = False) -> None:
        allowance, now = self._allowance, self._clock.monotonic()
        if allowance is None:
            return
        state = self._state
        if allowance.is_passed(now):
            state = "passed"
        elif waiting or state == "passed":
            state = "slowed"
        elif allowance.is_well(now):
            state = ""
        if state != self._state:
            self._state = state
            for action in self._on_change:
                action()
