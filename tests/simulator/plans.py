"""Plans made by hand: what chance would find once in a million runs.

Nothing in them depends on how long opening takes: whoever is to fall asleep at a certain request does so a certain
time after a step of its own began, on a database that an earlier step has opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.simulator import ClientPlan, Fault, Outage, Plan, Stall, Step, Weather

HOUR = 3600.0
DAY = 24 * HOUR
EVEN = Weather(latency=0.05, spread=0.0, clear_at=40 * HOUR)
"""Every way takes 50 ms, so that the moments below can be told beforehand."""


def client(name: str, *steps: Step, **options: Any) -> ClientPlan:
    return ClientPlan(name, steps=steps, poll=HOUR, **options)


def offsets(first: float, last: float, step: float) -> list[float]:
    return [first + number * step for number in range(round((last - first) / step) + 1)]


_FIRST = Step("put", 0, ("key/0",), follow=True)

# -- somebody sleeps while a number is collected -------------------------------------------------------------

_OTHERS = (
    client("bob", *(Step("put", 30, ("key/2",), follow=True) for _ in range(4))),
    client("kim", Step("compact", 200), Step("compact", 100), Step("compact", 1.5 * HOUR), retention=0.0),
)

SLEEPER = Plan(
    seed=1,
    clients=(client("ann", _FIRST, Step("put", 20, ("key/1",))), *_OTHERS),
    weather=EVEN,
    stalls=(Stall("ann", 15.0, 3 * HOUR),),
    faults=(),
)
"""Ann falls asleep before her second commit; meanwhile the number that it aims at is written by Bob and collected."""

DOUBLED_SLEEPER = replace(SLEEPER, faults=(Fault("ann", "put log", 2, "resend", 0.5),))
"""The same, but her request arrives twice: she hears a refusal, and what she then finds is what she created."""

SLEEPING_READER = replace(SLEEPER, clients=(client("ann", _FIRST, Step("refresh", 20, ("key/2",))), *_OTHERS))
"""Ann falls asleep after the first entry; when she asks for the second, it has been collected."""

SLEEPING_PAIR = replace(
    SLEEPER,
    clients=(*SLEEPER.clients, client("dot", Step("refresh", 10, ("key/0",)), Step("refresh", 10, ("key/2",)))),
    stalls=(*SLEEPER.stalls, Stall("dot", 15.0, 3 * HOUR + 1)),
)
"""A reader sleeps as well. When it asks for the second entry, it finds the one that Ann has created again."""


CHUNK_COME_BACK = Plan(
    seed=1,
    clients=(
        client(
            "ann",
            _FIRST,
            Step("put", 5, ("key/1",), follow=True),
            Step("compact", 40),
            Step("refresh", 60, ("key/2",)),
            Step("compact", 6 * HOUR),
        ),
        client("bob", Step("put", 100, ("key/2",), follow=True), Step("delete", 5 * HOUR, ("key/2",), follow=True)),
        client("kim", Step("compact", 200), *(Step("compact", 1.5 * HOUR) for _ in range(3)), retention=0.0),
    ),
    weather=EVEN,
    faults=(),
    chunk=1_000_000,
)
"""Ann's chunk is changed by Bob and collected by Kim; then Bob changes it back, and Ann makes another checkpoint."""


def sleeping_lister(after: float) -> Plan:
    """Ann reads on after a pause, and falls asleep before or after she has listed what is ahead."""
    reading = client("ann", _FIRST, Step("refresh", 300, ("key/2",), sleeps=(after, 3 * HOUR)))
    busy = client("bob", *(Step("put", 20, ("key/2",), follow=True) for _ in range(12)))
    keeper = client("kim", Step("compact", 400), Step("compact", 100), Step("compact", 1.5 * HOUR), retention=0.0)
    return replace(SLEEPER, clients=(reading, busy, keeper), stalls=())


def sleeping_opener(after: float) -> Plan:
    """Ann opens on what her disk holds, and falls asleep meanwhile."""
    steps = (_FIRST, Step("close", 10), Step("get", 10, ("key/0",), sleeps=(after, 20 * HOUR)))
    keeper = client(
        "kim",
        Step("put", 20, ("key/1",)),
        *(Step("compact", HOUR) for _ in range(3)),
        Step("compact", 2 * HOUR),
        retention=0.0,
    )
    return Plan(1, (client("ann", *steps, local=True), keeper), EVEN, faults=())


# -- values and their collection -----------------------------------------------------------------------------


