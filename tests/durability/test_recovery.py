"""What waits after a failure goes on as soon as the storage answers anything else. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rxmps3.database import connect as connecting
from rxmps3.errors import NotSent, Throttled, Unavailable
from rxmps3.storage import MemoryStorage
from rxmps3.storage.wrapper import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.durability.helpers import LARGE, Disk, on


class Refusing(StorageWrapper):
    """Answers the next requests of one verb on some names with a page that says to come back tomorrow."""

    def __init__(self, inner: Any, verb: str, part: str, times: int) -> None:
        super().__init__(inner)
        self.verb, self.part, self.times = verb, part, times

    async def around(self, request: Request, proceed: Any) -> Any:
        if request.verb == self.verb and self.part in request.name and self.times:
            self.times -= 1
            raise Throttled("down for maintenance", retry_after=86_400.0)
        return await proceed()


@pytest.mark.parametrize("part", ["/log/", "values/"], ids=["commit", "upload"])
def test_a_writer_goes_on_once_a_look_succeeds(part: str) -> None:
    async def main() -> None:
        clock = SimClock("a")
        storage = Refusing(MemoryStorage(clock=SimClock("bucket")), "put", part, 0)
        async with on(storage, clock=clock, poll=1.0) as db:
            await db.put("first", 0)
            db.subscribe("first", lambda value: None)
            storage.times = 1
            began = clock.monotonic()
            await db.put("k", LARGE)
            assert clock.monotonic() - began < 3
            assert not storage.times

    run_virtually(main())


def test_looks_go_on_once_a_commit_succeeds() -> None:
    async def main() -> None:
        clock, bucket = SimClock("a"), MemoryStorage(clock=SimClock("bucket"))
        storage = Refusing(bucket, "get", "/log/", 0)
        seen: list[Any] = []
        async with on(storage, clock=clock, poll=1.0) as db, on(bucket, clock=SimClock("b")) as other:
            await db.put("k", 0)
            db.subscribe("k", seen.append)
            await clock.sleep(5)
            storage.times = 1
            await clock.sleep(5)
            assert not storage.times
            await other.refresh()
            await other.put("k", 1)
            await clock.sleep(5)
            assert seen == [0], "it was asked to wait"
            await db.put("mine", 1)  # reads what it lost to, and succeeds
            await clock.sleep(0.1)
            await other.put("k", 2)
            await clock.sleep(3)
            assert seen == [0, 1, 2]

    run_virtually(main())


def test_a_download_goes_on_once_a_look_succeeds() -> None:
    async def main() -> None:
        clock, bucket = SimClock("a"), MemoryStorage(clock=SimClock("bucket"))
        seen: list[Any] = []
        async with on(bucket, clock=SimClock("b")) as other:
            await other.put("k", LARGE)
            async with on(Refusing(bucket, "get", "values/", 1), clock=clock, poll=1.0) as db:
                db.subscribe("k", seen.append)
                await clock.sleep(3)
                assert seen == [LARGE]

    run_virtually(main())


class Silent(StorageWrapper):
    """Takes requests and never answers, after some that it answers in a while."""

    def __init__(self, inner: Any, answers: int, clock: SimClock) -> None:
        super().__init__(inner)
        self.answers, self.clock = answers, clock

    async def around(self, request: Request, proceed: Any) -> Any:
        self.answers -= 1
        if self.answers < 0:
            await asyncio.Event().wait()
        await self.clock.sleep(25.0)
        return await proceed()


def test_an_open_without_any_answer_ends_after_half_a_minute() -> None:
    """Whatever hangs: the storage has no bound of its own here, as where no credentials come."""

    async def main() -> None:
        clock = SimClock("a")
        with pytest.raises(Unavailable, match=r"no answer came within 30 s.*credentials"):
            await on(Silent(MemoryStorage(), 0, clock), clock=clock)
        assert clock.monotonic() == pytest.approx(connecting._PATIENCE_TO_LOAD)  # pyright: ignore[reportPrivateUsage]
        assert len(asyncio.all_tasks()) == 1

    run_virtually(main())


def test_an_open_that_gets_answers_may_take_longer() -> None:
    async def main() -> None:
        clock, bucket = SimClock("a"), MemoryStorage(clock=SimClock("bucket"))
        async with on(bucket, clock=SimClock("b")) as other:
            await other.put("k", 1)
        async with on(Silent(bucket, 1000, clock), clock=clock) as db:
            assert db.keys() == ["k"]
        assert clock.monotonic() > connecting._PATIENCE_TO_LOAD  # pyright: ignore[reportPrivateUsage]

    run_virtually(main())


class TestAProgramThatIsInterrupted:
    """All its tasks are cancelled, also the one that commits: a close has nothing to wait for."""

    def test_a_close_says_so_at_once(self) -> None:
        async def main() -> None:
            clock = SimClock("a")
            db = await on(MemoryStorage(), clock=clock)
            receipt = db.put("k", 1)
            _cancel_others()
            with pytest.raises(NotSent, match="when the program was interrupted") as caught:
                await db.close(timeout=10)
            assert caught.value.keys == ("k",)
            assert clock.monotonic() < 0.1
            with pytest.raises(NotSent):
                await receipt

        run_virtually(main())

    def test_the_outbox_keeps_what_is_pending(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            clock, disk, bucket = SimClock("a"), Disk(), MemoryStorage()
            db = await on(bucket, disk, clock=clock)
            db.put("k", 1)
            _cancel_others()
            await db.close(timeout=10)
            assert clock.monotonic() < 0.1
            assert "1 writes are not committed yet; the outbox keeps them" in caplog.text
            async with on(bucket, disk, clock=clock) as again:
                await asyncio.gather(*again.pending.value)
                assert await again.get("k") == 1

        run_virtually(main())


def _cancel_others() -> None:
    """As `asyncio.run` does when it is interrupted."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
