"""Plans made by hand for the mps3 log."""

from __future__ import annotations

from dataclasses import replace

from tests.simulator import ClientPlan, Fault, Outage, Plan, Stall, Step
from tests.simulator.plans import EVEN, client

_IMPATIENT = replace(EVEN, patience=4.0)
"""A late request arrives four seconds after it was sent, if no chance is in it."""
_FIRST = Step("put", 0, ("key/0",), follow=True)


def _plan(*clients: ClientPlan, faults: tuple[Fault, ...] = (), impatient: bool = False) -> Plan:
    return Plan(1, clients, _IMPATIENT if impatient else EVEN, faults=faults, protocol="mps3")


MASKED = _plan(
    client("ann", _FIRST, Step("put", 10, ("key/1",))),
    client("bob", Step("get", 5, ("key/0",)), Step("put", 9, ("key/2",), sleeps=(0.17, 4.5))),
    faults=(Fault("ann", "put operation", 2, "late", 0.0),),
    impatient=True,
)
"""Ann's operation arrives just after Bob has listed, when it is four seconds old; Bob stores his as late as he may."""

VANISHING = _plan(
    client("ann", _FIRST, *(Step("put", 30, (f"key/{number}",), follow=True) for number in (1, 2, 3))),
    client(
        "bob",
        Step("get", 35, ("key/0", "key/1")),
        Step("refresh", 40, ("key/0", "key/1"), sleeps=(0.07, 100.0)),
    ),
    client("kim", Step("compact", 120), retention=0.0),
)
"""Bob falls asleep between listing and reading; the newest operation that he has listed is collected meanwhile."""

LAST_WORDS = _plan(
    client(
        "ann",
        _FIRST,
        Step("put", 10, ("key/1",)),
        Step("crash", 1),
        Step("get", 1, ("key/1",)),
        Step("settle"),
        local=True,
    ),
    faults=(Fault("ann", "put operation", 2, "late", 0.0),),
    impatient=True,
)
"""Ann dies and begins anew while an operation of hers is on its way."""

STUNNED = [
    replace(
        LAST_WORDS,
        clients=(
            client(
                "ann",
                _FIRST,
                Step("put", 10, ("key/1",)),
                Step("crash", 1),
                Step("get", 0.1, ("key/1",), sleeps=(after, 20.0)),
                Step("settle"),
                local=True,
            ),
        ),
    )
    for after in (0.4, 0.45, 0.5)
]
"""The same, and she stands still when she has listed what there is, until the operation has long arrived."""

FORGOTTEN = _plan(
    client(
        "ann",
        _FIRST,
        Step("put", 10, ("key/1",), dies=5.0),
        Step("get", 200, ("key/1",)),
        Step("settle", 1),
        local=True,
    ),
    client("bob", *(Step("put", 30, (key,), follow=True) for key in ("key/1", "key/2", "key/2"))),
    client("kim", Step("compact", 150), retention=0.0),
    faults=(Fault("ann", "put operation", 2, "lost", 0.9),),
)
"""Ann dies before she hears of her second operation; when she begins anew it is overwritten and collected."""

DELETED_TWICE = _plan(
    client(
        "ann",
        _FIRST,
        Step("delete", 10, ("todo/0",)),
        Step("put", 0.5, ("key/1",)),
        Step("crash", 1),
        Step("settle", 10),
        local=True,
    ),
    client("bob", Step("delete", 15, ("todo/0",), follow=True)),
    faults=(Fault("ann", "put operation", 2, "drop", 0.5),),
)
"""Ann's deletion never arrives; her next process finds Bob's and goes on with what she wrote after hers."""

TWO_DELETIONS = _plan(
    client("ann", _FIRST, Step("delete", 10, ("key/0",)), Step("delete", 0.07, ("key/0",)), Step("put", 0, ("key/1",))),
    faults=(Fault("ann", "list operation", 4, "internal", 0.5),),
)
"""Ann deletes a key once more while the operation that deletes it is under way; the next one holds that and a put."""

FORGOTTEN_MEANWHILE = [
    replace(
        _plan(
            client(
                "ann",
                _FIRST,
                Step("put", 10, ("key/1",), dies=5.0),
                Step("get", 5, ("key/1",)),
                Step("settle", 1),
                local=True,
            ),
            client(
                "bob",
                Step("get", 25, ("key/2",)),
                *(Step("put", 30, (key,), follow=True) for key in ("key/1", "key/2", "key/2")),
            ),
            client("kim", Step("compact", 190), retention=0.0),
            faults=(Fault("ann", "put operation", 2, "lost", 0.9),),
        ),
        outages=(Outage("ann", 21.2, 36.0),),
        stalls=(Stall("ann", asleep, 321.0),),
    )
    for asleep in (40.25, 40.3, 40.35, 40.4)
]
"""As in `FORGOTTEN`, but Ann begins anew before it is overwritten; she stands still between listing and reading it."""
