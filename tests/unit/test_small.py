"""Small pure parts: retry, pace, new keys, sorted keys, cached texts, options, errors, MISSING."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import pickle
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Subject
from reactivex import operators as ops

import rxmps3
from rxmps3 import MISSING, AccessDenied, Corrupt, Error, InvalidOption, Throttled, Unavailable, blocking, errors
from rxmps3.database.connect import ConnectOptions
from rxmps3.database.new_key import KeyMaker
from rxmps3.model.sortedkeys import SortedKeys
from rxmps3.replica.options import Options, ReplicaOptions, Status, merged
from rxmps3.replica.ticks import PollPace
from rxmps3.replica.values import TextCache
from rxmps3.runtime.backoff import MOST_ASKED, Backoff
from rxmps3.runtime.clock import ID_ALPHABET, SystemClock
from rxmps3.storage import s3
from rxmps3.storage.options import StorageOptions

seeds = st.integers(0, 2**32).map(random.Random)


class Extreme(random.Random):
    """Chance that always gives the most, or the least."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


MOST, LEAST = Extreme(1.0), Extreme(0.0)


# -- retry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "most"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (7, 5.0), (10_000, 5.0)])
def test_waits_double_up_to_the_cap(failures: int, most: float) -> None:
    backoff = Backoff(base=0.1, cap=5.0)
    assert backoff.wait(failures, Unavailable("x"), MOST) == pytest.approx(most)
    assert backoff.wait(failures, Unavailable("x"), LEAST) == 0


@given(st.integers(1, 100), seeds)
def test_waits_are_jittered_between_nothing_and_the_most(failures: int, rng: random.Random) -> None:
    backoff = Backoff()
    assert 0 <= backoff.wait(failures, Unavailable("x"), rng) <= backoff.cap


@given(st.integers(1, 100), st.floats(0, MOST_ASKED), seeds)
def test_no_wait_is_shorter_than_the_server_asked_for(failures: int, asked: float, rng: random.Random) -> None:
    for kind in (Unavailable, Throttled):
        assert Backoff().wait(failures, kind("x", retry_after=asked), rng) >= asked


@pytest.mark.parametrize("asked", [86_400.0, 1e300, float("inf")])
def test_no_server_stops_a_client_for_long(asked: float) -> None:
    assert Backoff().wait(1, Throttled("x", retry_after=asked), LEAST) == MOST_ASKED


def test_a_throttling_server_is_given_more_time() -> None:
    backoff = Backoff(cap=5, throttled_cap=30)
    assert backoff.wait(20, Throttled("x"), MOST) == 30
    assert backoff.wait(20, AccessDenied("x"), MOST) == 5


def test_what_needs_mending_is_tried_seldom() -> None:
    assert Backoff(cap=5, patience=60).wait(20, Corrupt("x"), MOST) == 60


# -- pace --------------------------------------------------------------------------------------------------------


def test_the_pace_slows_down_after_activity_to_the_interval() -> None:
    pace = PollPace(1.0)
    assert pace.next_wait(LEAST) == 1.0
    pace.active()
    waits = [pace.next_wait(LEAST) for _ in range(8)]
    assert waits[0] < 0.5
    assert waits == sorted(waits)
    assert waits[-1] == 1.0


@given(st.floats(0.01, 1000), st.lists(st.booleans(), max_size=30), seeds)
def test_no_wait_is_longer_than_the_interval_nor_much_shorter_by_chance(
    interval: float, activity: list[bool], rng: random.Random
) -> None:
    pace, steady = PollPace(interval), PollPace(interval)
    for active in activity:
        if active:
            pace.active()
            steady.active()
        wait, sure = pace.next_wait(rng), steady.next_wait(LEAST)
        assert 0 < sure * 0.79 <= wait <= sure <= interval


def test_a_shorter_interval_counts_from_the_next_wait_on() -> None:
    pace = PollPace(10.0)
    pace.interval = 1.0
    assert pace.next_wait(LEAST) == 1.0


# -- new keys ----------------------------------------------------------------------------------------------------


