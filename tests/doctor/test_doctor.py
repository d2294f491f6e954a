"""Each thing a storage can or cannot do is named by the right row, and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rxmps3.cli.doctor import Report, State, StorageUnderTest, examine, judge
from rxmps3.cli.doctor.facts import Sighting, skew_of
from rxmps3.database.connect import connect
from rxmps3.errors import BucketNotFound, Rejected, Unavailable, Unsupported
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import (
    DirectoryStorage,
    Found,
    MemoryStorage,
    Missing,
    NotModified,
    Storage,
    Stored,
    list_all,
    open_storage,
)
from rxmps3.testing import FaultyStorage
from rxmps3.testing.faults import deny, late, lose_answers, offline
from rxmps3.testing.wrappers import Request
from tests.behaviour.test_probe import IgnoresCreate, IgnoresMatch, InventsObjects, SendsAllAgain
from tests.conftest import STORAGES, new_place
from tests.doctor import broken
from tests.servers import GETTER, MEMBER, MEMBER_PREFIX, READER, SHARED_BUCKET, VERSIONED_BUCKET, Moto, SeaweedFS

SEQUENCED, VERSIONED, MPS3 = "sequenced", "versioned", "mps3"
EVERY = {SEQUENCED, VERSIONED, MPS3}


class Hasty(SystemClock):
    """Does not wait."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def report_on(storage: Storage, rounds: int = 8) -> tuple[Report, StorageUnderTest]:
    place = StorageUnderTest(storage, Hasty())
    return judge(await examine(place, Hasty(), rounds=rounds)), place


def states(report: Report) -> dict[str, State]:
    return {row.check: row.state for row in report.rows}


def flawed(report: Report) -> set[str]:
    """The checks that ended badly; versions aside, which most storages do not keep, and the probes, which repeat."""
    aside = ("version", "probe: ")
    return {row.check for row in report.rows if row.state is not State.GOOD and not any(map(row.check.count, aside))}


def usable(report: Report) -> set[str]:
    return {one.protocol for one in report.protocols if one.usable}


async def leftovers(storage: Any) -> list[str]:
    if getattr(storage, "versioning", False):
        return [one.name for one in (await storage.list_versions("")).versions]
    return [one.name for one in await list_all(storage, "")]


# -- storages that are as they should be ---------------------------------------------------------------------------


@pytest.mark.parametrize("versioning", [False, True])
@pytest.mark.parametrize("kind", STORAGES)
async def test_good_storages(kind: str, versioning: bool, request: pytest.FixtureRequest) -> None:
    if kind == "file" and versioning:
        pytest.skip("a directory keeps no versions")
    place = new_place(kind, request, versioning=versioning)
    storage: Any = open_storage(place.url, clock=SystemClock(), **place.options)
    try:
        report, folder = await report_on(storage)
        [order] = [row.found for row in report.rows if row.check == "listing order"]
        assert ("not across" in order) is (kind == "seaweedfs")
        assert flawed(report) == ({"checksums"} if kind == "moto" else set())
        assert usable(report) == (EVERY if versioning else {SEQUENCED, MPS3})
        assert (report.recommended, report.readable) == (SEQUENCED, True)
        assert folder.left == ()
        assert await list_all(storage, "") == []
        if versioning:
            assert (await storage.list_versions("")).versions == []
    finally:
        await storage.close()


async def test_the_facts_have_their_figures() -> None:
    told: list[tuple[int, int]] = []
    place = StorageUnderTest(MemoryStorage(), Hasty())
    facts = await examine(place, Hasty(), rounds=5, progress=lambda what, done, total: told.append((done, total)))
    assert told == [(done, 8) for done in range(9)]
    assert {verb: one.count for verb, one in facts.latency.items()} == {"put": 20, "get": 25, "list": 15, "delete": 5}
    assert all(0 <= one.median <= one.max for one in facts.latency.values())
    assert facts.dates.skew is not None
    assert abs(facts.dates.skew) < timedelta(seconds=1)
    assert (getattr(facts.creates, "rounds", 0), getattr(facts.swaps, "rounds", 0)) == (5, 5)
    assert facts.requests == place.requests > 100


# -- broken ones ---------------------------------------------------------------------------------------------------

