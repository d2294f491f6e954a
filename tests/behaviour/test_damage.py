"""Answers that are damaged on their way to one client: read again, reported, and never built upon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import rxmps3
from rxmps3 import Corrupt, Failure
from rxmps3.log import codec
from rxmps3.model.seal import is_intact, sealed
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, Listed, MemoryStorage, Missing, NotModified, Page, Storage, Stored, open_storage
from rxmps3.testing import CountingStorage, StorageWrapper
from tests.conftest import Place

Damage = Callable[[bytes], bytes]
LARGE = "x" * 9000


def flipped(at: float, bit: int = 0) -> Damage:
    """One wrong bit, at a place from 0 to 1."""

    def damage(body: bytes) -> bytes:
        place = min(int(at * len(body)), len(body) - 1)
        return body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :]

    return damage


def cut(at: float) -> Damage:
    """The end is missing."""
    return lambda body: body[: int(at * len(body))]


class Damaging(StorageWrapper):
    """Damages the first answer about each object whose name has a part, and counts them."""

    def __init__(self, inner: Storage, damage: Damage, part: str = "") -> None:
        super().__init__(inner)
        self.damaged: Counter[str] = Counter()
        self._damage = damage
        self._part = part

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        answer = await super().get(name, unless=unless, version=version, limit=limit)
        if not isinstance(answer, Found) or self._part not in name or name in self.damaged:
            return answer
        self.damaged[name] += 1
        return replace(answer, body=self._damage(answer.body))


class Opaque(StorageWrapper):
    """A server whose ETags are no MD5s, as with server-side encryption by a key of one's own."""

    @staticmethod
    def _other(etag: str) -> str:
        return etag if etag.startswith('"opaque-') else f'"opaque-{etag[1:-1]}"'

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        known = unless and unless.replace("opaque-", "")
        answer = await super().get(name, unless=known, version=version, limit=limit)
        return replace(answer, etag=self._other(answer.etag)) if isinstance(answer, Found) else answer

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        when = options.get("when")
        if isinstance(when, rxmps3.storage.Matches):
            options["when"] = rxmps3.storage.Matches(when.etag.replace("opaque-", ""))
        stored = await super().put(name, body, **options)
        return replace(stored, etag=self._other(stored.etag))


def opened(place: Place) -> Storage:
    """A storage of one's own at a place."""
    return open_storage(place.url, clock=SystemClock(), **place.options)


def connected(storage: Storage, place: Place, by: str) -> rxmps3.Connecting:
    return rxmps3.connect(storage, protocol=place.protocol, by=by, shared=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [flipped(0.5), cut(0.7)], ids=["a wrong bit", "cut off"])
async def test_one_damaged_answer_to_one_client_is_a_report_and_nothing_else(place: Place, damage: Damage) -> None:
    """Head, entry, version, operation, value and checkpoint: of each the first answer is damaged."""
    bucket = opened(place)
    damaging = Damaging(bucket, damage)
    async with connected(bucket, place, "ann") as ann:
        await ann.put("hello", "world")
        await ann.put("photo", LARGE)
        await ann.compact()
        await ann.put("hello", "world!")
        async with connected(damaging, place, "bob") as bob:
            reports: list[Failure] = []
            bob.errors.subscribe(reports.append)
            assert await bob.get_many(["hello", "photo"]) == {"hello": "world!", "photo": LARGE}
            await bob.put("mine", 1)
            await ann.put("hello", "again")
            await bob.refresh()
            assert await bob.get("hello") == "again"
            await bob.put("mine", 2)
            assert damaging.damaged
            told = [failure for failure in reports if failure.operation == "read"]
            assert len(told) == len(reports) == damaging.damaged.total()
            assert {str(one.error).partition(":")[0] for one in told} == {
                f"get object {name!r}" for name in damaging.damaged
            }
            assert all(isinstance(one.error, Corrupt) for one in told)
        expected = {"hello": "again", "photo": LARGE, "mine": 2}
        await ann.refresh()
        assert await ann.get_prefix("") == expected
    async with connected(bucket, place, "zoe") as late:
        assert await late.get_prefix("") == expected
    await bucket.close()


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
@pytest.mark.parametrize("opaque", [False, True], ids=["MD5", "opaque"])
@pytest.mark.parametrize("spot", range(0, 100, 21))
async def test_wherever_the_wrong_bit_is(protocol: str, opaque: bool, spot: int) -> None:
    place = Place("memory", "memory:", protocol)
    memory = MemoryStorage(versioning=protocol == "versioned")
    bucket: Storage = Opaque(memory) if opaque else memory
    damaging = Damaging(bucket, flipped(spot / 100, spot % 8))
    async with connected(bucket, place, "ann") as ann:
        await ann.put("hello", "world")
        async with connected(damaging, place, "bob") as bob:
            assert await bob.get("hello") == "world"
            await bob.put("mine", 1)
            await ann.refresh()
            assert await ann.get("mine") == 1
            assert damaging.damaged


@pytest.mark.parametrize("opaque", [False, True], ids=["MD5", "opaque"])
async def test_what_another_has_written_costs_no_second_request(opaque: bool) -> None:
    """An entry carries its own check, whatever the server's ETags are."""
    memory = MemoryStorage()
    bucket: Storage = Opaque(memory) if opaque else memory
    counting = CountingStorage(bucket)
    place = Place("memory", "memory:")
    async with connected(bucket, place, "ann") as ann, connected(counting, place, "bob") as bob:
        await ann.put("a", 1)
        await bob.refresh()
        counting.reset()
        await bob.refresh()
        assert counting.counts == {"get": 1}
        await ann.put("a", 2)
        counting.reset()
        await bob.refresh()
        assert counting.counts == {"get": 2}
        counting.reset()
        await bob.put("b", 1)
        assert counting.counts["put"] == 1
        assert counting.counts.total() <= 2  # who writes beside another may read right before


