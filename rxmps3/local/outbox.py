"""Durable pending writes: stored on disk before they are reported as stored, and kept until they are in the log.

An outbox is a few objects on a `Storage` of its own, a directory as a rule::

    writes/<first ordinal, 20 digits>    the writes of one batch, oldest first, with the texts of their large values and
                                         what they rest on
    refused, refused-2                   writes of these batches that were refused or taken back
    sent, sent-2                         up to which ordinal writes may have been sent; of each attempt that sent new
                                         ones the last ordinal, the storage's date, and where the log was

Each object starts with the SHA-256 of what follows, so a truncated or altered one is recognised; it is set aside under
``aside/`` and loses only what it held. The last two take turns: nothing is sent, and nothing is said to be taken back,
before the note of it is complete; so if the newer one was cut short, the older one still holds. A write keeps its
(writer, number, nonce) for ever, whoever resends it, so that copies of an outbox commit nothing twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple, TypeVar, cast

from rxmps3.errors import Corrupt, Error
from rxmps3.log import codec
from rxmps3.model import jsontext
from rxmps3.model.conditions import decode_conditions, encode_conditions
from rxmps3.model.state import Write, WriteId
from rxmps3.storage.base import Found, Storage, list_all

__all__ = ["Outbox", "Restored", "open_sealed", "open_sealed_bytes", "seal", "seal_bytes"]

T = TypeVar("T")

_WRITES = "writes/"
_SENT = "sent"
_REFUSED = "refused"
_OTHER = "-2"
_ASIDE = "aside/"
_FORMAT = 1
_ONE_ATTEMPT = timedelta(days=1)
"""Attempts at one position of the log are noted once a day, so that a long outage leaves a short note."""


@dataclass(frozen=True)
class Restored:
    """A write found in an outbox.

    Attributes:
        write: as it was made.
        texts: the texts of its values that are not inline, by `ContentObject.place`.
        by: the name its user gave.
        sent: the storage's date when it was sent for the first time, if that is known; None if it never was.
        after: where the log was when it was sent for the first time, "" if that is not known or was its beginning; None
            if it never was.
    """

    write: Write
    texts: Mapping[str, str]
    by: str
    sent: datetime | None
    after: str | None = None


class _Attempt(NamedTuple):
    """An attempt that sent new writes: the last ordinal, where the log was, and the storage's date, if known."""

    last: int
    position: str
    date: datetime | None

    def is_like(self, later: _Attempt) -> bool:
        """Whether a later attempt may be noted as one with this: dated as this one, so that it only looks older."""
        if self.position != later.position:
            return False
        if self.date is None or later.date is None:
            return self.date is later.date
        return timedelta(0) <= later.date - self.date < _ONE_ATTEMPT


@dataclass(frozen=True)
class _Sent:
    """The attempts that sent new writes, oldest first.

    A write's date is that of the attempt that sent it first. Later attempts do not renew it: the write may be in the
    log since the first, and a writer that is silent since then is forgotten.
    """

    attempts: tuple[_Attempt, ...] = ()

    @property
    def through(self) -> int:
        """Up to which ordinal writes may have been sent."""
        return self.attempts[-1].last if self.attempts else 0

    def attempt(self, ordinal: int) -> _Attempt | None:
        """The one that sent a write first; None if it was never sent."""
        return next((one for one in self.attempts if ordinal <= one.last), None)


class _Place(NamedTuple):
    """Where the newest note of a kind is, and its number."""

    number: int
    name: str


