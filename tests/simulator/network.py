"""Between a client and the bucket: latency, faults, and the storage that a client is given."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import exp
from typing import TypeVar, cast

from rxmps3.errors import AccessDenied, Error, Throttled, Unavailable
from rxmps3.runtime.clock import Random
from rxmps3.storage.base import Found, Missing, NotModified, Page, Precondition, Stored, VersionPage
from rxmps3.testing.virtual import EPOCH, VirtualLoop
from tests.simulator.bucket import SimBucket
from tests.simulator.life import Life
from tests.simulator.plan import Fault, FaultKind, Outage, Shift, Weather

__all__ = ["Network", "SimStorage", "channel_of"]

T = TypeVar("T")
Note = Callable[..., None]

_NEVER_CARRIED_OUT = frozenset[FaultKind]({"conflict", "internal", "throttled", "unavailable"})
_SILENT = frozenset[FaultKind]({"drop", "lost", "late"})
_SLOWER = 30.0
_REPEATED_AFTER = 60.0, 900.0
"""A put is repeated so many seconds after it arrived first."""
_LONGEST = 0.4
"""No way takes more than this part of the client's patience unless something is wrong."""


@dataclass(slots=True)
class _Fate:
    """What becomes of one request."""

    kind: FaultKind | None
    there: float
    back: float
    extra: float


def channel_of(verb: str, name: str) -> str:
    """What a request is about: its verb and the kind of object, by which its faults are counted."""
    if name.endswith("/head"):
        return f"{verb} head"
    if name == "main":
        return f"{verb} manifest"
    if name.startswith("main@"):
        return f"{verb} operation"
    for room in ("/log/", "/checkpoint/", "/values/", "-probe/"):
        if room in name:
            return f"{verb} {room.strip('/-')}"
    return f"{verb} other"


