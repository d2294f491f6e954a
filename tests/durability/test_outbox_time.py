"""The outbox and the clock: waiting as long as the server asks, and what was sent long ago. In virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import OutcomeUnknown, Rejected, Unavailable
from rxmps3.storage import MemoryStorage, Storage, list_all
from rxmps3.testing import FaultyStorage, Request
from rxmps3.testing.faults import deny, drop_requests, lose_answers, offline, throttle
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import Gate, trace
from tests.durability.helpers import LARGE, Disk, on
from tests.processes.reading import entries, puts_in

DAY = timedelta(days=1).total_seconds()
HOUR = 3600.0


def virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test whose time is virtual."""

    def test() -> None:
        run_virtually(main())

    test.__doc__ = main.__doc__
    return test


class Timed(FaultyStorage):
    """Remembers when each request was made."""

    def __init__(self, clock: SimClock, inner: Storage | None = None) -> None:
        super().__init__(inner or MemoryStorage(clock=clock), clock=clock)
        self.made: list[tuple[float, Request]] = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        self.made.append((self.clock.monotonic(), request))
        return await super().around(request, proceed)

    def times(self, verb: str, part: str = "") -> list[float]:
        return [moment for moment, request in self.made if request.verb == verb and part in request.name]


@virtually
async def test_a_commit_waits_as_long_as_the_server_asks() -> None:
    clock = SimClock("a")
    bucket = Timed(clock)
    async with on(bucket, clock=clock) as db:
        await db.put("k", 0)
        bucket.made.clear()
        bucket.plan = throttle(one_in=1, retry_after=17.0, verbs=("put",))
        receipt = db.put("k", 1)
        await clock.sleep(10)
        bucket.plan = ()
        await receipt
        first, second = bucket.times("put")
        assert 17 <= second - first < 60


@virtually
async def test_an_upload_waits_as_long_as_the_server_asks() -> None:
    clock = SimClock("a")
    bucket = Timed(clock)
    async with on(bucket, clock=clock) as db:
        await db.put("k", 0)
        bucket.made.clear()
        bucket.plan = throttle(one_in=1, retry_after=17.0, verbs=("put",))
        receipt = db.put("k", LARGE)
        await clock.sleep(10)
        bucket.plan = ()
        await receipt
        first, second = bucket.times("put", "values/")
        assert 17 <= second - first < 60


@virtually
async def test_the_poll_waits_as_long_as_the_server_asks_and_then_goes_on() -> None:
    clock = SimClock("a")
    bucket = Timed(clock)
    async with on(bucket, clock=clock, poll=1.0, live=True) as db:
        await db.put("k", 0)
        await clock.sleep(20)
        bucket.plan = throttle(one_in=1, retry_after=30.0, verbs=("get",))
        while db.status.value.online:
            await clock.sleep(0.1)
        bucket.plan = ()
        bucket.made.clear()
        refused = clock.monotonic()
        status = db.status.value
        assert status.next_try is not None
        assert status.next_try >= 30
        await clock.sleep(60)
        assert bucket.times("get")[0] - refused >= 29
        assert db.status.value.online is True
        assert db.status.value.last_error is None


@virtually
async def test_the_status_says_when_the_bucket_goes_and_when_it_comes_back() -> None:
    clock = SimClock("a")
    disk, bucket = Disk(), Timed(clock)
    async with on(bucket, disk, clock=clock, poll=1.0, live=True) as db:
        await db.put("k", 0)
        statuses = trace(db.status)
        for _ in range(3):
            bucket.plan = offline()
            receipt = db.put("k", 1)
            await clock.sleep(100)
            down = db.status.value
            assert down.online is False
            assert down.pending == 1
            assert isinstance(down.last_error, Unavailable)
            assert down.next_try is not None
            assert down.since is not None
            assert down.since <= clock.now() - timedelta(seconds=90), "since it went, not since the last try"
            bucket.plan = ()
            await receipt
            await clock.sleep(5)
            up = db.status.value
            assert (up.online, up.last_error, up.next_try, up.pending) == (True, None, None, 0)
        flips = [status.online for status in statuses]
        assert [one for at, one in enumerate(flips) if at == 0 or flips[at - 1] != one] == [True, *[False, True] * 3]
    assert puts_in(await entries(bucket)) == [("k", 0), ("k", 1), ("k", 1), ("k", 1)]


