"""Forks and forgeries: two histories in one bucket, numbers and writers that an entry has no right to."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

import rxmps3
from rxmps3.errors import Corrupt, Replaced, Unsupported
from rxmps3.local.directory import LocalMemory
from rxmps3.log import codec
from rxmps3.log.sequenced.verify import verify
from rxmps3.model.state import ContentObject, Entry, Write, WriteId
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage, MemoryStorage
from rxmps3.testing.virtual import EPOCH
from tests.forging import resealed
from tests.hostile.samples import MAIN, Objects, Sample, an_entry, samples, virtually
from tests.hostile.watching import Place, contents, failure_of, settles, untouched


def grown() -> Sample:
    return samples()["grown"]


def at(seq: int) -> str:
    return MAIN.entry(grown().head.incarnation, seq)


def chain(objects: Objects, seq: int) -> str:
    """What the entry after this one has to say it follows."""
    return codec.digest(objects[at(seq)])


# -- two histories -------------------------------------------------------------------------------------------------


async def forked(place: Place) -> tuple[Objects, Objects, dict[str, Any], dict[str, Any]]:
    """Two copies of one bucket, written to separately."""
    sides: list[Objects] = []
    states: list[dict[str, Any]] = []
    for side in ("left", "right"):
        await place.hold(grown().objects)
        db = await place.connect()
        for number in range(3):
            await db.put(f"{side}/{number}", side)
        await db.compact()
        await db.put("a", side)
        states.append(await contents(db))
        sides.append(await place.objects())
    return sides[0], sides[1], states[0], states[1]


@pytest.mark.parametrize("seq", [8, 9, 10, 11])
def test_an_entry_of_another_history_among_ours(seq: int) -> None:
    async def scenario() -> None:
        place = Place()
        left, right, truth, _ = await forked(place)
        mixed = {**left, at(seq): right[at(seq)]}
        await place.hold(mixed)
        found = await verify(place.storage, "main")
        before_checkpoint = seq <= 10
        if seq == 11 or before_checkpoint:
            assert not found.ok, found
        error = await failure_of(place.connect())
        if before_checkpoint:
            assert error is None
        else:
            assert isinstance(error, Corrupt)
            assert at(11) in str(error)
        untouched(mixed, await place.objects())
        assert truth["a"] == "left"
        await place.close()

    virtually(scenario)


@pytest.mark.parametrize("half", range(6))
def test_two_histories_mixed_at_random_give_one_of_them_or_an_error(half: int) -> None:
    async def scenario() -> None:
        place = Place()
        left, right, of_left, of_right = await forked(place)
        names = sorted(left.keys() | right.keys())
        mixed: Objects = {}
        for place_in_list, name in enumerate(names):
            first, second = (left, right) if (place_in_list >> (half % 3)) & 1 == half // 3 else (right, left)
            body = first.get(name, second.get(name))
            assert body is not None
            mixed[name] = body
        await place.hold(mixed)
        error = await failure_of(place.connect())
        if error is not None:
            assert isinstance(error, Corrupt)
            assert not (await verify(place.storage, "main")).ok
        else:
            db = await place.connect()
            assert await contents(db) in (of_left, of_right)
        untouched(mixed, await place.objects())
        await place.close()

    virtually(scenario)


def test_a_running_client_whose_bucket_becomes_another_history() -> None:
    async def scenario() -> None:
        place = Place()
        left, right, of_left, _ = await forked(place)
        await place.hold(left)
        db = await place.connect(live=True, poll=5.0)
        seen: list[dict[str, Any]] = []
        db.observe_prefix("").subscribe(lambda value: seen.append(dict(value)))
        other = {**right, at(12): an_entry(12, codec.digest(right[at(11)]), {"a": "right again"})}
        await place.hold(other)
        receipt = db.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        assert isinstance(db.status.value.last_error, Corrupt)
        assert "/log/" in str(db.status.value.last_error)
        with pytest.raises(Replaced):
            await receipt
        assert all(state in (of_left, {**of_left, "mine": 1}) for state in seen)
        untouched(other, await place.objects())
        place.check_failures()
        await place.hold(left)
        await place.minutes(2)
        await settles(db.put("mine", 1))  # the same database is back, and the client goes on
        await place.close()

    virtually(scenario)


def test_a_bucket_rolled_back_is_no_place_for_a_client_that_knows_more() -> None:
    """A client that kept what it knew on disk does not go back to an earlier time, and keeps what is pending."""

    async def scenario() -> None:
        place = Place()
        disk: dict[str, MemoryStorage] = {}
        local = LocalMemory(lambda name: disk.setdefault(name, MemoryStorage(clock=place.clock)))
        await place.hold(grown().objects)
        db = await place.connect(local=local)
        await db.put("late", 1)
        await place.minutes(1)
        forward = await place.objects()
        await db.close()
        offline = await place.connect(local=local, online=False)
        receipt = offline.put("pending", 1)
        await receipt.stored
        await offline.close(timeout=0)
        await place.hold(grown().objects)
        error = await failure_of(place.connect(local=local))
        assert isinstance(error, Corrupt)
        assert at(8) in str(error)
        untouched(grown().objects, await place.objects())
        await place.hold(forward)
        again = await place.connect(local=local)
        await place.minutes(1)
        assert await contents(again) == {**grown().state, "late": 1, "pending": 1}
        assert again.status.value.pending == 0
        await place.close()

    virtually(scenario)


def test_the_log_of_another_time_is_recognised_at_once_by_a_client_that_is_ahead() -> None:
    """The newest entries are gone: a running client goes on from what it has read, and whoever comes later sees the
    hole instead of a history that never was."""

    async def scenario() -> None:
        place = Place()
        await place.hold(grown().objects)
        db = await place.connect()
        cut = {name: body for name, body in grown().objects.items() if name != at(7)}
        await place.hold(cut)
        assert await contents(db) == grown().state
        await db.put("mine", 1)
        error = await failure_of(place.connect())
        assert isinstance(error, Corrupt)
        assert at(7) in str(error)
        assert [problem.object for problem in (await verify(place.storage, "main")).problems] == [at(7)]
        await place.hold({**await place.objects(), at(7): grown().objects[at(7)]})
        assert await contents(await place.connect()) == {**grown().state, "mine": 1}
        await place.close()

    virtually(scenario)


@pytest.mark.parametrize("seq", [5, 6])
def test_a_hole_right_before_a_running_client_is_noticed_behind_it(seq: int) -> None:
    """Nothing tells a missing entry from one that has not been written yet, until the one after it is read."""

    async def scenario() -> None:
        place = Place()
        await place.hold(samples()["young"].objects)
        db = await place.connect(live=True, poll=5.0)
        holed = {name: body for name, body in grown().objects.items() if name != at(seq)}
        await place.hold(holed)
        await place.minutes(1)
        assert await contents(db) == grown().states[seq - 1]
        db.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        error = db.status.value.last_error
        assert isinstance(error, Corrupt)
        assert at(seq + 1) in str(error)
        assert await contents(db) == {**grown().states[seq - 1], "mine": 1}
        after = await place.objects()
        untouched(holed, {name: after[name] for name in holed})
        assert after.keys() - holed.keys() == {at(seq)}
        found = await verify(place.storage, "main")
        assert at(seq + 1) in [problem.object for problem in found.problems]
        place.check_failures()
        await place.close()

    virtually(scenario)


def test_a_running_client_that_was_given_a_forged_entry_says_so_at_the_next_one() -> None:
    async def scenario() -> None:
        place = Place()
        await place.hold(samples()["young"].objects)
        db = await place.connect(live=True, poll=5.0)
        forged = {**grown().objects, at(5): an_entry(5, chain(grown().objects, 4), {"a": "forged"})}
        await place.hold(forged)
        await place.minutes(1)
        receipt = db.put("mine", 1)
        await place.stays_calm()
        error = db.status.value.last_error
        assert isinstance(error, Corrupt)
        assert at(6) in str(error)
        assert not receipt.done()
        untouched(forged, await place.objects())
        await place.hold(grown().objects)
        assert await contents(await place.connect()) == grown().state
        await place.close()

    virtually(scenario)


# -- entries that claim what is not theirs -------------------------------------------------------------------------


def entry_with(**members: Any) -> Callable[[Objects], bytes]:
    """Entry 8 as a client would write it, but for some members; ``...`` leaves one out."""

    def make(objects: Objects) -> bytes:
        document = json.loads(an_entry(8, chain(objects, 7), {"a": "forged"}))
        document.update(members)
        kept = {name: value for name, value in document.items() if value is not ...}
        return json.dumps(kept).encode()

    return make


def write_with(**members: Any) -> Callable[[Objects], bytes]:
    """Entry 8 with a single write, some of whose members are other ones."""
    write = {"nonce": "n", "number": 1, "update": {"a": {"value": "forged", "version": "mallory-1"}}}
    write.update(members)
    return entry_with(writes=[{name: value for name, value in write.items() if value is not ...}])


def value_with(**members: Any) -> Callable[[Objects], bytes]:
    """Entry 8, whose write puts a value into an object of its own."""
    value = {
        "object": "values/a@mallory-1",
        "sha256": "0" * 64,
        "size": 10,
        "type": "json",
        "version": "mallory-1",
    }
    value.update(members)
    return write_with(update={"a": value})


def raw(text: str) -> Callable[[Objects], bytes]:
    """Entry 8 whose value has this JSON text."""

    def make(objects: Objects) -> bytes:
        return resealed(an_entry(8, chain(objects, 7), {"a": "FORGED"}).replace(b'"FORGED"', text.encode()))

    return make


LONE = "\ud800"
CLAIMS: dict[str, Callable[[Objects], bytes]] = {
    "another seq": entry_with(seq=9),
    "seq as text": entry_with(seq="8"),
    "seq true": entry_with(seq=True),
    "a negative seq": entry_with(seq=-8),
    "a long seq": entry_with(seq=10**4000),
    "another history": entry_with(previous="0" * 64),
    "no previous": entry_with(previous=...),
    "a newer format": entry_with(format=2),
    "an unknown feature": entry_with(requires=["locks"]),
    "features of a strange kind": entry_with(requires=[["locks"]]),
    "no writer": entry_with(writer=...),
    "a writer that is no text": entry_with(writer=7),
    "a writer that is not Unicode": entry_with(writer=LONE),
    "a name that is not Unicode": entry_with(by=LONE),
    "no writes": entry_with(writes=...),
    "writes that are none": entry_with(writes=[None]),
    "a time that is none": entry_with(time="yesterday"),
    "a date at the end of time": entry_with(date="9999-12-31T23:59:59-23:59"),
    "a date at the beginning of time": entry_with(date="0001-01-01T00:00:00+23:59"),
    "a number that is a text": write_with(number="1"),
    "a negative number": write_with(number=-1),
    "a number that is not whole": write_with(number=1.5),
    "a nonce that is not Unicode": write_with(nonce=LONE),
    "no keys": write_with(update={}),
    "an empty key": write_with(update={"": None}),
    "a key that is not Unicode": write_with(update={LONE: {"value": 1, "version": "mallory-1"}}),
    "a value without version": write_with(update={"a": {"value": 1}}),
    "a version that is not Unicode": write_with(update={"a": {"value": 1, "version": LONE}}),
    "the writes of another": write_with(writer=5),
    "a value of another key": value_with(object="values/b@mallory-1"),
    "a value outside": value_with(object="values/../../other/head"),
    "a value that is the head": value_with(object="head"),
    "a value of a strange type": value_with(type="parquet"),
    "a value of a negative size": value_with(size=-1),
    "a hash that is none": value_with(sha256="?"),
    "a value too deep to read": raw("[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_an_entry_that_no_client_would_write(claim: str) -> None:
    """A new client, a running one and `verify` call it what it is."""

    async def scenario() -> None:
        place = Place()
        await place.hold(grown().objects)
        running = await place.connect(live=True, poll=5.0)
        forged = {**grown().objects, at(8): CLAIMS[claim](grown().objects)}
        await place.hold(forged)
        error = await failure_of(place.connect())
        assert isinstance(error, (Corrupt, Unsupported)), error
        assert at(8) in str(error)
        receipt = running.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        error = running.status.value.last_error
        assert isinstance(error, (Corrupt, Unsupported)), error
        assert at(8) in str(error)
        assert await contents(running) == {**grown().state, "mine": 1}
        assert [problem.object for problem in (await verify(place.storage, "main")).problems] == [at(8)]
        untouched(forged, await place.objects())
        assert not receipt.done()
        place.check_failures()
        await place.hold(grown().objects)
        await settles(receipt)
        await place.close()

    virtually(scenario)


SPOILT: dict[str, Callable[[Objects], bytes]] = {
    "infinite": raw("1e999"),
    "infinite by its length": raw("1" * 250 + "e99"),
    "NaN": raw("NaN"),
    "of many digits": raw("9" * 10_000),
    "not Unicode": raw('"\\ud800"'),
}


@pytest.mark.parametrize("what", SPOILT)
def test_an_inline_value_that_no_client_would_write_takes_its_own_key_alone(what: str) -> None:
    """Everybody opens the database, goes on writing, makes checkpoints; who asks for that key is told; `verify` is."""

    async def scenario() -> None:
        place = Place()
        objects = {**grown().objects, at(8): SPOILT[what](grown().objects)}
        await place.hold(objects)
        key = "a"
        db = await place.connect()
        error = await failure_of(db.get(key))
        assert isinstance(error, Corrupt), error
        assert key in str(error)
        others = {name: value for name, value in grown().state.items() if name != key}
        assert await db.get_many(others) == others
        await db.put("mine", 1)
        assert [key in problem.object for problem in (await verify(place.storage, "main")).problems] == [True]
        await db.compact()
        late = await place.connect()
        assert isinstance(await failure_of(late.get(key)), Corrupt)
        assert await late.get("mine") == 1
        await db.put(key, "mended")
        assert await db.get_prefix() == {**others, key: "mended", "mine": 1}
        assert (await verify(place.storage, "main")).ok
        await place.close()

    virtually(scenario)


@pytest.mark.parametrize("ahead", [0, 1, 1000, 10**30])
def test_an_entry_in_the_name_of_a_running_client(ahead: int) -> None:
    """Somebody writes under this client's own writer id a number that it is about to use or has not reached yet. Its
    own write must not be taken for committed, nor be sent under a number that is taken."""

    async def scenario() -> None:
        place = Place()
        await place.hold(grown().objects)
        db = await place.connect()
        await db.put("first", 1)
        healthy = await place.objects()
        (writer,) = {json.loads(healthy[at(8)])["writer"]}
        theirs = an_entry(9, chain(healthy, 8), {"a": "forged"}, writer=writer, number=2 + ahead, nonce="theirs")
        await place.hold({**healthy, at(9): theirs})
        receipt = db.put("mine", 1)
        await place.minutes(2)
        assert not receipt.done(), "a write that is nowhere in the log was called committed"
        error = db.status.value.last_error
        assert isinstance(error, Corrupt)
        assert (await place.objects()).keys() == {*healthy, at(9)}
        await place.hold(healthy)
        await settles(receipt)
        assert await contents(await place.connect()) == {**grown().state, "first": 1, "mine": 1}
        await place.close()

    virtually(scenario)


def test_a_write_that_is_there_twice_counts_once() -> None:
    """The same writer, number and nonce again is a write sent twice; with another nonce it is a forgery."""

    async def scenario() -> None:
        place = Place()
        first = an_entry(8, chain(grown().objects, 7), {"a": 1}, number=5, nonce="n5")
        later = an_entry(9, codec.digest(first), {"a": 2}, number=6, nonce="n6")
        again = an_entry(10, codec.digest(later), {"a": 1}, number=5, nonce="n5")
        objects = {**grown().objects, at(8): first, at(9): later, at(10): again}
        await place.hold(objects)
        assert (await contents(await place.connect()))["a"] == 2
        assert (await verify(place.storage, "main")).ok
        twice = an_entry(10, codec.digest(later), {"a": 1}, number=6, nonce="another")
        await place.hold({**objects, at(10): twice})
        error = await failure_of(place.connect())
        assert isinstance(error, Corrupt)
        assert "mallory-6" in str(error)
        assert [problem.object for problem in (await verify(place.storage, "main")).problems] == [at(10)]
        await place.close()

    virtually(scenario)


VALUES: dict[str, bytes] = {
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "no JSON": b"hello",
    "no Unicode": b'"\xff"',
    "infinite": b"1e999",
    "of many digits": b"9" * 10_000,
    "a lone surrogate": b'"\\ud800"',
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_that_no_client_would_write_though_its_hash_is_right(what: str) -> None:
    body = VALUES[what]

    async def scenario() -> None:
        place = Place()
        content = ContentObject("values/k@mallory-1", codec.digest(body), len(body))
        text = codec.encode_write(Write(WriteId("mallory", 1), "n", {"k": Entry("mallory-1", content)}), "mallory")
        entry = codec.encode_entry(8, chain(grown().objects, 7), "mallory", "", EPOCH, [text])
        objects = {**grown().objects, at(8): entry, MAIN.content(content.name): body}
        await place.hold(objects)
        db = await place.connect(live=True, poll=5.0)
        error = await failure_of(db.get("k"))
        assert isinstance(error, Corrupt), error
        assert "k" in str(error)
        seen: list[Any] = []
        db.observe("k").subscribe(seen.append)
        await place.minutes(2)
        await place.stays_calm()
        assert seen == []
        assert place.failures
        place.check_failures()
        assert await db.get("a") == grown().state["a"]
        untouched(objects, await place.objects())
        await db.put("k", "well again")
        assert seen == ["well again"]
        await place.close()

    virtually(scenario)


# -- heads and checkpoints that claim what cannot be ---------------------------------------------------------------


def head_with(**members: Any) -> Callable[[Objects], bytes]:
    def make(objects: Objects) -> bytes:
        document = {**json.loads(objects[MAIN.head]), **members}
        return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()

    return make


def checkpoint_with(**members: Any) -> Callable[[Objects], bytes]:
    """The head with another reference to its checkpoint."""

    def make(objects: Objects) -> bytes:
        return head_with(checkpoint={**json.loads(objects[MAIN.head])["checkpoint"], **members})(objects)

    return make


HEADS: dict[str, Callable[[Objects], bytes]] = {
    "a newer format": head_with(format=2),
    "an unknown feature": head_with(requires=["shards"]),
    "a log outside": head_with(log="../other"),
    "no log": head_with(log=...),
    "an empty log": head_with(log=""),
    "a floor ahead of its checkpoint": head_with(floor=6),
    "a floor far ahead": head_with(floor=10**30),
    "a floor without a checkpoint": head_with(floor=2, checkpoint=None),
    "a negative floor": head_with(floor=-1),
    "a floor that is no number": head_with(floor="4"),
    "a time that is none": head_with(raised_at="now"),
    "a checkpoint of another number": checkpoint_with(seq=5),
    "a checkpoint of a long number": checkpoint_with(seq=10**4000),
    "a checkpoint of 100 MiB": checkpoint_with(size=100 << 20),
    "a checkpoint of 1 GiB and a byte": checkpoint_with(size=(1 << 30) + 1),
    "an empty checkpoint": checkpoint_with(size=0),
    "a checkpoint smaller than it is": checkpoint_with(size=100),
    "a checkpoint of another hash": checkpoint_with(sha256="0" * 64),
    "a checkpoint of the other manifest": checkpoint_with(name="../other/head"),
    "a checkpoint that is the head": checkpoint_with(name="head"),
    "a checkpoint without a name": checkpoint_with(name=""),
    "a checkpoint with a NUL": checkpoint_with(name="a\0b"),
    "a checkpoint that is not Unicode": checkpoint_with(name=LONE),
    "a checkpoint of a long name": checkpoint_with(name="c" * 5000),
}


@pytest.mark.parametrize("claim", HEADS)
def test_a_head_that_no_client_would_write(claim: str) -> None:
    async def scenario() -> None:
        place = Place()
        objects = {**grown().objects, MAIN.head: HEADS[claim](grown().objects)}
        await place.hold(objects)
        error = await failure_of(place.connect())
        assert isinstance(error, (Corrupt, Unsupported)), repr(error)
        assert "main/" in str(error)
        found = await verify(place.storage, "main")
        assert not found.ok
        assert all(problem.object.startswith("main/") for problem in found.problems)
        db = place.lazily(await place.connect("other"))
        receipt = db.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        assert not receipt.done()
        untouched(objects, await place.objects())
        place.check_failures()
        await place.hold({**objects, MAIN.head: grown().objects[MAIN.head]})
        await settles(receipt)
        await place.close()

    virtually(scenario)


def test_a_bomb_is_not_unpacked_beyond_what_the_head_says() -> None:
    """The checkpoint and the head agree on a hash, but the gzip holds far more behind what was hashed."""

    async def scenario() -> None:
        place = Place()
        head = grown().head
        assert head.checkpoint is not None
        name = MAIN.root + head.checkpoint.name
        bomb = gzip.compress(gzip.decompress(grown().objects[name]) + b" " * (32 << 20), compresslevel=1)
        await place.hold({**grown().objects, name: bomb})
        error = await failure_of(place.connect())
        assert isinstance(error, Corrupt)
        assert name in str(error)
        await place.close()

    virtually(scenario)


def test_no_name_in_a_bucket_leads_out_of_its_directory(tmp_path: Any) -> None:
    """What a head names is looked for below the database's own directory, or not at all."""

    async def scenario() -> None:
        secret = tmp_path / "secret"
        head = grown().head
        assert head.checkpoint is not None
        secret.write_bytes(grown().objects[MAIN.root + head.checkpoint.name])
        storage = DirectoryStorage(tmp_path / "bucket", SystemClock())
        for name, body in {**grown().objects, MAIN.head: checkpoint_with(name="../../secret")(grown().objects)}.items():
            await storage.put(name, body)
        error = await failure_of(rxmps3.connect(storage, shared=False).__aenter__())
        assert isinstance(error, (Corrupt, Unsupported, rxmps3.InvalidKey)), repr(error)
        assert not (await verify(storage, "main")).ok

    samples()
    asyncio.run(scenario())