class Network:
    """Decides what becomes of each request. The same plan decides the same, whatever else changed.

    Args:
        seed: of latencies and drawn faults.
        weather: how bad it is.
        outages: when who is cut off.
        shifts: whose answers are dated wrong, and when.
        faults: exactly these, or None to draw them.
        note: writes to the trace.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        seed: int,
        weather: Weather,
        outages: Sequence[Outage],
        shifts: Sequence[Shift],
        faults: Sequence[Fault] | None,
        note: Note,
    ) -> None:
        self.loop = loop
        self.weather = weather
        self.note = note
        self.happened: list[Fault] = []
        self.damaged: dict[str, set[str]] = {}  # by client, the names of objects of which it got a damaged answer
        self._damages: defaultdict[tuple[str, str], set[bytes]] = defaultdict(set)
        self.counts: dict[str, dict[str, int]] = {}
        self.last_arrival = 0.0
        self._seed = seed
        self._outages = outages
        self._shifts = shifts
        self._listed = None if faults is None else {(fault.client, fault.channel, fault.nth): fault for fault in faults}
        self._rngs: dict[tuple[str, str], Random] = {}

    def damage(self, client: str, name: str, body: bytes, extra: float) -> bytes:
        """A damaged body. No two of one object come to a client alike, even if they are a few bytes long."""
        damaged, before = _damaged(body, extra), self._damages[client, name]
        for turn in range(1, 100):
            if damaged not in before:
                break
            damaged = _damaged(body, (extra + turn * 0.0173) % 1)
        before.add(damaged)
        return damaged

    def fate(self, client: str, channel: str, conditional: bool) -> _Fate:
        """What becomes of the next request of a client on a channel."""
        rng = self._rngs.get((client, channel))
        if rng is None:
            rng = self._rngs[client, channel] = Random(f"network {self._seed} {client} {channel}")
        counts = self.counts.setdefault(client, {})
        nth = counts[channel] = counts.get(channel, 0) + 1
        weather = self.weather
        most = weather.patience * _LONGEST
        there = min(most, weather.latency * exp(weather.spread * rng.gauss(0, 1)))
        back = min(most, weather.latency * exp(weather.spread * rng.gauss(0, 1)))
        dice, extra = rng.random(), rng.random()
        if self.loop.time() >= weather.clear_at:
            return _Fate(None, there, back, extra)
        if self._listed is not None:
            fault = self._listed.get((client, channel, nth))
        else:
            kind = self._draw(dice, channel, conditional)
            fault = None if kind is None else Fault(client, channel, nth, kind, extra)
        if fault is None:
            return _Fate(None, there, back, extra)
        self.happened.append(fault)
        self.note(client, "fault", str(fault))
        if fault.kind == "slow":
            there, back = there * (1 + _SLOWER * fault.extra), back * (1 + _SLOWER * (1 - fault.extra))
        return _Fate(fault.kind, there, back, fault.extra)

    def _draw(self, dice: float, channel: str, conditional: bool) -> FaultKind | None:
        if channel.rpartition(" ")[2] in self.weather.sheltered:
            return None
        for kind, chance in self.weather.chances:
            if dice < chance:
                fits = (
                    conditional
                    if kind == "conflict"
                    else channel.startswith(("put", "delete"))
                    if kind in ("late", "resend", "internal-done")
                    else channel.startswith({"damaged": "get", "repeated": "put"}.get(kind, ""))
                )
                return kind if fits else None
            dice -= chance
        return None

    def outage(self, client: str, moment: float) -> Outage | None:
        """What keeps a client from the bucket at a moment."""
        for outage in self._outages:
            if outage.how != "disk full" and outage.client in ("", client) and outage.start <= moment < outage.end:
                return outage
        return None

    def shift(self, client: str) -> timedelta:
        """By how much the answers that a client gets now are dated wrong."""
        now = self.loop.time()
        off = sum(one.seconds for one in self._shifts if one.client == client and one.start <= now < one.end)
        return timedelta(seconds=off)


class _Exchange:
    """One request and its answer."""

    def __init__(self, storage: SimStorage, verb: str, name: str, fate: _Fate, carry_out: Callable[[], object]) -> None:
        self._network = storage.network
        self._life = storage.life
        self._what = (verb, name)
        self._fate = fate
        self._carry_out = carry_out
        self._loop = loop = storage.network.loop
        self.answer: asyncio.Future[object] = loop.create_future()
        self._sent = sent = loop.time()
        self._leaves = self._life.awake(sent + fate.there * 0.3)
        arrives = self._leaves + fate.there * 0.7
        self._expires = self._life.awake(sent + self._network.weather.patience)
        silent = fate.kind in _SILENT
        if fate.kind == "late":
            arrives = self._expires + fate.extra**3 * self._network.weather.lateness
        if fate.kind != "drop":
            self._call_at(arrives, self._arrive)
        if silent and fate.kind != "late" and fate.extra < 0.5:
            self._call_at(self._life.awake(min(self._expires, arrives + fate.back)), self._break)
        elif silent or arrives + fate.back > self._expires:
            self._call_at(self._expires, self._give_up)

    def _call_at(self, moment: float, action: Callable[..., None], *args: object) -> None:
        if action in (self._arrive, self._repeat):
            self._network.last_arrival = max(self._network.last_arrival, moment)
        self._loop.call_at(moment, action, *args)

    def _arrive(self) -> None:
        if self._life.is_dead_at(self._leaves):
            return
        now = self._loop.time()
        outage = self._network.outage(self._life.name, now)
        if outage is not None:
            if outage.how == "denied":
                self._answer(AccessDenied("403 AccessDenied", operation=self._what[0], object=self._what[1]))
            else:
                self._call_at(self._life.awake(now + self._fate.back), self._break)
            return
        if self._leaves - self._sent > self._network.weather.signature:
            self._answer(AccessDenied("403 RequestTimeTooSkewed", operation=self._what[0], object=self._what[1]))
            return
        kind = self._fate.kind
        outcome = self._refusal(kind) if kind in _NEVER_CARRIED_OUT else self._do()
        if kind == "resend":
            self._fate.kind = None
            again = now + 0.001 + self._fate.extra * 2
            self._call_at(again, self._arrive)
            if again + self._fate.back > self._expires:
                self._call_at(self._expires, self._give_up)
            return
        if kind == "repeated":
            first, last = _REPEATED_AFTER
            self._call_at(now + first + self._fate.extra**2 * (last - first), self._repeat)
        if kind == "damaged" and isinstance(outcome, Found) and outcome.body:
            self._network.damaged.setdefault(self._life.name, set()).add(self._what[1])
            outcome = replace(
                outcome, body=self._network.damage(self._life.name, self._what[1], outcome.body, self._fate.extra)
            )
        if kind == "internal-done":
            outcome = self._refusal("internal")
        if kind not in _SILENT:
            self._answer(outcome)

    def _do(self) -> object:
        try:
            outcome = self._carry_out()
        except Error as error:
            outcome = error
        self._network.note(self._life, *self._what, _short(outcome))
        return outcome

    def _repeat(self) -> None:
        """The request arrives once more; nobody hears of that."""
        self._network.note(self._life, "again:")
        self._do()

    def _refusal(self, kind: FaultKind | None) -> Error:
        verb, name = self._what
        date = EPOCH.fromtimestamp(int(EPOCH.timestamp() + self._loop.time()), EPOCH.tzinfo)
        if kind == "throttled":
            wish = 1.0 + int(self._fate.extra * 5)
            return Throttled("429 SlowDown", operation=verb, object=name, date=date, retry_after=wish)
        what = {"conflict": "409 ConditionalRequestConflict", "unavailable": "503 ServiceUnavailable"}
        return Unavailable(what.get(str(kind), "500 InternalError"), operation=verb, object=name, date=date)

    def _answer(self, outcome: object) -> None:
        self._call_at(self._life.awake(self._loop.time() + self._fate.back), self._hear, outcome)

    def _hear(self, outcome: object) -> None:
        if self._life.dead or self.answer.done():
            return
        if self._network.outage(self._life.name, self._loop.time()) is not None and not isinstance(
            outcome, AccessDenied
        ):
            self._break()
            return
        outcome = self._redated(outcome)
        if isinstance(outcome, Error):
            self._network.note(self._life, "hears", _short(outcome), *self._what)
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)

    def _redated(self, outcome: object) -> object:
        """The answer as it is dated where the client hears it."""
        off = self._network.shift(self._life.name)
        date: datetime | None = getattr(outcome, "date", None)
        if not off or date is None:
            return outcome
        if isinstance(outcome, Error):
            outcome.date = date + off  # type: ignore[attr-defined]
            return outcome
        return replace(cast("Found", outcome), date=date + off)

    def _give_up(self) -> None:
        self._fail("no answer in time")

    def _break(self) -> None:
        self._fail("the connection broke")

    def _fail(self, what: str) -> None:
        if self._life.dead or self.answer.done():
            return
        verb, name = self._what
        self._network.note(self._life, "hears", what, *self._what)
        self.answer.set_exception(Unavailable(what, operation=verb, object=name))


def _damaged(body: bytes, extra: float) -> bytes:
    """A body that is cut off, or has one wrong bit."""
    at = int(extra * 1e9) % len(body)
    if extra < 0.3:
        return body[:at]
    return body[:at] + bytes([body[at] ^ 1 << int(extra * 1e12) % 8]) + body[at + 1 :]


def _short(outcome: object) -> str:
    if isinstance(outcome, Error):
        return outcome.what
    if isinstance(outcome, Page):
        return f"{len(outcome.objects)} names"
    if isinstance(outcome, VersionPage):
        return f"{len(outcome.versions)} versions"
    return type(outcome).__name__ if outcome is not None else "done"


class SimStorage:
    """The bucket as one process of a client reaches it: a `rxmps3.storage.Storage`."""

    url = "memory:"
    name_limit = 1024

    def __init__(self, bucket: SimBucket, network: Network, life: Life) -> None:
        self.network = network
        self.life = life
        self._bucket = bucket
        self.place = f"memory of {life}"  # a machine of its own

    async def _send(self, verb: str, name: str, carry_out: Callable[[], T], conditional: bool = False) -> T:
        if self.life.dead:
            await self.network.loop.create_future()
        fate = self.network.fate(self.life.name, channel_of(verb, name), conditional)
        return cast(T, await _Exchange(self, verb, name, fate, carry_out).answer)

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        return await self._send("get", name, lambda: self._bucket.get(name, unless, version, limit))

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        who = str(self.life)
        return await self._send("put", name, lambda: self._bucket.put(name, body, when, sha256, who), when is not None)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        most = min(limit, self.network.weather.page)
        return await self._send("list", prefix, lambda: self._bucket.list(prefix, after, cursor, most))

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        most = min(limit, self.network.weather.page)
        return await self._send("list", prefix, lambda: self._bucket.list_versions(prefix, cursor, most))

    async def delete(self, name: str, *, version: str | None = None) -> None:
        who = str(self.life)
        return await self._send("delete", name, lambda: self._bucket.delete(name, version, who))

    async def close(self) -> None:
        """It stays usable: a simulated machine has no sockets to release."""