@virtually
async def test_a_client_without_observers_sends_what_is_pending_when_the_bucket_comes_back() -> None:
    """Also right after a start during which the bucket was away."""
    clock = SimClock("a")
    disk, bucket = Disk(), Timed(clock)
    async with on(bucket, disk, clock=clock) as db:
        await db.put("k", 0)
        bucket.plan = offline()
        await db.put("k", 1).stored
        await db.close(timeout=0)
    async with on(bucket, disk, clock=clock, poll=1.0) as db:
        await clock.sleep(HOUR)
        bucket.plan = ()
        await clock.sleep(60)
        assert db.pending.value == ()
    assert puts_in(await entries(bucket)) == [("k", 0), ("k", 1)]


@virtually
async def test_trying_while_the_bucket_is_away_is_bounded() -> None:
    clock = SimClock("a")
    disk, bucket = Disk(), Timed(clock)
    async with on(bucket, disk, clock=clock, poll=1.0, live=True) as db:
        await db.put("k", 0)
        bucket.plan = offline()
        bucket.made.clear()
        for number in range(100):
            db.put("k", number)
        await clock.sleep(HOUR / 20)
        assert len(bucket.made) < 6 * HOUR / 20
        bucket.plan = ()
        while db.pending.value:
            await clock.sleep(0.5)


@virtually
async def test_an_outage_is_reported_once_per_operation_and_not_at_every_try() -> None:
    """A commit, an upload and a poll fail in turns, each with a text of its own."""
    clock = SimClock("a")
    bucket = Timed(clock)
    async with on(bucket, clock=clock, poll=1.0, live=True) as db:
        await db.put("k", 0)
        errors = trace(db.errors)
        bucket.plan = offline()
        db.put("k", 1)
        db.put("large", LARGE)
        await clock.sleep(300)
        assert 1 <= len(errors) <= 6, [str(error) for error in errors[:10]]
        bucket.plan = ()
        while db.pending.value:
            await clock.sleep(1)


# -- sent long ago -------------------------------------------------------------------------------------------------


async def _sent_without_an_answer(disk: Disk, bucket: FaultyStorage, clock: SimClock, *, arrives: bool) -> None:
    """A process sends ``k = 1``, hears nothing and dies."""
    async with on(bucket, disk, clock=clock) as db:
        await db.put("other", 0)
        if arrives:  # and no read says so
            bucket.plan = [lose_answers(one_in=1), drop_requests(one_in=1, verbs=("get", "list"))]
        else:
            bucket.plan = offline()
        receipt = db.put("k", 1)
        await clock.sleep(5)
        assert receipt.cancel() is False
        await db.close(timeout=0)
        bucket.plan = ()


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("days", [1, 28])
def test_a_write_sent_in_the_last_weeks_is_committed_once(arrived: bool, days: int) -> None:
    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        await _sent_without_an_answer(disk, bucket, clock, arrives=arrived)
        await clock.sleep(days * DAY)
        async with on(bucket, disk, clock=clock) as db:
            while db.pending.value:
                await clock.sleep(1)
            assert await db.get("k") == 1
        assert puts_in(await entries(bucket)) == [("other", 0), ("k", 1)]

    run_virtually(main())


async def _forgotten(bucket: FaultyStorage, clock: SimClock) -> None:
    """A month later another client writes, and the silent writer's numbers are forgotten."""
    await clock.sleep(31 * DAY)
    async with on(bucket, clock=clock) as other:
        await other.put("k", 2)
        assert len((await other.compact()).expired) == 1


def test_a_write_sent_longer_ago_than_the_log_remembers_is_reported_and_never_sent_again() -> None:
    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        await _sent_without_an_answer(disk, bucket, clock, arrives=False)
        await _forgotten(bucket, clock)
        bucket.plan = offline()
        async with on(bucket, disk, clock=clock) as db:
            (receipt,) = db.pending.value
            assert receipt.keys == ("k",)
            bucket.plan = ()
            await db.refresh()
            with pytest.raises(OutcomeUnknown, match="not sent again"):
                await receipt
            assert await db.get("k") == 2
            await db.put("after", 3)
        async with on(bucket, disk, clock=clock) as db:
            assert db.pending.value == ()
        assert puts_in(await entries(bucket)) == [("other", 0), ("k", 2), ("after", 3)]

    run_virtually(main())