def uploader(asleep: float, hours: float = 30) -> ClientPlan:
    """Ann puts a large value and stands still; it is stored after 0.05 s, she hears so after 0.10, and commits."""
    big = Step("put", 5, ("big/0",), size=300, sleeps=(asleep, hours * HOUR))
    return client("ann", _FIRST, big, inline_limit=40)


def latecomer(asleep: float, *faults: Fault) -> Plan:
    """Somebody collects while Ann, who has uploaded a value, stands still for more than a day."""
    kim = client("kim", Step("put", 20, ("key/1",)), Step("compact", 26 * HOUR), Step("compact", HOUR), retention=0.0)
    return Plan(1, (uploader(asleep), kim), EVEN, faults=faults)


LATECOMER = latecomer(0.2, Fault("ann", "put log", 2, "drop", 0.9))
"""Ann stands still after a first commit in vain of a write with a large value."""


def slow_noter(asleep: float) -> Plan:
    """Ann has looked how old her upload is, and stands still while her disk notes that it is about to be sent."""
    big = Step("put", 40, ("big/0",), size=300, sleeps=(asleep, 30 * HOUR))
    kim = client(
        "kim",
        *(Step("put", 5, ("key/1",)) for _ in range(3)),
        Step("compact", 26 * HOUR),
        Step("compact", HOUR),
        retention=0.0,
    )
    ann = client("ann", _FIRST, big, inline_limit=40, local=True, live=True)
    return Plan(1, (ann, kim), EVEN, faults=())


SLOW_NOTERS = [slow_noter(asleep) for asleep in (0.19, 0.2, 0.21)]

UNCOMMITTED = Plan(
    1,
    (uploader(0.1, hours=3), client("kim", Step("put", 20, ("key/1",)), Step("compact", HOUR), retention=0.0)),
    EVEN,
    faults=(),
)
"""Somebody collects while a value of Ann's is stored, but not committed."""


def drowsy_collector(after: float) -> Plan:
    """Kim falls asleep for more than a day while she collects; meanwhile a value comes and grows a day old."""
    ann = client(
        "ann",
        _FIRST,
        Step("put", HOUR, ("big/0",), size=300, follow=True),
        Step("put", 30 * HOUR, ("big/1",), size=300, follow=True),
        inline_limit=40,
    )
    kim = client("kim", Step("get", 2 * HOUR, ("key/0",)), Step("compact", 28 * HOUR, sleeps=(after, 30 * HOUR)))
    return Plan(1, (ann, kim), replace(EVEN, clear_at=70 * HOUR), faults=())


# -- two who compact -----------------------------------------------------------------------------------------


def two_keepers(after: float, seconds: float = 100.0) -> Plan:
    """Kim falls asleep while she compacts; Lea writes one more entry and compacts."""
    kim = client("kim", Step("get", 50, ("key/0",)), Step("compact", 50, sleeps=(after, seconds)), retention=0.0)
    lea = client("lea", Step("put", 120, ("key/1",), follow=True), Step("compact", 10), retention=0.0)
    return Plan(1, (client("ann", _FIRST), kim, lea), EVEN, faults=())


TWO_FIRSTS = Plan(1, (client("ann", _FIRST), client("bob", _FIRST)), EVEN, faults=())
"""Two clients create the manifest at the same time."""

# -- what a disk keeps ---------------------------------------------------------------------------------------


_OFFLINE = (Outage("ann", 15.0, 60.0),)

OFFLINE_WRITER = Plan(
    1,
    (
        client(
            "ann",
            _FIRST,
            Step("put", 20, ("key/1",)),
            *(Step("put", 0.5, (f"key/{number}",)) for number in range(2, 6)),
            *(Step("put", 0, (f"todo/{number}",)) for number in range(5)),
            Step("crash", 1),
            Step("get", 1, ("key/5",)),
            Step("settle", 60),
            local=True,
        ),
    ),
    EVEN,
    outages=_OFFLINE,
    faults=(),
)
"""Ann writes while the bucket is out of reach, dies before she has sent it, and starts again."""

SHORT_LIVES = replace(
    OFFLINE_WRITER,
    clients=(
        client(
            "ann",
            _FIRST,
            *(Step("put", 20 if number == 0 else 1, (f"todo/{number}",), dies=0.0005) for number in range(5)),
            Step("settle", 60),
            local=True,
        ),
    ),
)
"""Ann dies each time half a millisecond after she has written, while the bucket is out of reach."""