BROKEN: list[tuple[Callable[[], MemoryStorage], set[str], str, set[str]]] = [
    (IgnoresCreate, {"create if absent"}, "a create of what exists was accepted", {MPS3}),
    (broken.RacesOnCreate, {"create if absent"}, "of 4 concurrent puts were told that theirs succeeded", {MPS3}),
    (IgnoresMatch, {"compare and set"}, "stale ETag was accepted", {MPS3}),
    (broken.RacesOnMatch, {"compare and set"}, "of 4 concurrent puts were told that theirs succeeded", {MPS3}),
    (broken.KeepsTheLoser, {"create if absent"}, "another body was kept", {MPS3}),
    (broken.NoConditions, {"create if absent", "compare and set"}, "501 NotImplemented", {MPS3}),
    (SendsAllAgain, {"conditional get"}, "sent again", {MPS3}),
    (InventsObjects, {"missing object"}, "never written", set()),
    (broken.Timeless, {"Date header"}, "missing in answers to get", set()),
    (broken.ClockAhead, {"clock"}, "+600", {SEQUENCED, MPS3}),
    (broken.OneClockAhead, {"clock"}, "disagree by 600 s", set()),
    (broken.Shuffled, {"listing order"}, "not by bytes", {SEQUENCED}),
    (broken.LosesBetweenPages, {"listing pages"}, "between pages", set()),
    (broken.IgnoresAfter, {"listing pages"}, "start-after", set()),
    (broken.TakesAnyChecksum, {"checksums"}, "a wrong sha256 is accepted", {SEQUENCED, MPS3}),
    (broken.ListsLate, {"list after write"}, "right after a put", set()),
]


@pytest.mark.parametrize(("kind", "checks", "said", "left_over"), BROKEN)
async def test_what_is_broken_is_named_by_its_row(
    kind: Callable[[], MemoryStorage], checks: set[str], said: str, left_over: set[str]
) -> None:
    storage = kind()
    report, place = await report_on(storage)
    found = flawed(report)
    if kind is InventsObjects:
        found &= checks  # an answer to everything spoils other checks too
        assert states(report)["read after write"] is State.BAD
    if kind is broken.ListsLate:
        found -= {"listing pages"}  # the first page lacks the newest name, too
    assert found == checks
    assert any(said in row.found for row in report.rows if row.check in checks)
    assert usable(report) == left_over
    assert place.left == () or kind is InventsObjects
    assert not (await MemoryStorage.list(storage, "")).objects


class Damaging(MemoryStorage):
    """Every few answers come damaged, two in a row, each otherwise; its ETags tell nothing of the content."""

    def __init__(self, every: int, versioning: bool) -> None:
        super().__init__(versioning=versioning)
        self._every = every
        self.damaged = 0
        self._answers = 0

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        if isinstance(answer, Found):
            self._answers += 1
            if self._answers % self._every < 2:
                self.damaged += 1
                flipped = bytes([answer.body[0] ^ 1 << self._answers % 2])
                return replace(answer, body=flipped + answer.body[1:])
        return answer


@pytest.mark.parametrize("versioning", [False, True])
@pytest.mark.parametrize("every", [4, 5, 7])
async def test_damaged_answers_are_no_violations(every: int, *, versioning: bool) -> None:
    storage = Damaging(every, versioning)
    report, place = await report_on(storage)
    assert storage.damaged > 10
    assert flawed(report) == set()
    assert place.left == ()


async def test_reads_that_are_late() -> None:
    report, _ = await report_on(broken.ReadsLate())
    assert states(report)["read after write"] is State.BAD
    assert usable(report) == set()


async def test_versions_listed_the_wrong_way_round() -> None:
    storage = broken.OldestFirst()
    report, _ = await report_on(storage)
    assert states(report)["versioning"] is State.BAD
    assert usable(report) == {SEQUENCED, MPS3}
    assert await leftovers(storage) == []


async def test_folders_in_listings_harm_nobody() -> None:
    report, _ = await report_on(broken.Folders())
    [row] = [row for row in report.rows if row.check == "listing order"]
    assert (row.state, "not across" in row.found) == (State.GOOD, True)


async def test_many_races_find_a_seldom_one() -> None:
    report, _ = await report_on(broken.RacesSeldom(), rounds=24)
    assert states(report)["create if absent"] is State.BAD
    assert SEQUENCED not in usable(report)


async def test_lost_answers_are_no_violations() -> None:
    storage = FaultyStorage(MemoryStorage(), clock=Hasty())

    def of_races(request: Request) -> bool:
        return request.when is not None

    async def lose(request: Request, proceed: Any, faults: FaultyStorage) -> Any:
        answer = await proceed()
        if of_races(request) and faults.rng.randrange(3) == 0:
            raise Unavailable("the answer was lost", date=faults.clock.now())
        return answer

    storage.plan = lose
    report, place = await report_on(storage)
    assert states(report)["create if absent"] is State.GOOD
    assert place.left == ()
    assert await leftovers(storage.inner) == []


