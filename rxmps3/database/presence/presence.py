"""`Presence`: who is here, as a stream, including this client while it is used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxmps3.database.presence.objects import Look, Objects, Own
from rxmps3.database.presence.who import (
    ID_CHARACTERS,
    Participant,
    Said,
    Sighting,
    encode_me,
    is_alive,
    rendered,
    who_is_here,
)
from rxmps3.errors import AccessDenied, Closed, Error, Failure, InvalidOption, NotLoaded, unforeseen
from rxmps3.model import jsontext
from rxmps3.model.merge_patch import merge
from rxmps3.model.missing import MISSING
from rxmps3.replica import Replica
from rxmps3.replica.ticks import PollPace
from rxmps3.runtime.worker import persist
from rxmps3.streams.stream import Live, Sender

__all__ = ["CLOSE_WITHIN", "DEFAULT_EVERY", "DEFAULT_TTL", "Presence", "Presences"]

DEFAULT_EVERY = 30.0
DEFAULT_TTL = 90.0
CLOSE_WITHIN = 2.0
"""Seconds that closing a database waits for this client's objects to be deleted."""
_GAP = 0.2
"""The least seconds between two signs of life of this client, however often it changes what it says."""

_QUIET_AFTER = 30.0
"""Seconds without a change after which looks are rarer, unless `poll` was given."""
_QUIETLY = 2.0
_ALONE = 4.0
"""Multiplies the time between looks in quiet times when nobody else is there."""

_LEAVING_TTLS = 10
"""How many ttls the deletion of this client's object is tried for; nobody shows it after the first."""


@dataclass(frozen=True)
class _Options:
    every: float
    ttl: timedelta
    poll: float | None
    remove_rubbish: bool


