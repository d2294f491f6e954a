"""Collection deletes what the log once named and no longer needs, and nothing else, wherever it is interrupted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rxmps3.errors import AccessDenied
from rxmps3.storage import Found, MemoryStorage, Missing, Storage
from rxmps3.storage.base import versions_of
from rxmps3.testing import FaultyStorage, ManualClock, Request
from rxmps3.testing.faults import fail_on
from tests.versioned.helpers import MISSING, Client, HidesVersions, versions

DAY = timedelta(days=1).total_seconds()
SETTLED = 1300.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("versioned collector")


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock, versioning=True)


async def checkpointed(client: Client, clock: ManualClock) -> None:
    """Make a checkpoint of all there is, and have it named by a settled version."""
    await clock.advance(SETTLED)
    await client.log.list_again()
    assert await client.collector.checkpoint() is not None
    await client.put(named=clock.monotonic())
    await clock.advance(SETTLED)
    await client.log.list_again()


async def everything(storage: Storage) -> list[tuple[str, str]]:
    """The name and version of all that is stored, delete markers too."""
    found: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        page = await versions_of(storage).list_versions("", cursor=cursor)
        found += [(one.name, one.version) for one in page.versions]
        cursor = page.cursor
        if cursor is None:
            return found


async def history(storage: Storage, clock: ManualClock) -> Client:
    """A manifest with something to collect: values overwritten and deleted, two checkpoints, a day between."""
    a = Client(storage, clock)
    for number in range(5):
        await a.put(k=number, kept="since then" if number == 1 else number)
    await a.put(gone=MISSING, kept="for good")
    await a.put(gone="soon")
    await a.put(gone=MISSING)
    await checkpointed(a, clock)
    await a.put(k="after the first checkpoint")
    await checkpointed(a, clock)
    await clock.advance(DAY + 2 * 3600)
    await a.put(k="today")
    return a


async def test_what_is_old_and_unnamed_goes_and_the_rest_stays(storage: MemoryStorage, clock: ManualClock):
    a = await history(storage, clock)
    before, expected = await everything(storage), await a.values()
    report = await a.collector.collect()
    assert (report.entries, report.checkpoints) == (9, 1)
    assert report.values == 5 + 5 + 1  # of k and of kept, and the one of gone
    assert report.bytes > 0
    after = await everything(storage)
    assert set(after) < set(before)
    assert len(before) - len(after) == report.entries + report.values + report.checkpoints + 2  # two delete markers
    assert not [name for name, _ in after if name == "gone"]
    fresh = Client(storage, clock)
    assert await fresh.read() == await a.read() == expected
    assert fresh.state.writers == a.state.writers
    again = await a.collector.collect()
    assert (again.entries, again.values, again.checkpoints) == (0, 0, 0)


async def test_what_was_below_a_known_beginning_and_is_collected_is_not_missed(
    storage: MemoryStorage, clock: ManualClock
):
    """It came to light after the last look of a client that slept until it was gone."""
    hiding = HidesVersions(storage)
    a, sleeper = Client(storage, clock), Client(hiding, clock)
    await sleeper.log.read()
    await a.put(first="a")
    hiding.hidden = {(await versions(storage))[-1]}
    await sleeper.put(second="sleeper")
    assert await sleeper.values() == {"second": "sleeper"}
    hiding.hidden = ()
    await a.log.read()
    await checkpointed(a, clock)
    await a.put(third="a")
    await clock.advance(DAY + 2 * 3600)
    await a.put(fourth="a")
    report = await a.collector.collect()
    assert report.entries == 1
    assert await sleeper.read() == await a.read()
    assert (await sleeper.read())["first"] == "a"
    assert sleeper.state.writers == a.state.writers


async def test_a_dry_run_deletes_nothing_and_says_the_same(storage: MemoryStorage, clock: ManualClock):
    a = await history(storage, clock)
    before = await everything(storage)
    told: list[str] = []
    would = await a.collector.collect(dry_run=True, progress=lambda what, done, total: told.append(what))
    assert await everything(storage) == before
    assert would == await a.collector.collect()
    assert {"values", "entries"} <= set(told)


async def test_nothing_younger_than_the_retention_goes(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock, retention=timedelta(days=7))
    for number in range(5):
        await a.put(k=number)
    await checkpointed(a, clock)
    await clock.advance(DAY)
    before = await everything(storage)
    report = await a.collector.collect()
    assert (report.entries, report.values, report.checkpoints) == (0, 0, 0)
    assert await everything(storage) == before


async def test_what_others_keep_below_the_same_prefix_is_left_alone(storage: MemoryStorage, clock: ManualClock):
    other = Client(storage, clock, "other")
    await storage.put("k", b"by another program")
    await other.put(k="of the other manifest")
    await other.put(k="its present value", gone="here for good")
    await storage.put("k", b'"uploaded, never committed"')
    theirs = await everything(storage)
    a = await history(storage, clock)
    report = await a.collector.collect()
    assert report.values
    left = await everything(storage)
    assert set(theirs) <= set(left)
    assert await Client(storage, clock, "other").read() == {"k": "its present value", "gone": "here for good"}
    for name, id in theirs:
        assert isinstance(await storage.get(name, version=id), Found)


@pytest.mark.parametrize("at", [1, 2, 5, 11, 12, 13, 14, 18, 22, 23])
async def test_interrupted_anywhere_it_is_taken_up_by_anyone(storage: MemoryStorage, clock: ManualClock, at: int):
    a = await history(storage, clock)
    expected = await a.values()
    deletes = 0

    def strikes(request: Request) -> bool:
        nonlocal deletes
        deletes += request.verb == "delete"
        return request.verb == "delete" and deletes >= at

    faulty = FaultyStorage(storage, fail_on(strikes, lambda: AccessDenied("interrupted")), clock=clock)
    b = Client(faulty, clock)
    await b.log.open()
    with pytest.raises(AccessDenied):
        await b.collector.collect()
    assert await Client(storage, clock).read() == expected
    c = Client(storage, clock)
    await c.log.open()
    await c.collector.collect()
    assert await Client(storage, clock).read() == expected
    again = await a.collector.collect()
    assert (again.entries, again.values, again.checkpoints) == (0, 0, 0)
    values = [name for name, _ in await everything(storage) if name in ("k", "kept", "gone", "named")]
    assert sorted(values) == ["k", "k", "kept", "named", "named"]  # what the retention covers


async def test_a_reader_of_the_present_state_never_misses_a_value(storage: MemoryStorage, clock: ManualClock):
    a, reader = await history(storage, clock), Client(storage, clock)
    await reader.log.open()
    for turn in range(4):
        await a.put(k=turn, kept=turn)
        await reader.log.read()
        await checkpointed(a, clock)
        await clock.advance(DAY + 2 * 3600)
        await a.collector.collect()
        for content in reader.contents():
            assert not isinstance(await storage.get(content.name, version=content.version), Missing)
        assert await reader.read() == await a.values()
    assert len(await versions(storage)) < 8


async def test_writers_silent_for_long_are_forgotten(storage: MemoryStorage, clock: ManualClock):
    silent, a = Client(storage, clock), Client(storage, clock)
    await silent.put(k=1)
    await a.log.read()
    await clock.advance(31 * DAY)
    await a.log.server_time()
    await a.put(k=2)
    assert silent.writer in a.state.writers
    report = await a.collector.collect()
    assert report.expired == (silent.writer,)
    assert set(a.state.writers) == {a.writer}
    assert (await a.collector.collect()).expired == ()


async def test_a_writer_that_has_heard_nothing_for_long_is_not_silent(storage: MemoryStorage, clock: ManualClock):
    a, b = Client(storage, clock), Client(storage, clock)
    await a.put(k=1)
    await clock.advance(31 * DAY)
    await a.log.ensure_dated()
    await a.write({"k": MISSING})
    await a.commit()
    await b.log.open()
    assert (await b.collector.collect()).expired == ()
    assert a.writer in b.state.writers


async def test_there_is_nothing_to_do_for_an_empty_place(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    await a.log.open()
    assert await a.collector.checkpoint() is None
    report: Any = await a.collector.collect()
    assert (report.entries, report.values) == (0, 0)
    assert not await everything(storage)