async def test_an_entry_of_an_earlier_version_is_read_twice_where_nothing_else_vouches_for_it() -> None:
    memory = MemoryStorage()
    place = Place("memory", "memory:")
    async with connected(memory, place, "ann") as ann:
        await ann.put("a", 1)
        head = await memory.get("main/head")
        assert isinstance(head, Found)
        log = codec.decode_head(head.body, "").incarnation
        name = f"main/{log}/log/{2:020d}"
        first = await memory.get(f"main/{log}/log/{1:020d}")
        assert isinstance(first, Found)
        now = SystemClock().now()
        write = '{"nonce":"n","number":1,"update":{"a":{"value":2,"version":"w-1"}}}'
        made = codec.encode_entry(2, codec.digest(first.body), "w", "old", now, [write])
        unsealed = made[: made.index(b',"check"')] + b"}"
        assert sealed(unsealed) == made
        await memory.put(name, unsealed)
        for bucket, reads in ((memory, 1), (Opaque(memory), 2)):
            counting = CountingStorage(bucket)
            damaging = Damaging(counting, flipped(0.5), "/log/")
            async with connected(damaging, place, "bob") as bob:
                assert await bob.get("a") == 2
                asked = [request for request in counting.requests if request.name == name]
                # one more than it takes where the first answer is damaged
                assert len([one for one in asked if one.outcome == "Found"]) == reads + 1


async def test_what_is_stored_damaged_is_corrupt_and_named() -> None:
    memory = MemoryStorage()
    place = Place("memory", "memory:")
    async with connected(memory, place, "ann") as ann:
        await ann.put("a", 1)
        listed = await memory.list("main/")
        (name,) = [one.name for one in listed.objects if "/log/" in one.name]
        found = await memory.get(name)
        assert isinstance(found, Found)
        spoilt = found.body.replace(b'"value":1', b'"value":3')
        assert is_intact(spoilt) is False
        await memory.put(name, spoilt)
        with pytest.raises(Corrupt, match=name):
            await connected(memory, place, "bob")
        await memory.put(name, found.body)
        async with connected(memory, place, "bob") as bob:
            assert await bob.get("a") == 1


async def test_answers_that_never_agree_are_no_answer() -> None:
    class Noisy(StorageWrapper):
        number = 0

        async def get(self, name: str, **options: Any) -> Any:
            answer = await super().get(name, **options)
            if not isinstance(answer, Found) or "/log/" not in name:
                return answer
            self.number += 1
            return replace(answer, body=flipped(self.number / 50)(answer.body))

    memory = MemoryStorage()
    place = Place("memory", "memory:")
    async with connected(memory, place, "ann") as ann:
        await ann.put("a", 1)
        with pytest.raises(rxmps3.Unavailable, match="differ from each other"):
            await connected(Noisy(memory), place, "bob")


def test_the_check_is_the_last_member_and_of_the_rest() -> None:
    assert is_intact(b'{"a":1}') is None
    body = sealed(b'{"a":1}')
    assert body.startswith(b'{"a":1,"check":"')
    assert is_intact(body) is True
    for at in range(len(body)):
        for bit in range(8):
            wrong = body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]
            assert is_intact(wrong) is not True
        assert is_intact(body[:at]) is not True


async def test_a_listing_that_is_wrong_about_an_age_deletes_nothing() -> None:
    """One digit of a time in one listing: what was stored just now seems to be years old."""

    class OnceOld(StorageWrapper):
        lied = 0

        async def list(self, prefix: str, **options: Any) -> Page:
            page = await super().list(prefix, **options)
            if self.lied or "values" not in prefix or not page.objects:
                return page
            self.lied += 1
            return replace(page, objects=[_older(one) for one in page.objects])

    def _older(one: Listed) -> Listed:
        assert one.modified is not None
        return replace(one, modified=one.modified.replace(year=one.modified.year - 4))

    memory = MemoryStorage()
    place = Place("memory", "memory:")
    async with connected(memory, place, "ann") as ann:
        await ann.put("a", LARGE)
        await memory.put("main/values/b@unfinished-1", b'"an upload under way"')
        lying = OnceOld(memory)
        async with connected(lying, place, "kim") as kim:
            report = await kim.compact()
            assert lying.lied
            assert report.values == 0
        assert isinstance(await memory.get("main/values/b@unfinished-1"), Found)


async def test_a_listing_with_a_wrong_number_is_asked_for_again() -> None:
    class OnceAhead(StorageWrapper):
        lied = 0

        async def list(self, prefix: str, **options: Any) -> Page:
            page = await super().list(prefix, **options)
            if self.lied or "/log/" not in prefix or not page.objects:
                return page
            self.lied += 1
            last = page.objects[-1]
            return replace(page, objects=[*page.objects[:-1], replace(last, name=f"{last.name[:-2]}42")])

    memory = MemoryStorage()
    place = Place("memory", "memory:")
    async with connected(memory, place, "ann") as ann:
        for number in range(3):
            await ann.put("a", number)
        lying = OnceAhead(memory)
        async with connected(lying, place, "bob") as bob:
            assert await bob.get("a") == 2
            assert lying.lied