SHORT_MEMORY = replace(
    OFFLINE_WRITER,
    clients=(
        client(
            "ann",
            _FIRST,
            Step("put", 10, ("key/1",), follow=True),
            Step("crash", 0.2),
            Step("get", 10, ("key/1",)),
            local=True,
        ),
    ),
)
"""Ann dies between a commit and saving the state that holds it, and starts again out of reach of the bucket."""


def forgetful(days: float) -> Plan:
    """Ann dies before she hears of her second commit, and starts again when the log has nothing of it any more."""
    ann = client(
        "ann",
        _FIRST,
        Step("put", 10, ("key/1",), dies=5.0),
        Step("get", days * DAY, ("key/1",)),
        Step("get", HOUR, ("key/1",)),
        local=True,
    )
    kim = client(
        "kim",
        *(Step("put", days * DAY / 3, ("key/2",)) for _ in range(2)),
        Step("compact", days * DAY / 4),
        *(Step("compact", 2 * HOUR) for _ in range(3)),
        retention=0.0,
    )
    weather = replace(EVEN, clear_at=HOUR)
    return Plan(1, (ann, kim), weather, faults=(Fault("ann", "put log", 2, "lost", 0.9),))


RESTARTER = Plan(
    1,
    (
        client("ann", _FIRST, Step("crash", 10), Step("put", 10, ("key/1",), follow=True)),
        client("bob", Step("get", 60, ("key/1",))),
    ),
    EVEN,
    faults=(),
)
"""A client dies and starts again, without a disk."""

MANY_REFRESHES = Plan(
    1,
    (
        client("ann", _FIRST, *(Step("put", 0.45, ("key/0",), follow=True) for _ in range(8))),
        client("bob", Step("refresh", 0, ("key/0",)), *(Step("refresh", 0.6, ("key/0",)) for _ in range(20))),
    ),
    EVEN,
    faults=(),
)
"""Somebody refreshes again and again while another writes."""

# -- versions that come to light late ------------------------------------------------------------------------

_KEYS = ("key/0", "key/1", "key/2")
_LATE = Weather(latency=0.05, spread=0.0, clear_at=60.0, hidden=((2, 12.0),))

LATE_CAUSE = Plan(
    1,
    (
        client("ann", Step("get", 8, _KEYS), Step("put", 2, ("key/0",))),
        client(
            "bob",
            Step("put", 3, ("key/1",), follow=True),
            *(Step("put", 8 - 7.5 * (turn > 0), ("key/1",), follow=True) for turn in range(4)),
        ),
        client("cid", Step("refresh", 23, _KEYS), Step("put", 1, ("key/2",), follow=True)),
        client("dot", Step("refresh", 20, _KEYS), Step("refresh", 4.6, _KEYS), Step("get", 30, _KEYS)),
    ),
    replace(_LATE, page=3),
    faults=(),
    protocol="versioned",
)
"""Ann's version comes to light below four of Bob's, and Cid answers it. Dot, who knows Bob's, reads a part of the list."""

UNHEARD_OF = Plan(
    1,
    (
        client("ann", Step("put", 3, ("key/1",), follow=True), Step("put", 5, ("key/0",))),
        client("bob", Step("get", 8, ("key/0",)), Step("put", 3, ("key/2",))),
        ClientPlan("cid", poll=5.0, live=True, steps=(Step("observe", 6, ("key/0",)), Step("get", 60, ("key/1",)))),
    ),
    _LATE,
    faults=(),
    protocol="versioned",
)
"""Ann's version comes to light below Bob's, and nobody writes after that."""

OVERTAKEN = replace(
    UNHEARD_OF,
    clients=(
        client("ann", Step("put", 3, ("key/1",), follow=True), Step("put", 5, ("key/0",))),
        client("bob", Step("get", 8, _KEYS), Step("put", 3, ("key/0",), follow=True)),
        ClientPlan("cid", poll=0.5, live=True, steps=tuple(Step("get", 2, _KEYS) for _ in range(30))),
    ),
    weather=replace(_LATE, hidden=((2, 25.0),)),
)
"""The same, of one key, and Cid sees it again and again."""

DENIED = Plan(
    1,
    (client("ann", _FIRST, Step("put", 3, ("key/1",), follow=True)),),
    EVEN,
    outages=(Outage("ann", 4.0, 60.0, "denied"),),
    faults=(),
)
"""A client loses its permissions for a while."""
