"""Receipts: one write's stages, to await, to observe, to wait for on a thread, or to ignore."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from rxmps3 import Receipt, Rejected


def trace(receipt: Receipt) -> list[Any]:
    events: list[Any] = []
    receipt.stages.subscribe(events.append, events.append, lambda: events.append("done"))
    return events


@pytest.fixture
def receipt() -> Receipt:
    return Receipt("w-1", ("a", "b"))


async def test_await_gives_the_version(receipt: Receipt) -> None:
    waiting = asyncio.ensure_future(_await(receipt))
    await asyncio.sleep(0)
    assert not waiting.done()
    receipt.settle(None)
    assert await waiting == "w-1"


async def _await(receipt: Receipt) -> str:
    return await receipt


async def test_await_as_often_as_one_likes(receipt: Receipt) -> None:
    several = [asyncio.ensure_future(_await(receipt)) for _ in range(3)]
    await asyncio.sleep(0)
    receipt.settle(None)
    assert await asyncio.gather(*several) == ["w-1"] * 3
    assert await receipt == "w-1"
    assert await receipt == "w-1"


async def test_a_finished_one_is_awaited_without_the_loop(receipt: Receipt) -> None:
    receipt.settle(None)
    with pytest.raises(StopIteration) as finished:
        receipt.__await__().send(None)
    assert finished.value.value == "w-1"


async def test_a_rejected_one_raises_each_time(receipt: Receipt) -> None:
    error = Rejected("no")
    receipt.settle(error)
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            await receipt
        assert caught.value is error


async def test_cancelling_one_wait_leaves_the_write_and_the_other_waits_alone(receipt: Receipt) -> None:
    cancelled, other = asyncio.ensure_future(_await(receipt)), asyncio.ensure_future(_await(receipt))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert receipt.stage == "pending"
    receipt.settle(None)
    assert await other == "w-1"


def test_it_is_awaitable_on_any_loop(receipt: Receipt) -> None:
    settled = threading.Timer(0, lambda: receipt.settle(None))

    async def main() -> str:
        settled.start()
        return await receipt

    assert asyncio.run(main()) == "w-1"
    settled.join()
    assert asyncio.run(main_again(receipt)) == "w-1"


async def main_again(receipt: Receipt) -> str:
    return await receipt


async def test_stored_comes_with_the_commit_at_the_latest(receipt: Receipt) -> None:
    stored = asyncio.ensure_future(_stored(receipt))
    await asyncio.sleep(0)
    receipt.settle(None)
    assert await stored == "w-1"


async def test_stored_may_come_before_the_commit(receipt: Receipt) -> None:
    receipt.mark_stored()
    assert await receipt.stored == "w-1"
    assert receipt.stage == "stored"
    assert not receipt.done()


async def _stored(receipt: Receipt) -> str:
    return await receipt.stored


async def test_stored_raises_if_it_was_rejected_before(receipt: Receipt) -> None:
    receipt.settle(Rejected("no"))
    with pytest.raises(Rejected):
        await receipt.stored


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        (["store", "commit"], ["pending", "stored", "committed", "done"]),
        (["commit"], ["pending", "committed", "done"]),
        (["reject"], ["pending", "rejected", "done"]),
        (["store", "reject"], ["pending", "stored", "rejected", "done"]),
        (["store", "store", "commit", "reject"], ["pending", "stored", "committed", "done"]),
        (["reject", "commit"], ["pending", "rejected", "done"]),
        ([], ["pending"]),
    ],
)
def test_stages(receipt: Receipt, moves: list[str], expected: list[str]) -> None:
    events = trace(receipt)
    for move in moves:
        _move(receipt, move)
    # a write that commits without having been stored before passes "stored" at the same moment
    assert [event for event in events if event != "stored" or "stored" in expected] == expected


def _move(receipt: Receipt, move: str) -> None:
    match move:
        case "store":
            receipt.mark_stored()
        case "commit":
            receipt.settle(None)
        case _:
            receipt.settle(Rejected("no"))


@pytest.mark.parametrize(("move", "stage"), [("commit", "committed"), ("reject", "rejected")])
def test_stages_of_a_finished_one(receipt: Receipt, move: str, stage: str) -> None:
    _move(receipt, move)
    assert trace(receipt) == [stage, "done"]


def test_stages_from_a_later_one_on(receipt: Receipt) -> None:
    receipt.mark_stored()
    events = trace(receipt)
    receipt.settle(None)
    assert events == ["stored", "committed", "done"]


@pytest.mark.parametrize("raises_at", ["pending", "stored", "committed"])
def test_an_observer_of_stages_that_raises_is_detached_alone(
    receipt: Receipt, raises_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def fragile(stage: str) -> None:
        told.append(stage)
        if stage == raises_at:
            raise LookupError("oops")

    receipt.stages.subscribe(fragile)
    others = trace(receipt)
    receipt.mark_stored()
    receipt.settle(None)
    assert others == ["pending", "stored", "committed", "done"]
    assert told == others[: others.index(raises_at) + 1]
    assert receipt.wait(0) == "w-1"
    assert caplog.text.count("stages of write w-1: LookupError: oops") == 1


def test_stages_that_are_reached_while_one_is_told_come_after_it(receipt: Receipt) -> None:
    told: list[str] = []

    def tell(stage: str) -> None:
        if stage == "pending":
            receipt.settle(None)
        told.append(stage)

    receipt.stages.subscribe(tell)
    assert [stage for stage in told if stage != "stored"] == ["pending", "committed"]


def test_disposing_ends_the_stages(receipt: Receipt) -> None:
    events: list[str] = []
    receipt.stages.subscribe(events.append).dispose()
    receipt.settle(None)
    assert events == ["pending"]


def test_two_observers_of_stages(receipt: Receipt) -> None:
    first, second = trace(receipt), trace(receipt)
    receipt.settle(None)
    assert first == second
    assert first[-2:] == ["committed", "done"]


def test_an_observer_of_stages_that_raises_disturbs_nobody(receipt: Receipt, caplog: pytest.LogCaptureFixture) -> None:
    def raises(stage: str) -> None:
        if stage == "committed":
            raise LookupError("bad observer")

    receipt.stages.subscribe(raises)
    events = trace(receipt)
    receipt.settle(None)
    assert events[-2:] == ["committed", "done"]
    assert "bad observer" in caplog.text


async def test_what_is_raised_shows_the_way_of_this_wait_and_of_no_other(receipt: Receipt) -> None:
    receipt.settle(Rejected("no"))
    frames: list[int] = []
    for wait in (lambda: receipt.wait(0),) * 3:
        with pytest.raises(Rejected) as caught:
            wait()
        frames.append(len(caught.traceback))
    assert frames[0] == frames[1] == frames[2]


async def test_wait_on_a_thread(receipt: Receipt) -> None:
    waiting = asyncio.get_running_loop().run_in_executor(None, receipt.wait, 30)
    receipt.settle(None)
    assert await waiting == "w-1"


def test_wait_times_out_and_the_write_stays(receipt: Receipt) -> None:
    with pytest.raises(TimeoutError, match="stays pending"):
        receipt.wait(0.001)
    assert receipt.stage == "pending"


def test_wait_raises_what_rejected_it(receipt: Receipt) -> None:
    receipt.settle(Rejected("no"))
    with pytest.raises(Rejected):
        receipt.wait()


async def test_wait_on_a_loop_is_refused_rather_than_blocking(receipt: Receipt) -> None:
    with pytest.raises(RuntimeError, match="await receipt"):
        receipt.wait()


async def test_wait_on_a_loop_is_fine_once_it_is_over(receipt: Receipt) -> None:
    receipt.settle(None)
    assert receipt.wait() == "w-1"


async def test_an_ignored_failure_never_prints(receipt: Receipt, caplog: pytest.LogCaptureFixture) -> None:
    receipt.settle(Rejected("no"))
    assert receipt.unseen_failure is not None
    del receipt
    gc.collect()
    await asyncio.sleep(0)
    assert not [record for record in caplog.records if "never retrieved" in record.getMessage() or record.exc_info]


async def test_a_failure_that_somebody_awaits_is_seen(receipt: Receipt) -> None:
    waiting = asyncio.ensure_future(_await(receipt))
    await asyncio.sleep(0)
    receipt.settle(Rejected("no"))
    assert receipt.unseen_failure is None
    await asyncio.gather(waiting, return_exceptions=True)


def test_it_tells_what_it_is(receipt: Receipt) -> None:
    assert "w-1" in repr(receipt)
    assert "pending" in repr(receipt)
    assert "'a'" in repr(receipt)


@pytest.mark.parametrize("outcome", ["commit", "reject"])
def test_settling_races_with_waiting_threads(outcome: str) -> None:
    for _ in range(50):
        receipt = Receipt("w-1", ("a",))
        results: list[object] = []

        def wait(receipt: Receipt = receipt, results: list[object] = results) -> None:
            try:
                results.append(receipt.wait(30))
            except Rejected as error:
                results.append(type(error))

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        _move(receipt, outcome)
        for thread in threads:
            thread.join()
        assert results == ["w-1" if outcome == "commit" else Rejected] * 3
