"""When the storage's time is to be relied upon for what cannot be undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from rxmps3.errors import Unavailable, UnsureTime
from rxmps3.log.server_clock import Asked, ServerDate, certain_time
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Found, MemoryStorage, Missing, NotModified, Stored, list_all
from rxmps3.testing import StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually

DAY = 86_400.0
TRUE = datetime(2026, 11, 29, 12, tzinfo=UTC)


class LocalClock:
    """A wall clock and a monotonic one that a test sets."""

    def __init__(self) -> None:
        self.wall = datetime(2020, 1, 1, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def pass_(self, seconds: float, *, asleep: bool = False) -> None:
        """Time passes; the monotonic clock of a computer that is asleep stands still."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += 0 if asleep else seconds


class Watch:
    """What a client hears, at which moment."""

    def __init__(self) -> None:
        self.clock: Any = LocalClock()
        self.dated = ServerDate(self.clock)
        self.true = TRUE

    def pass_(self, seconds: float, *, asleep: bool = False) -> None:
        self.clock.pass_(seconds, asleep=asleep)
        self.true += timedelta(seconds=seconds)

    def hear(self, off: float = 0.0, *, took: float = 0.1) -> str:
        """An answer that is dated so many seconds wrong."""
        asked = Asked(self.clock.monotonic() - took, self.clock.now() - timedelta(seconds=took))
        self.dated.heard(self.true + timedelta(seconds=off), asked)
        return self.dated.doubt


@pytest.mark.parametrize("off", [2 * DAY, -2 * DAY, 400.0, -400.0])
def test_a_jump_is_noticed_and_forgotten_when_it_is_over(off: float) -> None:
    watch = Watch()
    assert not watch.hear()
    for _ in range(3):
        watch.pass_(60)
        assert ("ahead" if off > 0 else "back") in watch.hear(off)
    watch.pass_(60)
    assert not watch.hear()


@pytest.mark.parametrize("off", [200.0, -200.0, 0.0])
def test_what_servers_and_networks_do_is_no_jump(off: float) -> None:
    watch = Watch()
    for number in range(200):
        watch.pass_(600)
        assert not watch.hear(off * (number % 2))


def test_a_computer_that_was_asleep_is_no_jump() -> None:
    watch = Watch()
    watch.hear()
    watch.pass_(3 * DAY, asleep=True)
    assert not watch.hear()


def test_an_answer_that_came_just_before_the_computer_slept_says_nothing() -> None:
    watch = Watch()
    watch.hear()
    watch.pass_(60)
    asked, date = watch.dated.asking(), watch.true
    watch.pass_(3 * DAY, asleep=True)
    watch.dated.heard(date, asked)
    assert not watch.dated.doubt
    watch.pass_(1)
    assert not watch.hear()


def test_an_answer_that_took_long_says_nothing() -> None:
    watch = Watch()
    watch.hear()
    watch.pass_(4000)
    assert not watch.hear(-3900, took=3990)
    assert watch.dated.last == watch.true - timedelta(seconds=3900)


def test_a_time_that_has_jumped_for_good_is_believed_after_a_day() -> None:
    watch = Watch()
    watch.hear()
    hours = 0
    while watch.hear(2 * DAY):
        watch.pass_(3600)
        hours += 1
    assert hours == 24
    assert not watch.hear(2 * DAY)
    assert watch.hear()


def test_a_clock_that_drifts_is_followed() -> None:
    watch = Watch()
    off = 0.0
    for _ in range(24 * 365):
        watch.pass_(3600)
        off += 0.5  # 140 ppm
        assert not watch.hear(off)


class Dated(StorageWrapper):
    """Its answers are dated so many seconds wrong, but not what is said of when something was stored."""

    off = 0.0
    stored_off = 0.0

    async def get(self, name: str, **options: Any) -> Any:
        answer = await super().get(name, **options)
        if answer.date is not None:
            answer = replace(answer, date=answer.date + timedelta(seconds=self.off))
        if isinstance(answer, Found) and answer.modified is not None:
            answer = replace(answer, modified=answer.modified + timedelta(seconds=self.stored_off))
        return answer

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        stored = await super().put(name, body, **options)
        assert stored.date is not None
        return replace(stored, date=stored.date + timedelta(seconds=self.off))


@pytest.mark.parametrize("off", [2 * DAY, -2 * DAY, 400.0, -400.0])
def test_the_date_has_to_agree_with_what_was_stored_just_now(off: float) -> None:
    async def main() -> None:
        clock = SimClock("a", skew=12345.0)
        storage = Dated(MemoryStorage(clock=clock))
        dated = ServerDate(clock)
        assert await certain_time(storage, "main/clock/a", dated, "main") == clock.now()
        storage.off = off
        with pytest.raises(UnsureTime, match=r"manifest 'main'.*dated.*stored at"):
            await certain_time(storage, "main/clock/a", ServerDate(clock), "main")
        storage.stored_off = off  # the whole server has jumped: the computer's own clock tells
        with pytest.raises(UnsureTime, match="has jumped"):
            await certain_time(storage, "main/clock/a", dated, "main")
        storage.off = storage.stored_off = 0.0
        assert await certain_time(storage, "main/clock/a", dated, "main") == clock.now()
        assert await list_all(storage, "") == []

    run_virtually(main())


class Asleep(StorageWrapper):
    """The computer falls asleep for two days just after an answer has come; its monotonic clock stands still."""

    def __init__(self, clock: LocalClock) -> None:
        super().__init__(MemoryStorage(clock=cast("Clock", clock)))
        self._clock = clock
        self.sleeps = True

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        if self.sleeps:
            self._clock.pass_(2 * DAY, asleep=True)
        return answer


async def test_a_time_that_was_told_before_the_computer_slept_is_not_certain() -> None:
    clock = LocalClock()
    storage, dated = Asleep(clock), ServerDate(cast("Clock", clock))
    with pytest.raises(Unavailable, match="took too long"):
        await certain_time(storage, "main/clock/a", dated, "main")
    storage.sleeps = False
    assert await certain_time(storage, "main/clock/a", dated, "main") == clock.now()
