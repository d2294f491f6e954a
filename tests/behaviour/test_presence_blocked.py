"""Presence of a program whose event loop stands still: it is back by itself, and says nothing false meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3.model.names import PRESENCE_PREFIX
from rxmps3.storage import MemoryStorage
from rxmps3.storage.wrapper import Request
from rxmps3.testing.virtual import SimClock, VirtualLoop, run_virtually
from tests.behaviour.helpers import Switch, offline, trace

pytestmark = pytest.mark.async_only("a loop in virtual time is a loop")
T = TypeVar("T")


def block(seconds: float) -> None:
    """Have this program stand still: time passes and none of its timers runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.advance(seconds)


class Slow(Switch):
    """Takes its time: the answer to a look is there before that to a sign of life."""

    def __init__(self, clock: SimClock, storage: MemoryStorage) -> None:
        super().__init__(storage, verbs=("put",))
        self.part = PRESENCE_PREFIX
        self._clock = clock

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        await self._clock.sleep(0.03 if request.verb == "put" else 0.01)
        return await super().around(request, proceed)


def me_of(seen: Any) -> list[Any]:
    return [one.me for one in seen.values()]


@pytest.mark.parametrize("seconds", [15.0, 40.0, 3600.0, 200_000.0])
def test_a_blocked_loop_does_not_make_a_client_forget_itself(seconds: float) -> None:
    async def main() -> None:
        clock = SimClock("blocked")
        storage = Slow(clock, MemoryStorage(clock=clock))
        async with rxmps3.connect(storage, by="ana", clock=clock, shared=False) as db:
            here = db.presence({"n": 1}, poll=1)
            heard = trace(here)
            await clock.sleep(60)
            assert [me_of(seen) for seen in heard] == [[{"n": 1}]]
            for _ in range(3):
                block(seconds)
                await clock.sleep(1)
                assert me_of(here.value) == [{"n": 1}]
                async with rxmps3.connect(storage, by="bob", clock=clock, shared=False) as other:
                    with other.presence() as looking:
                        await clock.sleep(2)
                        assert me_of(looking.value) == [{"n": 1}], "it is there for others, too"
                await clock.sleep(20)
            assert [me_of(seen) for seen in heard] == [[{"n": 1}]], "never without itself"

    run_virtually(main())


def test_who_left_while_the_loop_was_blocked_is_not_told_to_be_here() -> None:
    async def main() -> None:
        clock = SimClock("left meanwhile")
        memory = MemoryStorage(clock=clock)
        storage = Slow(clock, memory)
        async with rxmps3.connect(storage, by="ana", clock=clock, shared=False) as db:
            heard = trace(db.presence({"n": 1}, poll=1))
            await clock.sleep(5)
            async with rxmps3.connect(memory, by="bob", clock=clock, shared=False) as other:
                with other.presence({"n": 2}):
                    await clock.sleep(3)
                    assert me_of(heard[-1]) == [{"n": 1}, {"n": 2}]
                    told = len(heard)
                    await clock.sleep(0.5)
                block(100)  # a look may be under way, whose answer knows bob
                await clock.sleep(5)
            assert [me_of(seen) for seen in heard[told:]] == [[{"n": 1}]]

    run_virtually(main())


def test_who_cannot_give_a_sign_of_life_after_a_block_says_so() -> None:
    async def main() -> None:
        clock = SimClock("denied")
        storage = Slow(clock, MemoryStorage(clock=clock))
        async with rxmps3.connect(storage, by="ana", clock=clock, shared=False) as db:
            here = db.presence({"n": 1}, poll=1)
            heard = trace(here)
            await clock.sleep(60)
            storage.error = offline
            block(100)
            await clock.sleep(30)
            assert me_of(heard[-1]) == [], "nobody else sees it, and it knows why"
            storage.error = None
            await clock.sleep(60)
            assert me_of(heard[-1]) == [{"n": 1}]

    run_virtually(main())
