"""What is to happen in one run: who does what and when, and what goes wrong. Data, so that it can be cut down.

A plan follows from a seed (`drawing.draw_plan`). The faults of its requests are drawn from its `Weather` as the run
goes; a run reports those that happened, and a plan that lists them explicitly repeats the run without chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rxmps3.log.protocol import ProtocolName

__all__ = [
    "BellPlan",
    "ClientPlan",
    "Fault",
    "FaultKind",
    "Outage",
    "Plan",
    "Shift",
    "Stall",
    "Step",
    "Verb",
    "Weather",
]

Verb = Literal[
    "put",
    "put_all",
    "delete",
    "replace",  # put, if the key is still what this client sees
    "claim",  # put, if the key is not there
    "get",
    "get_prefix",
    "refresh",
    "settle",
    "observe",
    "observe_many",
    "observe_prefix",
    "changes",
    "versions",
    "echo",
    "dispose",
    "compact",
    "cancel",
    "backup",
    "recover",
    "clone",
    "close",
    "crash",
]

FaultKind = Literal[
    "drop",  # the request never arrives; the client waits in vain
    "lost",  # it is carried out, the answer does not come
    "late",  # the client gives up; it is carried out much later
    "resend",  # carried out twice; the client hears the second answer
    "conflict",  # 409, not carried out
    "internal",  # 500, not carried out
    "internal-done",  # 500, carried out
    "throttled",  # 429 with Retry-After, not carried out
    "unavailable",  # 503, not carried out
    "slow",  # takes many times as long
    "damaged",  # the body that comes back is cut off, or has one wrong bit; what is stored is intact
    "repeated",  # carried out once more minutes later; the client hears the first answer
]


_HARSH: frozenset[Verb] = frozenset({"crash", "recover", "clone"})


@dataclass(frozen=True)
class Weather:
    """How the network and the bucket behave until ``clear_at``; afterwards nothing goes wrong any more.

    Attributes:
        latency: the usual time of one way, in seconds.
        spread: how much it varies: the sigma of a log-normal distribution.
        chances: the probability of each kind of fault, per request.
        patience: after so many seconds without an answer the client's HTTP library gives up.
        lateness: a late request is carried out at most so many seconds later.
        clear_at: when all faults end, in seconds of virtual time.
        page: the most names on a page of a listing.
        frontends: by how many seconds the servers behind one address differ in their ``Date``.
        signature: a request that leaves the client so many seconds after it was made is refused, as S3 refuses an old
            signature.
        sheltered: rooms of the bucket whose requests are left alone, such as ``"probe"``.
        hiding: the chance that a version of the manifest is not listed at first, and for how many seconds at most.
        hidden: versions of the manifest that are not listed at first whatever chance says: each by its number, counted
            from 1 as they are stored, and the seconds.
        disorder: a version of the manifest may be listed below ones that were stored up to so many seconds before it.
        opaque: the server's ETags are not the MD5 of what they are of.
    """

    latency: float = 0.05
    spread: float = 0.3
    chances: tuple[tuple[FaultKind, float], ...] = ()
    patience: float = 10.0
    lateness: float = 60.0
    clear_at: float = 60.0
    page: int = 1000
    frontends: int = 0
    signature: float = float("inf")
    sheltered: tuple[str, ...] = ()
    hiding: tuple[float, float] = (0.0, 0.0)
    hidden: tuple[tuple[int, float], ...] = ()
    disorder: float = 0.0
    opaque: bool = False


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with one request: a client's ``nth`` request on a channel such as ``"put log"``.

    ``extra`` is a number between 0 and 1 for whatever the fault leaves open, such as how late.
    """

    client: str
    channel: str
    nth: int
    kind: FaultKind
    extra: float

    def __str__(self) -> str:
        return f"{self.client}'s {self.channel} no. {self.nth}: {self.kind} ({self.extra:.3f})"


@dataclass(frozen=True)
class Stall:
    """A client stands still: its timers, and what it has not sent or not heard yet, wait until the end."""

    client: str
    start: float
    end: float


@dataclass(frozen=True)
class Shift:
    """The answers to a client are dated so many seconds wrong, as by a proxy with a clock of its own."""

    client: str
    start: float
    end: float
    seconds: float


@dataclass(frozen=True)
class Outage:
    """A client, or everyone ("") is cut off from the bucket, or refused (403).

    ``how`` is ``"cut off"``, ``"denied"``, or ``"disk full"``, which is about the client's own disk.
    """

    client: str
    start: float
    end: float
    how: Literal["cut off", "denied", "disk full"] = "cut off"


@dataclass(frozen=True)
class BellPlan:
    """How the bell between the clients behaves.

    Attributes:
        lost: the chance that a ring does not reach a listener.
        doubled: the chance that it reaches it twice.
        late: it takes up to so many seconds.
        lies: it rings by itself every so many seconds; 0 is never.
        dead: from when to when it does not work.
    """

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    lies: float = 0.0
    dead: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Step:
    """One thing that a client does, ``wait`` seconds after the one before; it opens the database if it is not open.

    Attributes:
        verb: what.
        wait: seconds before it.
        keys: the keys or the prefix it is about.
        size: pads the value to about so many bytes; or the window of a prefix, last n if positive.
        follow: wait for the commit.
        sleeps: the client stands still, from so many seconds after the step began, for so many seconds.
        dies: the process dies so many seconds after the step began.
    """

    verb: Verb
    wait: float = 0.0
    keys: tuple[str, ...] = ()
    size: int = 0
    follow: bool = False
    sleeps: tuple[float, float] | None = None
    dies: float | None = None


