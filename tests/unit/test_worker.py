"""What waits after a failure: as long as its back-off says, or until something else succeeds. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rxmps3.errors import Error, Throttled, Unavailable
from rxmps3.runtime.backoff import MOST_ASKED, Backoff
from rxmps3.runtime.worker import Retries, persist
from rxmps3.testing.virtual import SimClock, run_virtually

ASKED = Throttled("later", retry_after=3600.0)


class Successes:
    """Those of others, made by hand."""

    def __init__(self) -> None:
        self.watching: list[Callable[[], None]] = []

    def subscribe(self, action: Callable[[], None]) -> Callable[[], None]:
        self.watching.append(action)
        return lambda: self.watching.remove(action)

    def happen(self) -> None:
        for action in list(self.watching):
            action()


def _ignore(error: Error, seconds: float) -> None:
    pass


def test_a_success_elsewhere_ends_every_wait() -> None:
    async def main() -> None:
        clock, others = SimClock("a"), Successes()
        waits = [Retries(clock, Backoff(), _ignore, others.subscribe) for _ in range(3)]
        waiting = [asyncio.ensure_future(one.wait(ASKED)) for one in waits]
        await clock.sleep(10)
        assert not any(one.done() for one in waiting)
        others.happen()
        await asyncio.gather(*waiting)
        assert clock.monotonic() == pytest.approx(10, abs=0.1)
        assert not others.watching

    run_virtually(main())


def test_without_a_success_the_wait_is_what_the_server_asked_for_up_to_a_minute() -> None:
    async def main() -> None:
        clock = SimClock("a")
        await Retries(clock, Backoff(), _ignore, Successes().subscribe).wait(ASKED)
        assert clock.monotonic() == pytest.approx(MOST_ASKED)

    run_virtually(main())


def test_what_fails_again_and_again_beside_successes_backs_off() -> None:
    """A server may refuse puts for longer than gets."""

    async def main() -> int:
        clock, others = SimClock("a"), Successes()
        attempts = 0

        async def fail() -> None:
            nonlocal attempts
            attempts += 1
            raise ASKED

        async def succeed() -> None:
            while True:
                await clock.sleep(0.1)
                others.happen()

        tasks = [
            asyncio.ensure_future(persist(fail, Retries(clock, Backoff(), _ignore, others.subscribe))),
            asyncio.ensure_future(succeed()),
        ]
        await clock.sleep(600)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return attempts

    assert 20 < run_virtually(main()) < 200


def test_after_a_success_of_its_own_the_next_wait_can_be_ended_at_once() -> None:
    async def main() -> None:
        clock, others = SimClock("a"), Successes()
        retries = Retries(clock, Backoff(), _ignore, others.subscribe)
        for _ in range(20):
            waiting = asyncio.ensure_future(retries.wait(ASKED))
            await clock.sleep(0.001)
            others.happen()
            await waiting
            retries.start_over()
        assert clock.monotonic() < 1

    run_virtually(main())


def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        clock, others = SimClock("a"), Successes()
        waiting = asyncio.ensure_future(
            Retries(clock, Backoff(), _ignore, others.subscribe).wait(Unavailable("x", retry_after=50.0))
        )
        await clock.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not others.watching
        assert len(asyncio.all_tasks()) == 1

    run_virtually(main())