class Outbox:
    """The durable pending writes of one process. Used by one task at a time.

    Args:
        storage: where it is; a put there is durable when it returns.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._next = 1
        self._batches: dict[str, set[WriteId]] = {}
        self._place: dict[WriteId, tuple[str, int]] = {}
        self._sent = _Sent()
        self._noted = 0
        self._newest: dict[str, _Place] = {}
        self._refused: dict[WriteId, str] = {}
        self.set_aside: list[str] = []

    async def restore(self, *, untouched: bool = False) -> list[Restored]:
        """The stored writes, oldest first. Afterwards ``set_aside`` names the files that could not be read.

        Args:
            untouched: move and delete nothing; for inspecting an outbox.

        Raises:
            Unavailable, AccessDenied: the storage does not answer.
        """
        restored: list[Restored] = []
        self._sent = await self._read_sent(untouched=untouched)
        self._noted = self._sent.through
        refused = await self._read_refused(untouched=untouched)
        for listed in await list_all(self._storage, _WRITES):
            answer = await self._storage.get(listed.name)
            if not isinstance(answer, Found):
                continue
            if not re.fullmatch(f"{_WRITES}[0-9]{{20}}", listed.name):
                continue  # not a file of an outbox
            first = _first_of(listed.name)
            try:
                batch = _decode_batch(answer.body, listed.name)
            except Error as error:
                await self._put_aside(listed.name, answer.body, error, untouched=untouched)
                self._next = max(self._next, first + 1)
                continue
            for ordinal, (write, texts, by) in enumerate(batch, first):
                if write.id in refused:
                    self._refused[write.id] = listed.name
                if write.id in self._place or write.id in refused:
                    continue
                first_sent = self._sent.attempt(ordinal)
                date, position = (first_sent.date, first_sent.position) if first_sent is not None else (None, None)
                restored.append(Restored(write, texts, by, date, position))
                self._note(listed.name, write.id, ordinal)
            if listed.name not in self._batches and not untouched:
                await self._storage.delete(listed.name)
            self._next = max(self._next, first + len(batch))
        self._next = max(self._next, self._sent.through + 1)
        return restored

    async def add(self, writes: Sequence[tuple[Write, Mapping[str, str]]], by: str) -> None:
        """Store writes; they are durable when it returns.

        Raises:
            Unavailable, AccessDenied: they may not be durable.
        """
        name = f"{_WRITES}{self._next:020d}"
        first = self._next
        await self._storage.put(name, _encode_batch(writes, by))  # after a lost answer the same name is written again
        self._next += len(writes)
        for ordinal, (write, _) in enumerate(writes, first):
            self._note(name, write.id, ordinal)

    async def adopt(self, restored: Sequence[Restored]) -> None:
        """Take over the writes of another outbox, which may then be cleared. Raises as `add`."""
        for (by, after, date), ones in groupby(restored, key=lambda one: (one.by, one.after, one.sent)):
            some = list(ones)
            if after is not None:
                await self.mark_coming(len(some), date, after)
            await self.add([(one.write, one.texts) for one in some], by)

    async def clear(self) -> None:
        """Remove every write."""
        await self.remove(list(self._place))

    async def mark_sent(self, ids: Sequence[WriteId], date: datetime | None, position: str) -> None:
        """Record that these writes are about to be sent; durable when it returns.

        Args:
            ids: the writes.
            date: the bucket's time as last seen.
            position: the log's position as known here.
        """
        ordinals = [self._place[id][1] for id in ids if id in self._place]
        if ordinals:
            await self._note_sent(max(ordinals), date, position)

    async def mark_coming(self, count: int, date: datetime | None, position: str) -> None:
        """Record that the next writes to be added, this many, have been sent already; durable when it returns.

        A process that dies between this and `add` leaves records without writes, which is harmless; in the opposite
        order it would leave writes not recorded as sent.
        """
        await self._note_sent(self._next + count - 1, date, position)

    def is_noted(self, id: WriteId) -> bool:
        """Whether it is durably recorded that a write here may have been sent."""
        return self._place[id][1] <= self._noted

    async def _note_sent(self, last: int, date: datetime | None, position: str) -> None:
        oldest = _first_of(next(iter(self._batches))) if self._batches else self._next  # one stays until all is over
        attempts = [one for one in self._sent.attempts if one.last >= oldest]
        if last > self._sent.through:
            new = _Attempt(last, position, date)
            if attempts and attempts[-1].is_like(new):
                new = attempts.pop()._replace(last=last)
            attempts.append(new)
        self._sent = _Sent(tuple(attempts))
        await self._write_note(_SENT, _encode_sent(self._sent, date))
        self._noted = max(self._noted, self._sent.through)

    async def refuse(self, ids: Sequence[WriteId]) -> None:
        """Record that these will never be committed and must not be restored; durable when it returns."""
        known = [id for id in ids if id in self._place]
        if known:
            kept = {id: name for id, name in self._refused.items() if name in self._batches}
            self._refused = kept | {id: self._place[id][0] for id in known}
            await self._write_note(_REFUSED, {"writes": sorted(self._refused)})

    async def remove(self, ids: Sequence[WriteId]) -> None:
        """Remove writes that have ended. After an error those that are still stored are still here."""
        for id in ids:
            name, _ = self._place.get(id, ("", 0))
            batch = self._batches.get(name)
            if batch is None:
                continue
            if batch == {id}:
                await self._storage.delete(name)
                del self._batches[name]
            batch.discard(id)
            del self._place[id]

    def __contains__(self, id: object) -> bool:
        return id in self._place

    def __len__(self) -> int:
        return len(self._place)

    async def close(self) -> None:
        """Close the storage."""
        await self._storage.close()

    def _note(self, name: str, id: WriteId, ordinal: int) -> None:
        self._batches.setdefault(name, set()).add(id)
        self._place[id] = (name, ordinal)

    async def _read_sent(self, *, untouched: bool) -> _Sent:
        return await self._read_note(_SENT, _decode_sent, untouched=untouched) or _Sent()

    async def _read_refused(self, *, untouched: bool) -> set[WriteId]:
        return await self._read_note(_REFUSED, _decode_refused, untouched=untouched) or set()

    async def _read_note(self, name: str, decode: Callable[[Any], T], *, untouched: bool) -> T | None:
        """The newest of the two notes of a name that is whole; None if there is none."""
        whole: list[tuple[_Place, T]] = []
        for each in (name, name + _OTHER):
            answer = await self._storage.get(each)
            if not isinstance(answer, Found):
                continue
            try:
                body: Any = jsontext.decode(open_sealed(answer.body, each), each)
                number: Any = 0 if isinstance(body, list) else body.get("note", 0)  # there were none at first
                whole.append((_Place(int(number), each), decode(body)))
            except (Error, AttributeError, KeyError, TypeError, ValueError) as error:
                await self._put_aside(each, answer.body, error, untouched=untouched)
        if not whole:
            return None
        self._newest[name], newest = max(whole, key=lambda one: one[0].number)
        return newest

    async def _write_note(self, name: str, body: Mapping[str, Any]) -> None:
        """Durable when it returns; until then the one before is what holds."""
        before = self._newest.get(name)
        place = _Place(1, name)
        if before is not None:
            place = _Place(before.number + 1, name if before.name != name else name + _OTHER)
        await self._storage.put(place.name, seal(jsontext.encode({**body, "note": place.number})))
        self._newest[name] = place

    async def _put_aside(self, name: str, body: bytes, error: Exception, *, untouched: bool) -> None:
        if untouched:
            self.set_aside.append(name)
            return
        aside = f"{_ASIDE}{name.replace('/', '-')}-{hashlib.sha256(body).hexdigest()[:12]}"
        await self._storage.put(aside, body)
        await self._storage.delete(name)
        self.set_aside.append(f"{aside}: {error}")


def _encode_sent(sent: _Sent, date: datetime | None) -> dict[str, Any]:
    return {
        "after": [(one.last, one.position) for one in sent.attempts],
        "dates": [_stamp(one.date) for one in sent.attempts],
        "through": sent.through,
        "date": _stamp(date),  # for versions of this library that know one date for all
    }


def _decode_sent(body: Any) -> _Sent:
    through, after = int(body["through"]), body.get("after", ())
    dates = body.get("dates", [body["date"]] * len(after))
    attempts = [
        _Attempt(int(last), str(position), _date(date)) for (last, position), date in zip(after, dates, strict=True)
    ]
    if not attempts or attempts[-1].last < through:  # from before attempts were noted
        attempts.append(_Attempt(through, "", _date(body["date"])))
    return _Sent(tuple(attempts))


def _stamp(date: datetime | None) -> str | None:
    return None if date is None else codec.stamp(date, "seconds")


def _date(stamp: str | None) -> datetime | None:
    return None if stamp is None else datetime.fromisoformat(stamp)


def _decode_refused(body: Any) -> set[WriteId]:
    listed = cast("list[Any]", body if isinstance(body, list) else body["writes"])  # a list before notes had numbers
    return {WriteId(str(writer), int(number)) for writer, number in listed}


def seal(text: str) -> bytes:
    """A text prefixed with its SHA-256, so that a truncated or altered one is detected."""
    return seal_bytes(text.encode())


def seal_bytes(body: bytes) -> bytes:
    """As `seal`, for bytes."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def open_sealed(body: bytes, name: str) -> str:
    """The sealed text. Raises `Corrupt` if it is damaged."""
    return open_sealed_bytes(body, name).decode()


