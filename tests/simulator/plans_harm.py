"""Plans made by hand: answers that are damaged, puts that arrive once more, dates that are wrong for one client."""

from __future__ import annotations

from dataclasses import replace

from tests.simulator import Fault, Plan, Shift, Step
from tests.simulator.plans import DAY, EVEN, HOUR, SLEEPER, client, latecomer

_FIRST = Step("put", 0, ("key/0",), follow=True)
_OPAQUE = replace(EVEN, opaque=True)
_SPOTS = tuple(0.3 + spot / 40 + 0.0123 for spot in range(28))
"""Bits all over a body."""


def damaged(channel: str, nth: int, extra: float, *, opaque: bool = False, protocol: str = "sequenced") -> Plan:
    """Bob gets a damaged answer when he reads what Ann has written, and goes on from there."""
    bob = client(
        "bob",
        Step("observe", 10, ("big/0",)),
        Step("put", 1, ("key/1",), follow=True),
        inline_limit=40,
    )
    ann = client("ann", _FIRST, Step("put", 1, ("big/0",), size=300, follow=True), inline_limit=40)
    weather = _OPAQUE if opaque else EVEN
    faults = (Fault("bob", channel, nth, "damaged", extra),)
    return Plan(1, (ann, bob), weather, faults=faults, protocol=protocol)  # type: ignore[arg-type]


DAMAGED_ENTRIES = [damaged("get log", nth, extra) for extra in _SPOTS for nth in (1, 2)]
DAMAGED_OPAQUE_ENTRIES = [damaged("get log", nth, extra, opaque=True) for extra in _SPOTS for nth in (1, 2)]
DAMAGED_HEADS = [damaged("get head", 1, extra) for extra in _SPOTS]
DAMAGED_VALUES = [damaged("get values", 1, extra) for extra in _SPOTS[:4]]
DAMAGED_OPERATIONS = [
    damaged("get operation", nth, extra, opaque=True, protocol="mps3") for extra in _SPOTS for nth in (1, 2)
]
DAMAGED_VERSIONS = [
    damaged("get manifest", nth, extra, opaque=opaque, protocol="versioned")
    for extra in _SPOTS[:8]
    for nth in (1, 2)
    for opaque in (False, True)
]

STORED_TWICE = Plan(
    1,
    (
        client("ann", _FIRST, Step("put", 10, ("key/1",), follow=True), Step("refresh", HOUR, ("key/1",)), live=True),
        client("bob", Step("get", 20, ("key/1",)), Step("get", HOUR, ("key/1",)), live=True),
    ),
    EVEN,
    faults=(Fault("ann", "put operation", 2, "repeated", 0.5),),
    protocol="mps3",
)
"""Ann's second operation arrives once more, some minutes later, when everybody has read it."""


def _ahead(name: str, start: float, end: float) -> Shift:
    return Shift(name, start, end, 2 * DAY)


_BUSY = client("ann", _FIRST, *(Step("put", 60, (f"key/{number % 3}",), follow=True) for number in range(12)))

COLLECTOR_AHEAD = Plan(
    1,
    (_BUSY, client("kim", *(Step("compact", 100) for _ in range(8)))),
    EVEN,
    shifts=(_ahead("kim", 0.0, 2 * HOUR),),
    faults=(),
)
"""Whoever compacts gets answers that are dated two days ahead."""

COLLECTOR_THROWN_AHEAD = replace(COLLECTOR_AHEAD, shifts=(_ahead("kim", 350.0, 2 * HOUR),))
"""The same, from some moment on."""


def _sleeping_writer(after: float) -> Plan:
    ann = client("ann", _FIRST, Step("put", 20, ("key/1",), sleeps=(after, 3 * HOUR)))
    return replace(SLEEPER, clients=(ann, *SLEEPER.clients[1:]), stalls=(), shifts=(_ahead("ann", 0.0, 100.0),))


SLEEPERS_FROM_THE_FUTURE = [_sleeping_writer(after) for after in (0.005, 0.055, 0.105, 0.155)]
"""Ann's lease is dated two days ahead when she falls asleep over a commit; her answers afterwards are dated right."""

LATECOMERS_FROM_THE_FUTURE = [
    replace(latecomer(asleep, Fault("ann", "put log", 2, "drop", 0.9)), shifts=(_ahead("ann", 0.0, 100.0),))
    for asleep in (0.2, 0.25, 0.3, 0.35)
]
"""Ann's upload is dated two days ahead; more than a day later, when it has been collected, she commits it."""