def test_a_write_sent_long_ago_to_a_log_that_was_never_made_is_sent_again() -> None:
    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        async with on(bucket, disk, clock=clock) as db:
            bucket.plan = drop_requests(one_in=1, verbs=("put",))
            db.put("k", 1)
            await clock.sleep(5)
            await db.close(timeout=0)
        bucket.plan = ()
        await clock.sleep(31 * DAY)
        async with on(bucket, disk, clock=clock) as db:
            errors = trace(db.errors)
            while db.pending.value:
                await clock.sleep(1)
            assert (errors, await db.get("k")) == ([], 1)
        assert puts_in(await entries(bucket)) == [("k", 1)]

    run_virtually(main())


def test_a_write_sent_long_ago_that_the_log_still_shows_is_committed_and_not_doubled() -> None:
    """The local copy remembers where it was, so that the log tells what became of the write."""

    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        await _sent_without_an_answer(disk, bucket, clock, arrives=True)
        await _forgotten(bucket, clock)
        bucket.plan = offline()
        async with on(bucket, disk, clock=clock) as db:
            (receipt,) = db.pending.value
            bucket.plan = ()
            await db.refresh()
            assert await receipt == receipt.version
            assert await db.get("k") == 2
        assert puts_in(await entries(bucket)) == [("other", 0), ("k", 1), ("k", 2)]

    run_virtually(main())