def open_sealed_bytes(body: bytes, name: str) -> bytes:
    """The sealed bytes. Raises as `open_sealed`."""
    digest, _, rest = body.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise Corrupt("truncated or altered", object=f"file {name!r}")
    return rest


def _first_of(batch: str) -> int:
    """The ordinal of the first write of a batch, by its name."""
    return int(batch.removeprefix(_WRITES))


def _encode_batch(writes: Sequence[tuple[Write, Mapping[str, str]]], by: str) -> bytes:
    parts = [_encode_one(write, texts) for write, texts in writes]
    return seal(f'{{"by":{jsontext.encode(by)},"format":{_FORMAT},"writes":[{",".join(parts)}]}}')


def _encode_one(write: Write, texts: Mapping[str, str]) -> str:
    conditions = "" if write.conditions is None else f'"basis":{jsontext.encode(encode_conditions(write.conditions))},'
    return (
        f'{{{conditions}"texts":{jsontext.encode(dict(texts))},"write":{codec.encode_write(write, "", write.based)}}}'
    )


def _decode_one(part: Mapping[str, Any], what: str) -> tuple[Write, dict[str, str]]:
    write = codec.decode_write(part["write"], "", what, codec.any_names)
    if "basis" in part:
        write = replace(write, conditions=decode_conditions(part["basis"]))
    return write, dict(part["texts"])


def _decode_batch(body: bytes, name: str) -> list[tuple[Write, dict[str, str], str]]:
    what = f"file {name!r}"
    members = jsontext.decode(open_sealed(body, name), what)
    try:
        if members["format"] != _FORMAT:
            raise Corrupt(f"format {members['format']!r}", object=what)
        return [(*_decode_one(part, what), str(members["by"])) for part in members["writes"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(f"not a batch of writes: {error}", object=what) from None