class Presences:
    """The presences of one handle that are in use."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._used: set[Presence] = set()
        self._closed = False

    def make(self, me: Any, every: float | None, ttl: float | None, poll: float | None, *, read_only: bool) -> Presence:
        """See `Database.presence`."""
        for name, seconds in (("every", every), ("ttl", ttl), ("poll", poll)):
            if seconds is not None and not _is_positive(seconds):
                raise InvalidOption(f"{name} is a positive number of seconds, not {seconds!r}", operation="presence")
        ttl = ttl if ttl is not None else DEFAULT_TTL if every is None else every * (DEFAULT_TTL / DEFAULT_EVERY)
        every = min(DEFAULT_EVERY, ttl * (DEFAULT_EVERY / DEFAULT_TTL)) if every is None else every
        if not ttl > every:
            raise InvalidOption(f"a ttl of {ttl} s is no longer than every={every} s", operation="presence")
        text = None if me is None else encode_me(me)
        options = _Options(every, timedelta(seconds=ttl), poll, remove_rubbish=not read_only)
        return Presence(self, self._replica, text, options)

    def begun(self, presence: Presence) -> None:
        """Note that a presence is in use. Raises `Closed`."""
        if self._closed:
            raise Closed("the database is closed", operation="presence", remedy="open another")
        self._used.add(presence)

    def ended(self, presence: Presence) -> None:
        """Note that a presence is no longer used, and its object deleted."""
        self._used.discard(presence)

    @property
    def closed(self) -> bool:
        """Whether the handle is closed."""
        return self._closed

    def close(self) -> list[asyncio.Task[None]]:
        """Complete them. The result deletes their objects; those it does not reach expire after their ttl."""
        self._closed = True
        return [ending for presence in list(self._used) if (ending := presence.end()) is not None]


class Presence(Live[Mapping[str, Participant]]):
    """Who is here: a mapping of client ids to participants, in the order of arrival.

    Made by `Database.presence`.

    It is used while it is observed, and within ``with``. While it is used, it looks at the bucket, and this client, if
    ``me`` was given, is visible to others. When it is no longer used, this client's object is deleted.
    """

    def __init__(self, home: Presences, replica: Replica, me: str | None, options: _Options) -> None:
        super().__init__(replica, f"presence at manifest {replica.manifest!r}", self._attach_sender, self._read_value)
        self._home = home
        self._replica = replica
        self._me = me
        self._changing = threading.Lock()
        self._options = options
        self._storage = replica.storage_for("presence")
        self._objects = Objects(self._storage, replica.manifest, options.ttl, self._unreadable)
        self._id = replica.clock.new_id(ID_CHARACTERS)
        self._uses = 0
        self._within = 0
        self._ending: asyncio.Task[None] | None = None
        self._sinks: list[_Sink] = []
        self._telling = self._again = False
        self._look: Look | None = None
        self._own: Sighting | None = None
        self._here: Mapping[str, Sighting] | None = None
        self._troubles: dict[str, type[Error]] = {}
        self._woken = asyncio.Event()
        self._may_remove = options.remove_rubbish
        self._moved_at = replica.clock.monotonic()

    @property
    def id(self) -> str:
        """This client's id, a key of the mapping while this client is here."""
        return self._id

    @property
    def me(self) -> Any:
        """What this client says about itself; None if it only observes."""
        me = self._me
        return None if me is None else jsontext.decode(me)

    def update(self, patch: Any) -> None:
        """Change what this client says about itself by a JSON merge patch, as `Database.patch` changes a value.

        It is shown here at once, and sent at once if this presence is used; updates within a fifth of a second are sent
        together.
        May be called from any thread.

        Raises:
            InvalidValue: JSON cannot express it, or it is too long.
            InvalidOption: this presence only observes.
        """
        jsontext.encode(patch, "presence")
        if self._me is None:
            raise InvalidOption("it only observes", operation="update", object=self._name, remedy="give presence(me=…)")
        with self._changing:
            self._me = encode_me(merge(self.me, patch))
        self._replica.attach_on_loop(self._changed)

    def _changed(self) -> None:
        me = self._me
        if self._own is not None and me is not None and me != self._own.said.me:
            self._own = replace(self._own, said=replace(self._own.said, me=me))
            self._tell()
        self._woken.set()

    def __enter__(self) -> Presence:
        """Be here until the end of the block, observed or not. Raises `Closed`, `WrongLoop`."""
        self._replica.check_loop()
        if self._home.closed:
            raise Closed("the database is closed", operation="presence", object=self._name, remedy="open another")

        def enter() -> None:
            self._within += 1
            self._use()

        self._replica.attach_on_loop(enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def leave() -> None:
            if self._within:
                self._within -= 1
                self._release()

        self._replica.on_loop(leave)

    # -- use, on the loop's thread ---------------------------------------------------------------------------

    def _attach_sender(self, sender: Sender[Mapping[str, Participant]]) -> DisposableBase:
        if self._home.closed:
            sender.complete()
            return Disposable()
        sink = _Sink(sender)
        self._sinks.append(sink)
        self._use()
        self._offer()

        def detach() -> None:
            self._sinks.remove(sink)
            self._release()

        return Disposable(detach)

    def _use(self) -> None:
        self._uses += 1
        if self._uses == 1 and self._ending is None and not self._home.closed and self._replica.options.online:
            self._home.begun(self)
            self._ending = self._replica.spawn(self._be_here(), "presence")
        self._woken.set()

    def _release(self) -> None:
        self._uses -= 1
        self._woken.set()

    def end(self) -> asyncio.Task[None] | None:
        """Complete every observer and end every use, as the database closes.

        Returns:
            The task that deletes this client's object.
        """
        self._uses -= self._within
        self._within = 0
        for sink in list(self._sinks):
            sink.sender.complete()
        self._woken.set()
        return self._ending

    async def _be_here(self) -> None:
        try:
            while self._uses:
                looking = self._replica.spawn(self._keep_looking(), "presence look")
                try:
                    await self._keep_telling()
                finally:
                    looking.cancel()
                    self._look = self._own = self._here = None
        finally:
            self._ending = None
            self._home.ended(self)

    # -- the others ------------------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        clock = self._replica.clock
        pace = PollPace(self._pace())
        retries = self._replica.retries(lambda error, _: self._report("presence look", error))
        while True:
            look = await persist(self._fresh_look, retries)
            retries.start_over()
            self._troubles.pop("presence look", None)
            if self._look is None:
                self._woken.set()
            self._look = look
            if self._is_overdue(look):
                self._woken.set()  # it is told once the sign of life has been sent
            elif (self._own is not None or self._me is None or "presence" in self._troubles) and self._tell():
                self._moved_at = clock.monotonic()
                pace.active()
            await self._remove_rubbish(look)
            pace.interval = self._pace()
            await clock.sleep(pace.next_wait(clock.rng))
            await self._replica.ledger.wait_to_look()

    async def _fresh_look(self) -> Look:
        """A look; another one if this took so long that those it has found may have gone meanwhile, as where the loop
        was blocked before the answer was handed over."""
        began = self._replica.clock.monotonic()
        look = await self._objects.look(self._id)
        if self._replica.clock.monotonic() - began > self._options.ttl.total_seconds():
            look = await self._objects.look(self._id)
        return look

    def _is_overdue(self, look: Look) -> bool:
        """Whether the own client, by a look, has given no sign of life for too long and does not know why: the loop was
        blocked. The others miss it until it gives the next, at once."""
        own = self._own
        return (
            own is not None
            and "presence" not in self._troubles
            and not is_alive(own.modified, look.date, self._options.ttl)
        )

    def _pace(self) -> float:
        """Seconds between two looks at most."""
        options = self._replica.options
        if self._options.poll is not None:
            return self._options.poll
        if isinstance(options.poll, Observable):
            return self._options.every
        if self._replica.clock.monotonic() - self._moved_at < _QUIET_AFTER:
            return options.poll
        return options.poll * (_QUIETLY if self._look is None or self._look.seen else _ALONE)

    async def _remove_rubbish(self, look: Look) -> None:
        for name in look.rubbish if self._may_remove else ():
            try:
                await self._objects.remove(name)
            except AccessDenied:
                self._may_remove = False  # somebody else may
                return
            except Error:
                return  # the next look finds it again

    # -- oneself ---------------------------------------------------------------------------------------------

    async def _keep_telling(self) -> None:
        """Renew the own object until this is used no longer, and delete it then."""
        while self._uses and (self._me is None or self._look is None):
            await self._woken.wait()
            self._woken.clear()
        if self._look is None or self._me is None:
            return
        own = Own(self._storage, self._objects.folder + self._id)
        said = Said("", self._replica.options.by, self._look.date)
        failures = 0
        rung_for = ""
        while self._uses:
            said = replace(said, me=self._me)
            began = self._replica.clock.monotonic()
            try:
                stored = await own.renew(said)
                if rung_for != said.me:
                    await self._objects.ring(self._replica.clock.new_id())
                    rung_for = said.me
            except Exception as problem:
                failures += 1
                rung_for = ""  # the others may have taken it for gone
                wait = min(self._failed("presence", problem, failures), self._options.every)
                await self._wait(wait, partial(self._is_otherwise, said))
            else:
                failures = 0
                self._troubles.pop("presence", None)
                self._told(said, stored.date)
                await self._remove_older(own)
                await self._wait(_GAP, self._is_over)
                left = began + self._every() - self._replica.clock.monotonic()
                await self._wait(left, partial(self._is_otherwise, said))
        await self._leave(own)

    def _every(self) -> float:
        """Seconds between two signs of life; more if the budget is tight, but so that one may get lost."""
        slowest = self._options.ttl.total_seconds() / 2
        return max(self._options.every, slowest) if self._replica.ledger.state else self._options.every

    def _told(self, said: Said, date: datetime | None) -> None:
        """The own object is there."""
        seen = date or (self._own.modified if self._own is not None else said.since)
        self._own = Sighting(replace(said, me=self._me or said.me), seen)
        self._tell()

    async def _remove_older(self, own: Own) -> None:
        try:
            await own.remove_older()
        except Exception as problem:
            self._failed("presence cleanup", problem, 1)

    async def _leave(self, own: Own) -> None:
        """Delete the own object, unless this is used again before that succeeds."""
        clock, failures = self._replica.clock, 0
        until = clock.monotonic() + _LEAVING_TTLS * self._options.ttl.total_seconds()
        while own.may_exist and not self._uses:
            try:
                await own.remove()
                await self._ring_at_leaving()
            except Exception as problem:
                failures += 1
                wait = self._failed("presence leave", problem, failures)
                if isinstance(problem, AccessDenied) or clock.monotonic() + wait > until:
                    return  # it is not renewed any more, and so it vanishes
                await self._wait(wait, lambda: self._uses > 0)
        self._troubles.pop("presence leave", None)

    async def _ring_at_leaving(self) -> None:
        with suppress(Error):  # then they notice when they look again
            await self._objects.ring_at_leaving(self._replica.clock.new_id())

    async def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        """Wait so long, or until it is over; that is looked at now and whenever something changes here."""
        timer = self._replica.spawn(self._wake_after(seconds), "presence timer")
        try:
            while not timer.done() and not over():
                await self._woken.wait()
                self._woken.clear()
        finally:
            timer.cancel()

    def _is_over(self) -> bool:
        return not self._uses

    def _is_otherwise(self, said: Said) -> bool:
        """Whether this is over, the own client says something else by now, or is overdue."""
        return not self._uses or self._me != said.me or (self._look is not None and self._is_overdue(self._look))

    async def _wake_after(self, seconds: float) -> None:
        await self._replica.clock.sleep(seconds)
        self._woken.set()

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self) -> bool:
        """Decide who is here, and tell the observers; whether that is another than before."""
        look = self._look
        if look is None:
            return False
        seen = look.seen if self._own is None else {**look.seen, self._id: self._own}
        before, self._here = self._here, who_is_here(seen, look.date, self._options.ttl)
        self._replica.take_turn(self._offer)
        return before is None or _said(before) != _said(self._here)

    def _offer(self) -> None:
        """Offer the newest to every observer; one that changes it meanwhile makes one more round."""
        self._again = True
        if self._telling:
            return
        self._telling = True
        try:
            while self._again:
                self._again = False
                for sink in list(self._sinks):
                    if self._here is not None:
                        sink.offer(self._here)
        finally:
            self._telling = False

    def _read_value(self) -> Mapping[str, Participant]:
        here = self._here
        if here is None:
            raise NotLoaded("no look has been made yet", operation="value", object=self._name, remedy="observe it")
        return rendered(here)

    def _failed(self, operation: str, problem: Exception, failures: int) -> float:
        """Report trouble; returns the seconds until the next try.

        `persist` does not fit this client's object: as soon as something changes here, it is written
        anew or not at all.
        """
        error = unforeseen(problem)
        self._report(operation, error)
        return self._replica.backoff.wait(failures, error, self._replica.rng)

    def _report(self, operation: str, error: Error) -> None:
        """Report trouble, the same once."""
        if self._troubles.get(operation) is not type(error):
            self._troubles[operation] = type(error)
            note = "it is tried again" if operation != "presence leave" else "if it stays, it vanishes by its ttl"
            self._replica.report(Failure(operation, self._name, error, note))
            if operation == "presence":
                self._tell()  # the others are here nevertheless

    def _unreadable(self, name: str, error: Error) -> None:
        self._replica.report(Failure("presence look", f"object {name!r}", error, "it is left out"))


class _Sink:
    """One subscription: offered what is newest, it sends it on if it is other than before."""

    def __init__(self, sender: Sender[Mapping[str, Participant]]) -> None:
        self.sender = sender
        self._sent: Any = MISSING

    def offer(self, here: Mapping[str, Sighting]) -> None:
        said = _said(here)
        if said != self._sent:
            self._sent = said
            self.sender.send(rendered(here))


def _said(here: Mapping[str, Sighting]) -> list[tuple[str, Said]]:
    return [(id, one.said) for id, one in here.items()]


def _is_positive(seconds: object) -> bool:
    longest = timedelta.max.total_seconds()
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < longest