# -- permissions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "checks", "left_over"),
    [
        ("list", {"permission: list"}, set[str]()),
        ("get", {"permission: get"}, set[str]()),
        ("put", {"permission: put"}, set[str]()),
        ("delete", {"permission: delete"}, {SEQUENCED, MPS3}),
    ],
)
async def test_a_permission_that_lacks(verb: str, checks: set[str], left_over: set[str]) -> None:
    storage = FaultyStorage(MemoryStorage(), deny(verbs=[verb]))
    report, place = await report_on(storage)
    known = {row.check for row in report.rows if row.found == "refused"}
    assert known == checks
    assert usable(report) == left_over
    assert report.by_access is (not left_over)
    assert sorted(place.left) == sorted(await leftovers(storage.inner))
    assert bool(place.left) is (verb == "delete")


async def test_who_may_not_list_versions_still_removes_what_is_known() -> None:
    storage = FaultyStorage(MemoryStorage(versioning=True), deny(verbs=["list_versions"]))
    report, place = await report_on(storage)
    assert states(report)["permission: list versions"] is State.LIMITED
    assert usable(report) == {SEQUENCED, MPS3}
    assert states(report)["permission: delete"] is State.UNKNOWN
    assert await leftovers(storage.inner) == []
    assert place.left == ()


@pytest.mark.seaweedfs
async def test_identities_of_a_server(seaweedfs: SeaweedFS) -> None:
    async def report_for(who: Any, path: str) -> Report:
        storage = open_storage(f"s3://{path}", clock=SystemClock(), **seaweedfs.options(who))
        try:
            report, place = await report_on(storage, rounds=2)
            assert place.left == ()
            return report
        finally:
            await storage.close()

    def refused(report: Report) -> set[str]:
        return {row.check.removeprefix("permission: ") for row in report.rows if row.found == "refused"}

    reader = await report_for(READER, f"{SHARED_BUCKET}/doctor")
    assert refused(reader) == {"put", "delete"}
    assert (reader.recommended, reader.readable, reader.by_access) == (None, True, True)
    getter = await report_for(GETTER, f"{SHARED_BUCKET}/doctor")
    assert refused(getter) == {"list", "put", "delete", "list versions"}
    assert (getter.recommended, getter.readable, getter.by_access) == (None, False, True)
    member = await report_for(MEMBER, f"{SHARED_BUCKET}/{MEMBER_PREFIX}doctor")
    assert refused(member) == set()
    assert member.recommended == SEQUENCED
    outside = await report_for(MEMBER, f"{VERSIONED_BUCKET}/doctor")
    assert refused(outside) >= {"list", "put", "delete"}


# -- how it ends ---------------------------------------------------------------------------------------------------


