"""From a seed to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from rxmps3.log.protocol import ProtocolName
from rxmps3.runtime.clock import Random
from tests.simulator.plan import BellPlan, ClientPlan, FaultKind, Outage, Plan, Shift, Stall, Step, Verb, Weather

__all__ = ["PAIRS", "draw_plan", "harmed", "with_bell", "with_partial_replicas"]

T = TypeVar("T")

NAMES = ("ann", "bob", "cid", "dot", "eve", "fay", "gus", "hal", "ivy", "jon")
PLAIN = tuple(f"key/{number}" for number in range(6))
BIG = tuple(f"big/{number}" for number in range(2))
TODO = tuple(f"todo/{number}" for number in range(5))
PAIRS = (("pair/left", "pair/right"), ("twin/a", "twin/b"))
"""Keys that are only ever written together, with one value: whoever sees them differ has seen half a write."""
_WIDENED = 4
"""Writes of so many keys become larger ones."""
PREFIXES = ("", "key/", "todo/", "pair/", "big/", "nothing/")

_FAULTS: tuple[tuple[FaultKind, float], ...] = (
    ("drop", 0.1),
    ("lost", 0.15),
    ("late", 0.1),
    ("resend", 0.15),
    ("conflict", 0.2),
    ("internal", 0.1),
    ("internal-done", 0.1),
    ("throttled", 0.1),
    ("unavailable", 0.1),
    ("slow", 0.2),
)
"""Each kind with the highest chance it is drawn with."""
_SHIFTS = (2 * 86400.0, -2 * 86400.0, 7200.0, -7200.0)
"""By how many seconds the dates of answers may be wrong."""
_CONDITIONS_IN = 3
"""In one of so many histories of the sequenced log some puts have a condition."""
_CHUNKS = (0, 0, 40, 100, 200)
"""Mean weights of the chunks of a checkpoint; an entry weighs about 40. 0: there are none."""
_CONDITIONAL: tuple[Verb, ...] = ("replace", "replace", "claim")
_ASKED = 0.6
_KEEPERS_VERBS: tuple[Verb, ...] = ("compact", "compact", "compact", "compact", "get_prefix", "crash")
_AGES = 1000.0
"""With pauses of more than so many seconds a run is long enough for things to be collected."""
_LONGEST_OUTAGE = 6000.0
"""Replicas try again every half minute or so all through an outage."""
_OUTAGES: tuple[Literal["cut off", "denied", "disk full"], ...] = ("cut off", "cut off", "denied", "disk full")


@dataclass(frozen=True)
class _Span:
    """The time scale of a run."""

    pause: float
    poll: tuple[float, float]
    stall: float
    lateness: float


_SPANS = (
    (0.4, _Span(pause=0.5, poll=(0.3, 3.0), stall=20.0, lateness=30.0)),
    (0.2, _Span(pause=8.0, poll=(3.0, 30.0), stall=300.0, lateness=600.0)),
    (0.15, _Span(pause=240.0, poll=(60.0, 600.0), stall=7200.0, lateness=10800.0)),
    (0.2, _Span(pause=9000.0, poll=(1200.0, 7200.0), stall=80000.0, lateness=100000.0)),
    (0.05, _Span(pause=400000.0, poll=(40000.0, 90000.0), stall=4000000.0, lateness=3000000.0)),
)


def with_partial_replicas(plan: Plan) -> Plan:
    """The plan with every other client keeping only some of the keys.

    No disk is copied from one client to another: what waits on it may rest on keys that the other does not keep.
    """
    rng = Random(f"prefixes {plan.seed}")
    clients: list[ClientPlan] = []
    for place, client in enumerate(plan.clients):
        prefixes = rng.choice((("key/",), ("key/1", "key/echo", "todo/"), ("big/", "pair/")))
        steps = tuple(step for step in client.steps if step.verb != "clone")
        clients.append(replace(client, prefixes=prefixes if place % 2 else (), steps=steps))
    return replace(plan, clients=tuple(clients))


def draw_plan(
    seed: int, *, clients: int = 5, steps: int = 30, faults: bool = True, protocol: ProtocolName = "sequenced"
) -> Plan:
    """A random plan.

    Args:
        seed: decides everything.
        clients: how many at most.
        steps: how many each does at most.
        faults: whether anything goes wrong.
        protocol: of the log.
    """
    rng = Random(f"plan {seed}")
    span = _choose(rng, _SPANS)
    count = rng.randint(min(2, clients), clients) if rng.random() < 0.9 else 1
    players = tuple(_draw_client(rng, name, span, steps, faults=faults) for name in NAMES[:count])
    if span.pause > _AGES and rng.random() < 0.8:
        players = (*players, _draw_keeper(rng, span, faults=faults))
    end = max(player.duration for player in players)
    clear_at = end * rng.uniform(0.6, 1.1)
    weather = _draw_weather(rng, span, clear_at, faults=faults)
    stalls: list[Stall] = []
    outages: list[Outage] = []
    if faults:
        names = [player.name for player in players]
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            start = rng.uniform(0, clear_at)
            stalls.append(Stall(rng.choice(names), start, start + span.stall * rng.random() ** 2))
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            start = rng.uniform(0, clear_at)
            who = rng.choice([*names, ""])
            how = rng.choice(_OUTAGES)
            outages.append(Outage(who, start, start + min(span.stall, _LONGEST_OUTAGE) * rng.random() ** 2, how))
    plan = Plan(
        seed,
        players,
        weather,
        tuple(stalls),
        tuple(outages),
        checkpoint_every=rng.choice((2, 3, 5, 10, 200)),
    )
    return _fitted(plan, protocol, faults=faults)


def harmed(plan: Plan) -> Plan:
    """The same, and some answers are damaged, some puts arrive once more minutes later, or somebody's answers are dated
    wrong."""
    rng = Random(f"harm {plan.seed}")
    chances = list(plan.weather.chances)
    opaque = rng.random() < 0.3
    if rng.random() < 0.5:
        chances.append(("damaged", rng.choice((0.02, 0.1))))
    # what an operation tells rests on when it was stored: a second time is survived only by who has seen the first
    if rng.random() < 0.4 and plan.protocol != "mps3":
        chances.append(("repeated", rng.choice((0.02, 0.1))))
    shifts: tuple[Shift, ...] = ()
    if rng.random() < 0.4 and plan.protocol != "mps3":
        who = rng.choice([client.name for client in plan.clients])
        start = rng.choice((0.0, rng.uniform(0, plan.weather.clear_at)))
        end = max(start, rng.choice((plan.weather.clear_at, rng.uniform(start, max(start, plan.weather.clear_at)))))
        shifts = (Shift(who, start, end, rng.choice(_SHIFTS)),)
    return replace(plan, weather=replace(plan.weather, chances=tuple(chances), opaque=opaque), shifts=shifts)


def with_bell(plan: Plan) -> Plan:
    """The same plan, with a bell between the clients that may do all that bells may do."""
    rng = Random(f"bell {plan.seed}")
    end = plan.weather.clear_at
    dead = tuple(
        (start, start + min(rng.uniform(0, end / 2), _LONGEST_OUTAGE))
        for start in (rng.uniform(0, end) for _ in range(rng.choice((0, 0, 1, 3))))
    )
    return replace(
        plan,
        bell=BellPlan(
            lost=rng.choice((0.0, 0.0, 0.3, 1.0)),
            doubled=rng.choice((0.0, 0.5)),
            late=rng.choice((0.05, 1.0, 60.0)),
            lies=rng.choice((0.0, 0.0, max(end / 200, 0.02), max(end / 20, 0.1))),
            dead=dead,
        ),
    )


def _with_conditions(client: ClientPlan, rng: Random) -> ClientPlan:
    """Some of its puts ask for what is there."""
    steps = tuple(
        replace(step, verb=rng.choice(_CONDITIONAL)) if step.verb == "put" and rng.random() < _ASKED else step
        for step in client.steps
    )
    return replace(client, steps=steps)


def _with_packs(client: ClientPlan) -> ClientPlan:
    """Some of its writes name all keys that are not written in pairs, with values that are packed if any are."""
    steps = tuple(
        replace(step, keys=(*PLAIN, *TODO, *BIG), size=60)
        if step.verb == "put_all" and len(step.keys) == _WIDENED
        else step
        for step in client.steps
    )
    return replace(client, steps=steps)


def _fitted(plan: Plan, protocol: ProtocolName, *, faults: bool) -> Plan:
    """The same for another log."""
    rng = Random(f"{protocol} {plan.seed}")
    weather = plan.weather
    if protocol == "sequenced" and plan.seed % _CONDITIONS_IN == 0:
        plan = replace(plan, clients=tuple(_with_conditions(client, rng) for client in plan.clients))
    if protocol == "sequenced":
        plan = replace(plan, clients=tuple(_with_packs(client) for client in plan.clients))
        plan = replace(plan, chunk=Random(f"chunk {plan.seed}").choice(_CHUNKS))
    if protocol == "versioned":
        hiding = rng.choice(((0.0, 0.0), (0.1, 3.0), (0.3, 60.0), (0.1, 1100.0)))
        disorder = rng.choice((0.0, 0.0, 0.2, 1.5))
        weather = replace(weather, hiding=hiding, disorder=disorder) if faults else weather
    elif protocol == "mps3":
        # whether an operation counts is decided to the second, so the servers agree that far
        weather = replace(weather, frontends=min(weather.frontends, 1))
        # nor does an operation tell whose writes it holds, so a disk that goes back in time may send some again
        clients = tuple(
            replace(client, steps=tuple(step for step in client.steps if step.verb not in ("recover", "clone")))
            for client in plan.clients
        )
        versioning = rng.random() < 0.3
        return replace(plan, clients=clients, weather=weather, protocol=protocol, versioning=versioning)
    return replace(plan, weather=weather, protocol=protocol)


def _draw_weather(rng: Random, span: _Span, clear_at: float, *, faults: bool) -> Weather:
    chances: list[tuple[FaultKind, float]] = []
    if faults and rng.random() < 0.9:
        severity = rng.choice((0.05, 0.3, 1.0))
        chances = [(kind, most * severity * rng.random()) for kind, most in _FAULTS if rng.random() < 0.5]
    return Weather(
        latency=rng.choice((0.005, 0.03, 0.1, 0.3)),
        spread=rng.choice((0.1, 0.5, 1.0)),
        chances=tuple(chances),
        patience=rng.choice((3.0, 10.0, 60.0)),
        lateness=span.lateness,
        clear_at=clear_at,
        page=rng.choice((1000, 1000, 3, 1)),
        frontends=rng.choice((0, 0, 1, 2)),
        signature=rng.choice((900.0, 900.0, float("inf"))),
        sheltered=rng.choice(((), ("probe",), ("probe",))),
    )


def _draw_client(rng: Random, name: str, span: _Span, most_steps: int, *, faults: bool) -> ClientPlan:
    verbs = _draw_habits(rng, faults=faults)
    steps = [_draw_step(rng, _choose(rng, verbs), span, faults=faults) for _ in range(rng.randint(3, most_steps))]
    return ClientPlan(
        name,
        poll=round(rng.uniform(*span.poll), 2),
        live=rng.random() < 0.3,
        skew=rng.choice((0.0, 0.0, 1.5, -90.0, 86400.0, -4e8)),
        inline_limit=rng.choice((40, 40, 200, 4096)),
        cache_bytes=rng.choice((0, 100, 1 << 20)),
        local=rng.random() < 0.35,
        retention=rng.choice((0.0, 3600.0, 20000.0, 86400.0)),
        steps=tuple(steps),
    )


def _draw_keeper(rng: Random, span: _Span, *, faults: bool) -> ClientPlan:
    """Somebody who does little but compact."""
    verbs = _KEEPERS_VERBS if faults else _KEEPERS_VERBS[:-1]
    steps = [
        Step(rng.choice(verbs), round(rng.expovariate(1 / span.pause), 3), ("",)) for _ in range(rng.randint(5, 25))
    ]
    return ClientPlan(
        "kim",
        poll=round(rng.uniform(*span.poll), 2),
        skew=rng.choice((0.0, -90.0, 86400.0)),
        retention=rng.choice((0.0, 3600.0, 20000.0)),
        steps=tuple(steps),
    )


def _draw_habits(rng: Random, *, faults: bool) -> list[tuple[float, Verb]]:
    """What this client likes to do."""
    usual: list[tuple[float, Verb]] = [
        (6, "put"),
        (4, "put_all"),
        (2, "delete"),
        (4, "get"),
        (1, "get_prefix"),
        (2, "refresh"),
        (1, "settle"),
        (1.5, "observe"),
        (1.5, "observe_many"),
        (1.5, "observe_prefix"),
        (0.7, "changes"),
        (0.5, "versions"),
        (0.4, "echo"),
        (1, "dispose"),
        (0.7, "compact"),
        (0.7, "cancel"),
        (0.5, "close"),
        (0.7 if faults else 0.0, "crash"),
        (0.5 if faults else 0.0, "backup"),
        (0.5 if faults else 0.0, "recover"),
        (0.2 if faults else 0.0, "clone"),
    ]
    return [(weight * rng.choice((0.0, 0.5, 1.0, 1.0, 2.0)) + 1e-6, verb) for weight, verb in usual]


def _draw_step(rng: Random, verb: Verb, span: _Span, *, faults: bool) -> Step:
    wait = 0.0 if rng.random() < 0.4 else round(rng.expovariate(1 / span.pause), 3)
    follow = rng.random() < 0.3
    dies = sleeps = None
    if faults and rng.random() < 0.02:
        sleeps = round(rng.expovariate(1 / 0.2), 4), round(span.stall * rng.random() ** 2, 2)
    if faults and rng.random() < 0.02 and verb not in ("close", "crash", "backup", "recover", "clone"):
        dies = round(rng.expovariate(1 / 0.2), 4)
    size = 0
    keys: tuple[str, ...] = ()
    if verb == "put":
        keys = (rng.choice((*PLAIN, *BIG, *TODO)),)
        size = rng.choice((100, 300)) if keys[0] in BIG else rng.choice((0, 0, 0, 0, 60))
    elif verb == "put_all":
        if rng.random() < 0.7:
            keys = rng.choice(PAIRS)
        else:
            keys = tuple(rng.sample((*PLAIN, *TODO, *BIG), rng.randint(2, 4)))
        size = rng.choice((0, 0, 0, 60))
    elif verb == "delete":
        keys = (rng.choice(TODO),) if rng.random() < 0.8 else rng.choice(PAIRS)
    elif verb == "clone":
        keys = (rng.choice(NAMES[:5]),)
    elif verb == "cancel":
        keys = (rng.choice((*PLAIN, *BIG)),)
        size = rng.choice((0, 300))
    elif verb in ("get", "refresh", "observe_many"):
        pool = (*PLAIN, *TODO, *BIG)
        keys = rng.choice((*PAIRS, tuple(rng.sample(pool, rng.randint(1, 4))), (rng.choice(pool),)))
    elif verb in ("observe", "echo"):
        keys = (rng.choice((*PLAIN, *BIG, *TODO)),)
    elif verb in ("get_prefix", "observe_prefix", "changes"):
        keys = (rng.choice(PREFIXES),)
        size = rng.choice((0, 0, 2, -2)) if verb != "changes" else 0
    return Step(verb, wait, keys, size, follow, sleeps, dies)


def _choose(rng: Random, weighted: Sequence[tuple[float, T]]) -> T:
    return rng.choices([item for _, item in weighted], [weight for weight, _ in weighted])[0]
