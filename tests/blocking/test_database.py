"""`rxmps3.blocking` as a plain program uses it: everything that blocks runs outside any event loop."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import pytest
from reactivex import Observable, Subject
from reactivex import operators as ops
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

import rxmps3
import rxmps3.blocking.database as blocking_database
from rxmps3 import MISSING, Closed, InvalidOption, NotSent, Overloaded, WrongLoop
from rxmps3.blocking import Database, UiQueue, connect
from rxmps3.blocking.portal import portal
from rxmps3.storage import MemoryStorage
from rxmps3.testing import Request, StorageWrapper
from tests.behaviour.helpers import Switch, offline
from tests.conftest import Place

SOON = 20.0


def eventually(condition: Any) -> None:
    until = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)


@pytest.fixture
def db() -> Iterator[Database]:
    with connect("memory:", by="me", poll=0.02) as database:
        yield database


def test_two_clients_of_a_bucket(place: Place) -> None:
    with (
        connect(place.url, by="ann", poll=0.02, shared=False, **place.options) as ann,
        connect(place.url, by="bob", poll=0.02, shared=False, **place.options) as bob,
    ):
        seen: list[Any] = []
        bob.observe("k").subscribe(seen.append)
        receipt = ann.put("k", {"n": 1})
        assert ann["k"] == {"n": 1}
        assert receipt.wait(SOON) == receipt.version
        assert receipt.stage == "committed"
        eventually(lambda: seen == [None, {"n": 1}])
        ann.put_all({"k": MISSING, "big": "B" * 10_000, "n": None}).wait(SOON)
        bob.refresh()
        assert dict(bob.items()) == {"big": "B" * 10_000, "n": None}
        assert bob.protocol == "sequenced"


def test_it_takes_what_the_async_one_takes() -> None:
    """Word by word and option by option."""
    for word in [name for name in vars(rxmps3.Database) if not name.startswith("_")]:
        assert hasattr(Database, word), word
    for there, here in [(rxmps3.connect, connect)] + [
        (there, getattr(Database, name))
        for name, there in vars(rxmps3.Database).items()
        if callable(there) and not name.startswith("_")
    ]:
        asked, given = signature(there).parameters, signature(here).parameters
        ours = [_told(given.get(name)).replace("BlockingPast", "Past") for name in asked]  # each takes its own
        assert [_told(one) for one in asked.values()] == ours, there


def _told(parameter: Parameter | None) -> str:
    """A parameter with its type and default; what is to be called may be async there alone."""
    return str(parameter.replace(annotation="a function") if parameter and parameter.name == "fn" else parameter)


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_the_protocol_is_chosen_here_too(protocol: Any) -> None:
    with connect("memory:", protocol=protocol) as db:
        db.put("k", 1).wait(SOON)
        assert (db.protocol, db["k"]) == (protocol, 1)
        receipts = db.put("shared", 2, manifests=(name for name in ("one", "two")))
        assert sorted(receipts.wait(SOON)) == ["one", "two"]
        assert db.manifest("two").get("shared") == 2


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_lives_in_this_process_is_not_sent_to_another(db: Database, send: Any) -> None:
    for bound in (db, db.manifest("other"), db.put("k", 1), db.observe("k"), db.key("k"), db.status):
        with pytest.raises(TypeError, match="connect in the other process"):
            send(bound)


def test_handles_are_told_apart_as_objects(db: Database) -> None:
    with connect("memory:") as other:
        assert db != other
        assert len({db, other, db}) == 2


def test_texts_are_read_of_entries(db: Database) -> None:
    db.put_all({"small": 1, "large": "L" * 5000}).wait(SOON)
    assert db.read_texts(dict(db.states.value)) == {"small": "1", "large": f'"{"L" * 5000}"'}


def test_keys_may_come_from_a_generator_that_reads(db: Database) -> None:
    db.put_all({"a": 1, "b": 2})
    assert db.get_many(key for key in ("a", "b") if db[key] > 1) == {"b": 2}


def test_an_observer_may_write_into_manifests(db: Database) -> None:
    receipts: list[Any] = []

    def react(value: Any) -> None:
        if value == 1:
            receipts.append(db.put("k", 2, manifests=["one", "two"]))

    db.observe("k").subscribe(react)
    db.put("k", 1)
    eventually(lambda: receipts)
    assert sorted(receipts[0].wait(SOON)) == ["one", "two"]


def test_it_is_a_mapping(db: Database) -> None:
    assert isinstance(db, Mapping)
    db.put_all({"a/1": 1, "a/2": None, "b": [3]})
    assert list(db) == db.keys() == ["a/1", "a/2", "b"]
    assert (len(db), "b" in db, "c" in db) == (3, True, False)
    assert (db["b"], db.get("c", 7), db["a/2"]) == ([3], 7, None)
    assert dict(db.items()) == dict(db) == {"a/1": 1, "a/2": None, "b": [3]}
    assert list(db.values()) == [1, None, [3]]
    assert db.keys("a/") == ["a/1", "a/2"]
    assert db.get_prefix("a/", last=1) == {"a/2": None}
    assert db.get_many(["b", "c"]) == {"b": [3], "c": None}
    with pytest.raises(KeyError):
        db["c"]
    db.delete("b").stored.wait(SOON)
    assert "b" not in db


def test_iteration_waits_keeps_the_latest_and_ends_with_the_database() -> None:
    with connect("memory:", poll=0.02) as db, db.iterate(db.observe("k"), keep="all") as items:
        for number in range(3):
            db.put("k", number)
        assert [next(items) for _ in range(4)] == [None, 0, 1, 2]
        with pytest.raises(TimeoutError):
            next(iter(db.iterate(db.changes(), timeout=0.01)))
        threading.Timer(0.05, db.close).start()
        assert list(items) == []


def test_a_consumer_that_is_too_far_behind_is_told() -> None:
    source: Subject[int] = Subject()
    with connect("memory:") as db:
        few = db.iterate(source, keep=2)
        everything = db.iterate(source, keep="all")
        for number in range(10_001):
            source.on_next(number)
        source.on_completed()
        assert list(few) == [9_999, 10_000]
        with pytest.raises(Overloaded):
            list(everything)


def test_keys_are_two_way_streams_here_too(db: Database) -> None:
    gain = db.key("gain", int, default=1)
    source: Subject[int] = Subject()
    source.subscribe(gain)
    seen: list[int] = []
    gain.subscribe(seen.append)
    source.on_next(5)
    assert gain.value == 5
    eventually(lambda: seen == [1, 5])
    assert gain.put(6).wait(SOON)
    assert db["gain"] == 6


def test_observers_run_on_one_thread_until_they_move_on(db: Database) -> None:
    threads: list[str] = []
    moved: list[str] = []
    db.observe("k").subscribe(lambda _: threads.append(threading.current_thread().name))
    db.observe("k").pipe(ops.observe_on(NewThreadScheduler())).subscribe(
        lambda _: moved.append(threading.current_thread().name)
    )
    db.put("k", 1).wait(SOON)
    eventually(lambda: len(threads) == 2 and len(moved) == 2)
    assert set(threads) == {"rxmps3 blocking"}
    assert "rxmps3 blocking" not in moved


@pytest.mark.parametrize(
    "make",
    [
        EventLoopScheduler,
        NewThreadScheduler,
        lambda: ThreadPoolScheduler(2),
        TimeoutScheduler,
        ImmediateScheduler,
        CurrentThreadScheduler,
        TrampolineScheduler,
        lambda: None,
    ],
    ids=["event loop", "new thread", "pool", "timeout", "immediate", "current thread", "trampoline", "its own"],
)
def test_streams_go_on_on_any_scheduler_in_order(db: Database, make: Any) -> None:
    scheduler = make() or db.scheduler
    seen: list[Any] = []
    subscription = db.observe("k").pipe(ops.observe_on(scheduler)).subscribe(seen.append)
    for number in range(50):
        db.put("k", number)
    eventually(lambda: seen[-1:] == [49])
    assert seen == [None, *range(50)]
    subscription.dispose()
    db.put("k", -1).wait(SOON)
    assert seen[-1] == 49
    if hasattr(scheduler, "dispose"):
        scheduler.dispose()


def test_streams_go_on_on_the_event_loop_of_another_thread(db: Database) -> None:
    async def main() -> tuple[list[Any], bool]:
        here, seen = threading.get_ident(), list[Any]()
        db.observe("k").pipe(ops.observe_on(AsyncIOThreadSafeScheduler(asyncio.get_running_loop()))).subscribe(
            lambda value: seen.append((value, threading.get_ident() == here))
        )
        receipt = db.put("k", 1)
        while len(seen) < 2:
            await asyncio.sleep(0.005)
        return seen, bool(await receipt)

    assert asyncio.run(asyncio.wait_for(main(), SOON)) == ([(None, True), (1, True)], True)


def test_a_database_that_could_not_be_closed_here_is_closed_at_the_end(db: Database) -> None:
    """`close` on the wrong thread changes nothing."""
    left: list[bool] = []

    def react(value: Any) -> None:
        with pytest.raises(WrongLoop):
            db.close()
        left.append(db._handle in blocking_database._open)

    db.observe("k").subscribe(react)
    assert left == [True]


def test_closing_leaves_no_thread_and_no_task_behind() -> None:
    connect("memory:").close()  # the thread of all databases stays
    home = portal().loop
    asyncio.run_coroutine_threadsafe(asyncio.to_thread(int), home).result()  # so does what decodes for them
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks(home)
    with connect("memory:", poll=0.01, live=True) as db:
        db.observe("k").subscribe()
        with db.iterate(db.changes()) as changes:
            db.put("k", "L" * 5000).wait(SOON)
            assert next(changes).key == "k"
        db.manifest("other").put("k", 1)
    eventually(lambda: asyncio.all_tasks(home) <= tasks)
    assert set(threading.enumerate()) <= threads


def test_a_read_that_takes_too_long_says_which() -> None:
    with connect(slow := Slow(MemoryStorage()), poll=Subject()) as db:
        db.put_all({"k": 1, "large": "L" * 5000}).wait(SOON)
    with connect(slow, poll=Subject(), shared=False) as db:
        slow.stopped = True
        for name, read in {
            "get": lambda: db.get("large", timeout=0.01),
            "read_texts": lambda: db.read_texts({"large": db.states.value["large"]}, timeout=0.01),
            "refresh": lambda: db.refresh(timeout=0.01),
        }.items():
            with pytest.raises(TimeoutError, match=name):
                read()
        slow.stopped = False
        assert db.get("large", timeout=SOON) == "L" * 5000


def test_an_undo_that_takes_too_long_stays_under_way() -> None:
    slow = Slow(MemoryStorage())
    with connect(slow) as db:
        db.put("k", 1).wait(SOON)
        slow.stopped = True
        for word in (db.undo, db.redo):
            with pytest.raises(TimeoutError, match=word.__name__):
                word(timeout=0.01)
        assert "k" in db
        slow.stopped = False
        assert db.undo(timeout=SOON)
        assert "k" not in db


def test_a_key_is_updated_by_a_plain_function_on_this_thread(db: Database) -> None:
    key = db.key("n", int, default=0)
    threads: list[str] = []

    def more(n: int) -> int:
        threads.append(threading.current_thread().name)
        return n + 1

    assert [key.update(more), key.update(more)] == [1, 2]
    assert set(threads) == {threading.current_thread().name}

    async def never(n: int) -> int:
        return n

    with pytest.raises(InvalidOption, match="update: an async function"):
        key.update(never)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert db["n"] == 2


def test_writes_of_many_threads_are_undone_one_by_one(db: Database) -> None:
    def write(name: int) -> None:
        for number in range(5):
            db.put(f"{name}/{number}", number)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [len(db)]
    while db.undo(timeout=SOON):
        sizes.append(len(db))
    assert sizes == list(range(40, -1, -1))
    while db.redo(timeout=SOON):
        sizes.append(len(db))
    assert sizes[41:] == list(range(1, 41))


class Slow(StorageWrapper):
    """A storage that answers nothing while it is stopped."""

    stopped = False

    async def around(self, request: Request, proceed: Any) -> Any:
        while self.stopped:
            await asyncio.sleep(0.005)
        return await proceed()


def test_a_call_that_would_wait_for_itself_raises_at_once(db: Database) -> None:
    raised: list[BaseException] = []

    def observe(value: Any) -> None:
        if value is None:
            return
        for call in (
            lambda: db.get("k"),
            db.refresh,
            db.close,
            lambda: db["k"],
            lambda: connect("memory:"),
            db.undo,
            db.redo,
            lambda: db.key("k").update(lambda value: value),
        ):
            try:
                call()
            except WrongLoop as error:
                raised.append(error)
        receipt = db.put("other", 1)  # a write does not block
        for wait in (receipt.wait, receipt.stored.wait):
            try:
                wait()
            except RuntimeError as error:
                raised.append(error)

    db.observe("k").subscribe(observe)
    db.put("k", 1).wait(SOON)
    eventually(lambda: len(raised) == 10)
    assert db["other"] == 1


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_an_observer_that_would_end_the_program_is_detached_alone(db: Database, end: type[BaseException]) -> None:
    """It is not on the thread that could end it, and all databases live on this one."""
    seen, failures = list[Any](), list[rxmps3.Failure]()

    def leave(value: Any) -> None:
        seen.append(value)
        if value == 1:
            raise end("enough")

    db.errors.subscribe(failures.append)
    db.observe("k").subscribe(leave)
    assert db.put("k", 1).wait(SOON)
    assert db.put("k", 2).wait(SOON)
    assert db.get("k", timeout=SOON) == 2
    assert seen == [None, 1]
    assert [type(failure.error.__cause__) for failure in failures] == [end]


def test_what_else_would_end_the_thread_of_all_databases_does_not(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(*_: Any) -> None:
        raise SystemExit(7)

    async def leave_too() -> None:
        leave()

    db.put("k", 1).wait(SOON)
    db.scheduler.schedule(leave)
    with pytest.raises(SystemExit):  # of one's own call, so it is told here
        portal().call("leave", leave_too)
    assert db.get("k", timeout=SOON) == 1
    assert "nothing ends the thread" in caplog.text


async def test_it_works_on_a_thread_with_a_loop_of_its_own() -> None:
    """As in a notebook: the kernel's loop runs on this thread, and is not the database's."""
    with connect("memory:", poll=0.02) as db:
        seen: list[Any] = []
        db.observe("k").subscribe(seen.append)
        assert db.put("k", 1).wait(SOON)
        assert db["k"] == 1
        eventually(lambda: seen[-1:] == [1])
        other = db.manifest("other")
        other.put("x", 2).wait(SOON)
        assert other.get("x") == 2
        await asyncio.sleep(0)


def test_one_url_is_one_replica() -> None:
    with connect("memory:blocking-shared") as one, connect("memory:blocking-shared") as two:
        receipt = one.put("k", 1)
        assert two.pending.value in ((receipt,), ())
        assert two["k"] == 1


def test_a_timeout_ends_the_wait_and_nothing_else() -> None:
    switch = Switch()
    with connect(switch, poll=0.02) as db:
        db.put("k", 1).wait(SOON)
        switch.error = offline
        receipt = db.put("k", 2)
        with pytest.raises(TimeoutError):
            receipt.wait(0.05)
        assert db.get("k", timeout=SOON) == 2
        switch.error = None
        assert receipt.wait(SOON)


def test_what_close_could_not_send_is_named() -> None:
    switch = Switch()
    db = connect(switch)
    db.put("k", 1).wait(SOON)
    switch.error = offline
    db.put("k", 2)
    with pytest.raises(NotSent) as caught:
        db.close(timeout=0.05)
    assert caught.value.keys == ("k",)
    with pytest.raises(Closed):
        db.get("k")


def test_errors_come_as_they_are() -> None:
    with pytest.raises(rxmps3.InvalidOption):
        connect("gopher:x")
    with connect("memory:") as db, pytest.raises(rxmps3.InvalidKey):
        db.put("", 1)


def test_many_threads_write_at_once(db: Database) -> None:
    def write(who: int) -> None:
        for number in range(50):
            db.put(f"{who}/{number}", number)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for receipt in db.pending.value:
        receipt.wait(SOON)
    assert len(db) == 400


def test_a_user_interface_takes_the_latest_of_each_stream() -> None:
    queue = UiQueue()
    shown: list[Any] = []
    with connect("memory:") as db:
        watching = queue.watch(db.observe("a"), lambda value: shown.append(("a", value)))
        queue.watch(db.observe("b"), lambda value: shown.append(("b", value)))
        for number in range(1000):
            receipt = db.put("a", number)
        receipt.wait(SOON)
        assert queue.drain() == 2
        assert sorted(shown) == [("a", 999), ("b", None)]
        assert queue.drain() == 0
        watching.dispose()
        db.put("a", -1).wait(SOON)
        assert queue.drain() == 0


def test_what_is_shown_may_write_without_holding_up_the_user_interface() -> None:
    queue, source, shown = UiQueue(), Subject[int](), list[int]()

    def show(number: int) -> None:
        shown.append(number)
        source.on_next(number + 1)

    queue.watch(source, show)
    source.on_next(0)
    assert [queue.drain(), queue.drain()] == [1, 1]
    assert shown == [0, 1]


def test_what_is_no_longer_watched_is_not_shown_even_if_an_item_was_on_its_way() -> None:
    queue, shown = UiQueue(), list[int]()
    observers: list[Any] = []
    watching = queue.watch(Observable(lambda observer, _: observers.append(observer)), shown.append)
    took = observers[0].on_next
    keep = observers[0]._on_next  # as if the emitting thread were already past the subscription's own check
    watching.dispose()
    took(1)
    keep(2)
    assert (queue.drain(), shown) == (0, [])


def test_a_show_may_end_the_watching_of_what_waits_and_one_that_raises_leaves_the_rest() -> None:
    queue, sources, shown = UiQueue(), [Subject[int]() for _ in range(3)], list[Any]()

    def first(number: int) -> None:
        second.dispose()
        raise LookupError(number)

    queue.watch(sources[0], first)
    second = queue.watch(sources[1], shown.append)
    queue.watch(sources[2], shown.append)
    for number, source in enumerate(sources):
        source.on_next(number)
    with pytest.raises(LookupError):
        queue.drain()
    assert (queue.drain(), shown) == (1, [2])