class Breathing(MemoryStorage):
    """Lets others run before each request takes effect and before it is answered; ``done`` after so many."""

    def __init__(self, after: int) -> None:
        super().__init__(versioning=True)
        self.left, self.reached = after, asyncio.Event()

    async def put(self, name: str, body: bytes, **options: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.reached.set()
        await asyncio.sleep(0)
        stored = await super().put(name, body, **options)
        await asyncio.sleep(0)
        return stored


@pytest.mark.parametrize("after", [1, 2, 9, 20, 45, 60, 90])
async def test_nothing_stays_behind_when_it_is_interrupted(after: int) -> None:
    storage = Breathing(after)
    place = StorageUnderTest(storage, Hasty())
    task = asyncio.create_task(examine(place, Hasty(), rounds=8))
    await storage.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.left == ()
    assert await leftovers(storage) == []


async def test_a_put_that_arrives_late_is_removed() -> None:
    clock = SystemClock()
    storage = FaultyStorage(MemoryStorage(), clock=clock)
    lagging = late(one_in=1, seconds=0.3, verbs=("put",))

    def tell(what: str, done: int, total: int) -> None:
        storage.plan = lagging if done == 6 else ()

    place = StorageUnderTest(storage, clock)
    await examine(place, clock, rounds=2, progress=tell)
    assert place.left == ()
    await storage.arrived()
    assert await leftovers(storage.inner) == []


async def test_who_may_do_nothing_leaves_nothing() -> None:
    storage = FaultyStorage(MemoryStorage(), deny())
    report, place = await report_on(storage)
    assert (place.left, report.recommended, report.by_access) == ((), None, True)
    assert states(report)["missing object"] is State.BAD


async def test_conflicts_of_a_busy_server_are_no_violations() -> None:
    async def conflict(request: Request, proceed: Any, faults: FaultyStorage) -> Any:
        answer = await proceed()
        if request.when is not None and isinstance(answer, Stored):
            raise Unavailable("409 ConditionalRequestConflict", date=faults.clock.now())
        return answer

    report, _ = await report_on(FaultyStorage(MemoryStorage(), conflict))
    assert states(report)["create if absent"] is State.UNKNOWN
    assert "nobody heard of a success" in next(row.found for row in report.rows if row.check == "create if absent")


async def test_out_of_reach() -> None:
    storage = FaultyStorage(MemoryStorage(), offline())
    place = StorageUnderTest(storage, Hasty())
    with pytest.raises(Unavailable):
        await examine(place, Hasty())
    assert place.left == ()


async def test_a_server_that_goes_away_half_way() -> None:
    storage = FaultyStorage(MemoryStorage(), clock=Hasty())
    place = StorageUnderTest(storage, Hasty())

    def tell(what: str, done: int, total: int) -> None:
        if done == 4:
            storage.plan = offline()

    facts = await examine(place, Hasty(), rounds=4, progress=tell)
    report = judge(facts)
    assert states(report)["create if absent"] is State.UNKNOWN
    assert report.recommended is None
    assert set(place.left) >= set(await leftovers(storage.inner)) != set()


async def test_lost_answers_everywhere_leave_nothing_behind() -> None:
    storage = FaultyStorage(MemoryStorage(), clock=Hasty())
    place = StorageUnderTest(storage, Hasty())

    def tell(what: str, done: int, total: int) -> None:
        storage.plan = lose_answers(one_in=4, verbs=("put",)) if done else ()

    await examine(place, Hasty(), rounds=4, progress=tell)
    assert await leftovers(storage.inner) == []


@pytest.mark.seaweedfs
async def test_no_such_bucket(seaweedfs: SeaweedFS) -> None:
    storage = open_storage("s3://no-such-bucket", clock=SystemClock(), **seaweedfs.options())
    try:
        with pytest.raises(BucketNotFound):
            await examine(StorageUnderTest(storage, Hasty()), Hasty())
    finally:
        await storage.close()


# -- the clock -----------------------------------------------------------------------------------------------------


def test_whole_seconds_are_narrowed_down() -> None:
    def seen(server: float, local: float) -> Sighting:
        start = datetime(2026, 11, 24, tzinfo=UTC)
        at = start + timedelta(seconds=local)
        return Sighting(start + timedelta(seconds=int(server)), at, at + timedelta(milliseconds=10))

    skew, uncertainty, spread = skew_of([seen(local + 3.25, local) for local in (0.0, 0.3, 0.7, 0.76, 1.2)])
    assert skew is not None
    assert abs(skew - timedelta(seconds=3.25)) <= uncertainty < timedelta(seconds=0.2)
    assert spread == timedelta(0)
    _, _, spread = skew_of([seen(0.5, 0.5), seen(100.5, 0.6)])
    assert timedelta(seconds=98) < spread < timedelta(seconds=100)
    assert skew_of([]) == (None, timedelta(0), timedelta(0))


async def test_a_directory_is_as_it_was(tmp_path: Any) -> None:
    storage = DirectoryStorage(tmp_path / "bucket", SystemClock())
    await storage.put("main/head", b"{}")
    before = await list_all(storage, "")
    await report_on(storage, rounds=2)
    assert await list_all(storage, "") == before


async def test_a_bucket_that_stopped_keeping_versions_is_left_without_delete_markers(moto: Moto) -> None:
    import boto3

    moto.create_bucket("suspended", versioning=True)
    with closing(boto3.client("s3", **moto.options())) as client:
        client.put_bucket_versioning(Bucket="suspended", VersioningConfiguration={"Status": "Suspended"})
    storage: Any = open_storage("s3://suspended/x", clock=SystemClock(), **moto.options())
    try:
        report, place = await report_on(storage, rounds=2)
        assert states(report)["versioning"] is State.LIMITED
        assert place.left == ()
        assert (await storage.list_versions("")).versions == []
    finally:
        await storage.close()


# -- auto ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryStorage, *(kind for kind, *_ in BROKEN), broken.OldestFirst, broken.ReadsLate])
async def test_auto_takes_what_the_doctor_says_that_it_takes(kind: Callable[[], MemoryStorage]) -> None:
    """One examination decides for both; the doctor's others can only add to what stands in the way."""
    report, _ = await report_on(kind())
    taken: str | None = None
    with suppress(Rejected, Unsupported):
        async with connect(kind(), shared=False, poll=1000) as db:
            await db.put("k", 1)
            taken = db.protocol
    assert taken == report.auto
    assert report.recommended is None or report.recommended == report.auto or kind is broken.RacesOnMatch