@pytest.mark.parametrize("arrived", [True, False])
def test_a_write_sent_long_ago_is_never_sent_again_without_a_local_copy_either(
    arrived: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        await _sent_without_an_answer(disk, bucket, clock, arrives=arrived)
        await _forgotten(bucket, clock)
        del disk.parts["main/known"]
        async with on(bucket, disk, clock=clock) as db:
            while db.pending.value:
                await clock.sleep(1)
            assert await db.get("k") == 2
        async with on(bucket, disk, clock=clock) as db:
            assert db.pending.value == ()
        expected = [("k", 1)] if arrived else []
        assert puts_in(await entries(bucket)) == [("other", 0), *expected, ("k", 2)]
        assert any("not sent again" in message for message in caplog.messages)

    run_virtually(main())


def _keeps_files(name: str, storage: Storage) -> Storage:
    """A disk that removes none of what an outbox holds."""
    return FaultyStorage(storage, deny(verbs=("delete",))) if name == "main/outbox" else storage


@pytest.mark.parametrize("between", [(), (10,), (10, 20, 28)])
def test_later_writes_do_not_renew_the_date_of_one_that_is_still_on_disk(
    between: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log, and its file could not be removed. Once its writer is forgotten nothing says that it is there."""

    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk(), Timed(clock)
        await _sent_without_an_answer(disk, bucket, clock, arrives=True)
        began = clock.now()
        for day in between:
            await clock.sleep((began + timedelta(days=day) - clock.now()).total_seconds())
            disk.wrap = _keeps_files
            async with on(bucket, disk, clock=clock) as db:
                await db.put(f"day {day}", 0)
        await clock.sleep((began + timedelta(days=31) - clock.now()).total_seconds())
        async with on(bucket, clock=clock) as other:
            await other.put("k", 2)
            assert (await other.compact()).expired
        del disk.parts["main/known"]
        disk.wrap = Disk().wrap
        async with on(bucket, disk, clock=clock) as db:
            while db.pending.value:
                await clock.sleep(1)
            assert await db.get("k") == 2
        puts = [("other", 0), ("k", 1), *((f"day {day}", 0) for day in between), ("k", 2)]
        assert puts_in(await entries(bucket)) == puts
        assert any("not sent again" in message for message in caplog.messages)

    run_virtually(main())


@virtually
async def test_a_write_that_was_never_sent_may_wait_for_months() -> None:
    clock = SimClock("a")
    disk, bucket = Disk(), Timed(clock)
    async with on(bucket, disk, clock=clock) as db:
        await db.put("other", 0)
    async with on(bucket, disk, clock=clock, online=False) as db:
        await db.put("k", 1).stored
        await db.put("large", LARGE).stored
    await clock.sleep(90 * DAY)
    async with on(bucket, clock=clock) as other:
        await other.put("other", 1)
        await other.compact()
    async with on(bucket, disk, clock=clock) as db:
        while db.pending.value:
            await clock.sleep(1)
        assert await db.get_prefix() == {"k": 1, "large": LARGE, "other": 1}


# -- uploads that grew old -----------------------------------------------------------------------------------------


def _commits_are_refused(request: Request) -> bool:
    return request.verb == "put" and "/log/" in request.name


def _refuse_commits() -> Callable[..., Awaitable[Any]]:
    async def refuse(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
        if _commits_are_refused(request):
            raise Unavailable("not now", date=faults.clock.now())
        return await proceed()

    return refuse


@virtually
async def test_an_upload_whose_commit_waited_for_hours_is_made_again_under_a_new_name() -> None:
    clock = SimClock("a")
    bucket = Timed(clock)
    async with on(bucket, clock=clock, poll=60.0) as db:
        await db.put("k", 0)
        bucket.plan = _refuse_commits()
        receipt = db.put("large", LARGE)
        await clock.sleep(8 * HOUR)
        uploads = {request.name for _, request in bucket.made if "values/" in request.name and request.verb == "put"}
        assert len(uploads) == 2
        bucket.plan = ()
        await receipt
    (named,) = [
        entry.content.name
        for one in await entries(bucket)
        for write in one.version.writes
        for key, entry in write.update.items()
        if key == "large" and entry is not None
    ]
    last = [request.name for _, request in bucket.made if "values/" in request.name and request.verb == "put"][-1]
    assert last.endswith(named), "the log names the young upload"


def _puts_a_file(db: rxmps3.Database, folder: Path) -> rxmps3.Receipt:
    (folder / "file").write_bytes(b"f" * 9000)
    return db.put_file("large", folder / "file")


@pytest.mark.parametrize(
    "make",
    [
        lambda db, _: db.put("large", LARGE),
        lambda db, _: db.put("large", LARGE.encode()),
        lambda db, _: db.put_all({"large": "l" * 5000, "other": "o" * 5000}),
        _puts_a_file,
    ],
    ids=["text", "bytes", "pack", "file"],
)
def test_an_upload_that_fails_for_hours_goes_on_under_a_new_name(
    make: Callable[[rxmps3.Database, Path], rxmps3.Receipt], tmp_path: Path
) -> None:
    """The first request arrived, a collector finds an old object that nothing names, and its deletion is on its way."""

    async def main() -> None:
        clock = SimClock("a")
        bucket = Timed(clock)
        async with on(bucket, clock=clock, poll=60.0) as db:
            await db.put("k", 0)
            bucket.plan = lose_answers(one_in=1, verbs=("put",))
            receipt = make(db, tmp_path)
            await clock.sleep(3 * HOUR)
            bucket.plan = ()
            await receipt
            value = await db.get("large")
        times: dict[str, list[float]] = {}
        for moment, request in bucket.made:
            if request.verb == "put" and "values/" in request.name:
                times.setdefault(request.name, []).append(moment)
        assert 3 <= len(times) <= 4, "names are changed for age, not at every try"
        assert all(moments[-1] - moments[0] < HOUR for moments in times.values())
        for name in list(times)[:-1]:
            await bucket.inner.delete(name)
        async with on(bucket, clock=clock) as reader:
            assert await reader.get("large") == value

    run_virtually(main())


@pytest.mark.parametrize("life", ["without a disk", "with a disk", "restarted"])
def test_an_upload_to_the_mps3_log_that_fails_for_hours_is_not_lost_to_a_collector(life: str) -> None:
    """With a disk the value keeps its name, which tells whether the write is in the log; it is stored again once it
    is."""

    async def main() -> None:
        clock = SimClock("a")
        disk, bucket = Disk() if life != "without a disk" else None, Timed(clock)
        deleted: list[str] = []

        async def collect(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            if request.verb == "put" and request.name.startswith("manifest.json@") and not deleted:
                deleted.append(next(request.name for _, request in bucket.made if request.name.startswith("large@")))
                await bucket.inner.delete(deleted[0])
            return await proceed()

        options: dict[str, Any] = {"clock": clock, "poll": 60.0, "protocol": "mps3"}
        async with on(bucket, disk, **options) as db:
            await db.put("k", 0)
            bucket.plan = lose_answers(one_in=1, verbs=("put",))
            receipt = db.put("large", LARGE)
            await clock.sleep(3 * HOUR)
            if life == "restarted":
                await db.close(timeout=0)
            else:
                bucket.plan = collect
                await receipt
                await clock.sleep(60)
        bucket.plan = collect
        async with on(bucket, disk, **options) as db:
            while db.pending.value:
                await clock.sleep(1)
            await clock.sleep(60)
        assert len(deleted) == 1
        names = {request.name for _, request in bucket.made if request.verb == "put" and "large@" in request.name}
        assert (len(names) > 1) == (life == "without a disk")
        async with on(bucket, **options) as reader:
            assert await reader.get("large") == LARGE

    run_virtually(main())


def test_a_value_shared_by_two_manifests_is_not_believed_in_when_one_of_them_comes_days_later() -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = Timed(clock)

        async def cut_off(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            if request.name.startswith("late"):
                raise Unavailable("not now", date=faults.clock.now())
            return await proceed()

        options: dict[str, Any] = {"clock": clock, "poll": 60.0, "protocol": "mps3"}
        async with on(bucket, manifest="early", **options) as db, on(bucket, manifest="late", **options) as late:
            await late.put("k", 0)
            bucket.plan = cut_off
            receipt = db.put("large", LARGE, manifests=["early", "late"])
            await clock.sleep(40 * HOUR)
            for one in await list_all(bucket.inner, "large@"):  # nothing names it any more, and somebody collects
                await bucket.inner.delete(one.name)
            bucket.plan = ()
            await receipt
        async with on(bucket, manifest="late", **options) as reader:
            assert await reader.get("large") == LARGE

    run_virtually(main())


@virtually
async def test_a_write_cancelled_while_the_age_of_uploads_is_asked_for_is_not_sent() -> None:
    clock = SimClock("a")
    bucket = Timed(clock)
    gate = Gate(bucket, "/head", ("get",), shut=False)
    async with on(gate, clock=clock, poll=60.0) as db:
        await db.put("k", 0)
        bucket.plan = _refuse_commits()
        large = db.put("large", LARGE)
        await clock.sleep(2 * HOUR)
        gate.shut = True
        later = db.put("k", 1)
        held = await gate.held()
        taken_back = later.cancel()
        bucket.plan = ()
        gate.shut = False
        held.let_go()
        await large
        if taken_back:
            with pytest.raises(Rejected):
                await later
        else:
            await later
        await clock.sleep(60)
        log = [key for one in await entries(bucket) for write in one.version.writes for key in write.update]
        assert log == (["k", "large"] if taken_back else ["k", "large", "k"])


@virtually
async def test_pending_writes_survive_a_day_of_trouble() -> None:
    """Half of all requests fail in one way or another; restarts in between."""
    clock = SimClock("a")
    disk, bucket = Disk(), Timed(clock)
    expected: list[tuple[str, int]] = []
    plan = [throttle(one_in=6), drop_requests(one_in=6), lose_answers(one_in=3)]
    for session in range(12):
        bucket.plan = ()
        async with on(bucket, disk, clock=clock, poll=60.0, live=True) as db:
            bucket.plan = plan
            for number in range(20):
                expected.append(("k", 100 * session + number))
                await db.put(*expected[-1]).stored
                await clock.sleep(clock.rng.uniform(0, 720))
            await db.close(timeout=0)
    bucket.plan = ()
    async with on(bucket, disk, clock=clock) as db:
        while db.pending.value:
            await clock.sleep(1)
    assert puts_in(await entries(bucket)) == expected


@virtually
async def test_the_state_is_saved_within_a_minute_though_a_save_once_took_hours() -> None:
    """A process that stood still during one does not keep its disk waiting for days."""
    clock, disk = SimClock("a"), Disk()
    saves: list[float] = []

    async def take_long_at_first(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
        if request.verb != "put" or request.name != "state":
            return await proceed()
        if not saves:
            await clock.sleep(10 * HOUR)
        saves.append(clock.monotonic())
        return await proceed()

    disk.wrap = lambda name, part: FaultyStorage(part, take_long_at_first, clock=clock)
    async with on(MemoryStorage(clock=clock), disk, clock=clock) as db:
        await db.put("k", 1)
        await clock.sleep(11 * HOUR)
        assert len(saves) == 1
        made = clock.monotonic()
        await db.put("k", 2)
        await clock.sleep(2 * HOUR)
        assert len(saves) == 2
        assert saves[1] - made <= 61