@dataclass(frozen=True)
class ClientPlan:
    """One player, over all its restarts.

    Attributes:
        name: for the trace, and its ``by``.
        poll: seconds.
        live: keeps polling while nothing is observed.
        skew: seconds by which its wall clock is wrong.
        inline_limit: bytes.
        cache_bytes: bytes.
        local: keeps an outbox and the last known state on its disk.
        retention: how many seconds back the log is to reach.
        prefixes: it keeps only the keys under these; none: all.
        steps: in order, one after the other.
    """

    name: str
    poll: float = 1.0
    live: bool = False
    skew: float = 0.0
    inline_limit: int = 4096
    cache_bytes: int = 1 << 20
    local: bool = False
    retention: float = 86400.0
    prefixes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds that its steps take at the least."""
        return sum(step.wait + (step.sleeps[1] if step.sleeps is not None else 0.0) for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """A whole run.

    Attributes:
        seed: of everything that chance still decides: latencies, jitter, ids, drawn faults.
        clients: who takes part.
        weather: what may go wrong with requests.
        stalls, outages: what goes wrong with clients.
        shifts: whose answers are dated wrong, and when.
        faults: None draws them from the weather; else exactly these.
        checkpoint_every: so many entries make a checkpoint due.
        chunk: the mean weight of a chunk, and a checkpoint is in chunks from two or three entries on; 0 is the library's.
        protocol: of the log; its bucket keeps versions if that needs them.
        versioning: in the mps3 protocol, values are versions of one object per key.
        bell: the bell that all clients have, if they have one.
    """

    seed: int
    clients: tuple[ClientPlan, ...]
    weather: Weather = field(default_factory=Weather)
    stalls: tuple[Stall, ...] = ()
    outages: tuple[Outage, ...] = ()
    shifts: tuple[Shift, ...] = ()
    faults: tuple[Fault, ...] | None = None
    checkpoint_every: int = 200
    chunk: int = 0
    protocol: ProtocolName = "sequenced"
    versioning: bool = False
    bell: BellPlan | None = None

    @property
    def keeps_versions(self) -> bool:
        """Whether the bucket keeps every version of an object."""
        return self.versioning or self.protocol == "versioned"

    @property
    def size(self) -> int:
        """How much there is to it; a smaller plan is easier to understand."""
        steps = sum(len(client.steps) for client in self.clients)
        troubles = (*self.stalls, *self.outages, *self.shifts, *(self.faults or ()))
        return steps + len(self.clients) + len(troubles) + (self.bell is not None)

    @property
    def troubled_until(self) -> float:
        """From when on nothing goes wrong any more, but for requests that are still on their way."""
        return max([self.weather.clear_at, *(one.end for one in (*self.stalls, *self.outages, *self.shifts))])

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong at all."""
        faultless = not self.faults and (self.faults is not None or not self.weather.chances)
        steps = [step for client in self.clients for step in client.steps]
        troubled = any(step.dies is not None or step.sleeps is not None or step.verb in _HARSH for step in steps)
        return faultless and not self.stalls and not self.outages and not self.shifts and not troubled

    def describe(self) -> str:
        """The plan for a person, one line per item."""
        weather = self.weather
        lines = [f"seed {self.seed}, {weather.latency:.3f} s latency, faults end at {weather.clear_at:.0f} s"]
        if self.protocol != "sequenced":
            lines.append(f"  protocol {self.protocol}" + (", values as versions" if self.versioning else ""))
        if weather.hiding[0]:
            lines.append("  a version is hidden with a chance of {:.2f} for up to {:.0f} s".format(*weather.hiding))
        lines += [f"  version {number} is hidden for {seconds:.0f} s" for number, seconds in weather.hidden]
        if weather.opaque:
            lines.append("  ETags are not MD5s")
        if weather.disorder:
            lines.append(f"  versions are listed out of order by up to {weather.disorder:.1f} s")
        lines.append(f"  a checkpoint is due every {self.checkpoint_every} entries")
        if self.chunk:
            lines.append(f"  a chunk weighs about {self.chunk}")
        if self.faults is None:
            lines += [f"  chance of {kind}: {chance:.3f}" for kind, chance in weather.chances]
        else:
            lines += [f"  {fault}" for fault in self.faults]
        for stall in self.stalls:
            lines.append(f"  {stall.client} stands still from {stall.start:.2f} to {stall.end:.2f}")
        for outage in self.outages:
            lines.append(f"  {outage.client or 'everyone'}: {outage.how} from {outage.start:.2f} to {outage.end:.2f}")
        for shift in self.shifts:
            days = shift.seconds / 86400
            lines.append(
                f"  {shift.client}'s answers are dated {days:+.1f} days from {shift.start:.2f} to {shift.end:.2f}"
            )
        if self.bell is not None:
            lines.append(f"  {self.bell}")
        for client in self.clients:
            traits = (", live" if client.live else "") + (", local" if client.local else "")
            lines.append(f"  {client.name}: poll {client.poll:g} s, retention {client.retention:g} s{traits}")
            for step in client.steps:
                words = [f"    +{step.wait:.2f} s {step.verb}", *step.keys]
                if step.size:
                    words.append(f"size {step.size}")
                if step.follow:
                    words.append("and wait for the commit")
                if step.sleeps is not None:
                    words.append("and stand still after {:.3f} s for {:.3f} s".format(*step.sleeps))
                if step.dies is not None:
                    words.append(f"and die after {step.dies:.3f} s")
                lines.append(" ".join(words))
        return "\n".join(lines)