class SetClock(SystemClock):
    """A wall clock that shows what it is told to."""

    time = datetime(2026, 11, 22, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


def test_new_keys_ascend_with_time_and_within_a_millisecond() -> None:
    clock = SetClock()
    maker = KeyMaker(clock)
    keys = [maker.make("k/") for _ in range(100)]
    clock.time += timedelta(seconds=1)
    keys.append(maker.make("k/"))
    clock.time -= timedelta(days=365)
    keys.extend(maker.make("k/") for _ in range(100))
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_new_keys_of_others_sort_by_their_time() -> None:
    clock, later = SetClock(), SetClock()
    later.time = clock.time + timedelta(milliseconds=1)
    for _ in range(20):
        assert KeyMaker(clock).make("") < KeyMaker(later).make("")


def test_new_keys_need_no_escaping() -> None:
    key = KeyMaker(SystemClock()).make("msg/")
    assert key.startswith("msg/")
    assert set(key.removeprefix("msg/")) <= set(ID_ALPHABET)


def test_new_keys_are_unique_over_threads_and_makers() -> None:
    clock = SetClock()
    maker, keys = KeyMaker(clock), list[str]()
    threads = [threading.Thread(target=lambda: keys.extend(maker.make("") for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys.extend(KeyMaker(clock).make("") for _ in range(500))
    assert len(set(keys)) == 2500


# -- sorted keys -------------------------------------------------------------------------------------------------

names = st.text(st.sampled_from("ab/é😀\U0010ffff"), max_size=4)


@given(st.sets(names), st.lists(st.tuples(st.booleans(), st.sets(names, max_size=30))), names)
def test_sorted_keys_against_a_set(start: set[str], moves: list[tuple[bool, set[str]]], prefix: str) -> None:
    keys, model = SortedKeys(start), set(start)
    for add, some in moves:
        if add:
            keys.add(some - model)
            model |= some
        else:
            keys.remove(some & model)
            model -= some
    assert keys.window(None, None) == sorted(model)
    assert len(keys) == len(model)
    assert keys.with_prefix(prefix) == sorted(key for key in model if key.startswith(prefix))


@given(st.sets(names), st.integers(0, 10))
def test_windows(start: set[str], number: int) -> None:
    keys, model = SortedKeys(start), sorted(start)
    assert keys.window(number, None) == model[:number]
    assert keys.window(None, number) == (model[-number:] if number else [])


def test_the_last_prefix_of_all() -> None:
    keys = SortedKeys(["a", "\U0010ffff", "\U0010ffff\U0010ffffa", "\ud7ffb", "\ue000"])
    assert keys.with_prefix("\U0010ffff") == ["\U0010ffff", "\U0010ffff\U0010ffffa"]
    assert keys.with_prefix("\ud7ff") == ["\ud7ffb"]


# -- cached texts ------------------------------------------------------------------------------------------------


def test_the_texts_used_last_are_kept_within_the_limit() -> None:
    cache = TextCache(10)
    for name in "abc":
        cache.put(name, name * 3)
    assert cache.get("a") == "aaa"
    cache.put("d", "dddd")
    assert [cache.get(name) for name in "abcd"] == ["aaa", None, "ccc", "dddd"]
    cache.put("d", "dddd")
    assert [cache.get(name) for name in "abcd"] == ["aaa", None, "ccc", "dddd"]


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_the_newest_text_is_kept_even_beyond_the_limit(limit: int) -> None:
    cache = TextCache(limit)
    cache.put("a", "a")
    cache.put("b", "b" * 100)
    assert [cache.get("a"), cache.get("b")] == [None, "b" * 100]
    cache.put("c", "c")
    assert [cache.get("b"), cache.get("c")] == [None, "c"]


def test_texts_are_looked_up_while_others_are_put() -> None:
    cache, failures = TextCache(50), list[BaseException]()

    def use(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(3000):
                name = str(rng.randrange(20))
                if rng.random() < 0.5:
                    cache.put(name, name * 5)
                else:
                    assert cache.get(name) in (None, name * 5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    held = [text for number in range(20) if (text := cache.get(str(number))) is not None]
    assert sum(map(len, held)) <= 50


# -- options -----------------------------------------------------------------------------------------------------


def test_the_shorter_poll_and_live_win() -> None:
    known = Options(poll=2.0, by="a")
    assert merged(known, Options(poll=0.5, by="a", live=True), "m", "sequenced") == Options(poll=0.5, by="a", live=True)
    assert merged(known, Options(poll=5.0, by="a"), "m", "sequenced") == known


ELSE: dict[str, Any] = {
    "poll": Subject[Any](),
    "live": True,
    "by": "b",
    "inline_limit": 1,
    "max_pending": 1,
    "cache_bytes": 1,
    "retention": timedelta(days=2),
    "online": False,
    "protocol": "mps3",
    "versioning": True,
    "bell": None,
    "prefixes": ("a/",),
}
"""Of each option of a replica, a value that is not the default."""
MAY_DIFFER = {"live"}


OF_THE_CONNECTION = {"budget", "prices"}
"""They are shared by all manifests of a connection: its ledger refuses others."""


@pytest.mark.parametrize("name", [name for name in get_type_hints(ReplicaOptions) if name not in OF_THE_CONNECTION])
def test_no_option_that_a_second_handle_asks_for_is_ignored(name: str) -> None:
    assert name in ELSE, f"say in ELSE what else {name} may be"
    asked = Options(**{name: ELSE[name]})
    assert asked != Options()
    if name in MAY_DIFFER:
        assert merged(Options(), asked, "manifest 'm'", "sequenced") == asked
        return
    with pytest.raises(InvalidOption, match=name) as caught:
        merged(Options(), asked, "manifest 'm'", "sequenced")
    assert "manifest 'm'" in str(caught.value)
    assert "shared=False" in str(caught.value)


def test_the_options_of_connect_are_those_of_the_replica_the_storage_and_the_handle() -> None:
    fields_of_options = {option.name: option for option in dataclasses.fields(Options)}
    assert get_type_hints(ReplicaOptions) == get_type_hints(Options)
    assert all(option.default is not dataclasses.MISSING for option in fields_of_options.values())
    assert get_type_hints(StorageOptions).keys() == s3.OPTIONS.keys()
    parameters = inspect.signature(rxmps3.connect).parameters
    assert parameters == inspect.signature(blocking.connect).parameters
    shown = parameters.keys() - {"url", "storage_options"}
    assert shown | StorageOptions.__annotations__.keys() == get_type_hints(ConnectOptions).keys()
    assert len(shown) + len(StorageOptions.__annotations__) == len(get_type_hints(ConnectOptions))


@pytest.mark.parametrize("connect", [rxmps3.connect, blocking.connect])
def test_an_option_that_there_is_not_is_an_error_that_names_it(connect: Any) -> None:
    async def opened() -> None:
        with pytest.raises(InvalidOption, match="pol"):
            await connect("memory:", pol=1)

    if connect is rxmps3.connect:
        asyncio.run(opened())
    else:
        with pytest.raises(InvalidOption, match="pol"):
            connect("memory:", pol=1)


def test_ticks_of_ones_own_are_shared_only_with_the_same() -> None:
    ticks: Subject[None] = Subject()
    assert merged(Options(poll=ticks), Options(poll=ticks), "m", "sequenced").poll is ticks
    for known, asked in [(ticks, Subject[None]()), (ticks, 1.0), (1.0, ticks)]:
        with pytest.raises(InvalidOption, match="poll"):
            merged(Options(poll=known), Options(poll=asked), "m", "sequenced")


def test_a_status_without_its_counts() -> None:
    assert Status(requests=1, bytes_up=2, bytes_down=3, head="7").without_counts() == Status(head="7")


# -- errors and MISSING ------------------------------------------------------------------------------------------


def test_every_public_error_has_one_base() -> None:
    kinds = [one for one in vars(rxmps3).values() if isinstance(one, type) and issubclass(one, BaseException)]
    assert len(kinds) > 15
    assert all(issubclass(kind, Error) for kind in kinds)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_an_error_reaches_another_process_as_it_is(clone: Callable[[Error], Error]) -> None:
    """Also one whose attributes have no default."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Error)]
    needed = {errors.NotKept: {"oldest": "3"}, errors.NotSent: {"keys": ["k"]}}
    for kind in kinds:
        error = kind("what", object="key 'k'", **needed.get(kind, {}))
        error.add_note("a note")
        again = clone(error)
        assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
async def test_what_streams_emit_reaches_another_process_as_it_is(clone: Callable[[Any], Any]) -> None:
    emitted: list[Any] = []
    async with rxmps3.connect("memory:", by="ana") as db:
        db.versions.subscribe(emitted.append)
        db.changes().subscribe(emitted.append)
        db.collection("a").subscribe(emitted.append)
        here = db.presence({"name": "ana"})
        here.subscribe(emitted.append)
        await db.put("a", {"b": [1]})
        await here.pipe(ops.filter(len), ops.first())
        emitted += [db.status.value, db.cost.value, db.states.value, db.pending.value, *await db.history("a")]
        for item in emitted:
            again = clone(item)
            assert (type(again), again) == (type(item), item)
    assert len({type(item) for item in emitted}) >= 8


def test_an_error_says_operation_object_and_remedy() -> None:
    assert str(Corrupt("broken", operation="get", object="key 'a'", remedy="mend it")) == "get key 'a': broken; mend it"
    assert str(Corrupt("broken")) == "broken"


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_there_is_one_missing(clone: object) -> None:
    assert callable(clone)
    assert clone(MISSING) is MISSING
    assert not MISSING
    assert repr(MISSING) == "MISSING"
    assert MISSING is not None


def test_the_public_words_are_there() -> None:
    assert all(hasattr(rxmps3, name) for name in rxmps3.__all__)
