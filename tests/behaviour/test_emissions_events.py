"""The emission contract, about events (changes, versions, errors) and about the Lives (states, pending, status)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Change, ManifestVersion, Rejected
from rxmps3.storage import ABSENT, MemoryStorage
from rxmps3.testing import StorageWrapper
from tests.behaviour.helpers import Gate, Switch, eventually, looks, offline, players, trace


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def short(change: Change) -> tuple[Any, ...]:
    return (change.key, change.before, change.after, change.by, change.pending, change.cause)


class Unconditional(StorageWrapper):
    """A storage that ignores ``If-None-Match: *``: no sequenced log can be kept on it, so writes are refused."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage())

    @property
    def url(self) -> str:
        return "memory:unconditional"

    async def put(self, name: str, body: bytes, **options: Any) -> Any:
        if options.get("when") == ABSENT:
            options["when"] = None
        return await super().put(name, body, **options)


# -- changes -----------------------------------------------------------------------------------------------------


async def test_events_begin_with_nothing(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        assert (trace(a.changes()), trace(a.versions), trace(a.errors)) == ([], [], [])


async def test_events_of_a_manifest_that_is_not_loaded_yet_begin_with_nothing_either() -> None:
    gate = Gate(part="other/head", shut=False)
    async with players(gate, "a") as (a,):
        await a.manifest("other").put("k", 1)
    async with players(gate, "b") as (b,):
        gate.shut = True
        other = b.manifest("other")
        changes, versions = trace(other.changes()), trace(other.versions)
        (await gate.held()).let_go()
        gate.open()
        await looks(other)
        assert (changes, versions) == ([], [])
        await other.put("k", 2)
        assert [(change.before, change.after) for change in changes] == [(1, 2)]
        assert [version.id for version in versions] == ["2"]


async def test_an_own_write_changes_the_view_once_as_pending(storage: MemoryStorage) -> None:
    async with players(storage, "alice") as (a,):
        seen = trace(a.changes())
        receipt = a.put("k", 1)
        assert [short(change) for change in seen] == [("k", MISSING, 1, "alice", True, "own")]
        assert seen[0].version == receipt.version
        await receipt
        assert len(seen) == 1


async def test_a_write_from_the_log_is_remote_and_carries_its_author(storage: MemoryStorage) -> None:
    async with players(storage, "alice", "bob") as (a, b):
        seen = trace(b.changes())
        receipt = a.put("k", 1)
        await receipt
        await looks(b)
        assert [short(change) for change in seen] == [("k", MISSING, 1, "alice", False, "remote")]
        assert seen[0].version == receipt.version


async def test_deletes_have_no_version_and_no_value_after(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", 1)
        await looks(b)
        own, remote = trace(a.changes()), trace(b.changes())
        await a.delete("k")
        await a.delete("k")
        await looks(b)
        assert [short(change) for change in own] == [("k", 1, MISSING, "a", True, "own")]
        assert [short(change) for change in remote] == [("k", 1, MISSING, "a", False, "remote")]
        assert own[0].version == ""


async def test_a_put_all_is_one_change_per_key_that_differs(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put_all({"same": 1, "other": 1, "gone": 1})
        seen = trace(a.changes())
        await a.put_all({"same": 1, "other": 2, "gone": MISSING, "new": None, "never": MISSING})
        assert [(change.key, change.before, change.after) for change in seen] == [
            ("other", 1, 2),
            ("gone", 1, MISSING),
            ("new", MISSING, None),
        ]


async def test_only_changes_under_the_prefix(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = trace(a.changes("todo/"))
        await a.put_all({"todo/1": 1, "todo": 2, "done/1": 3})
        assert [change.key for change in seen] == ["todo/1"]


async def test_a_foreign_write_below_an_own_pending_one_changes_nothing_that_is_seen(storage: MemoryStorage) -> None:
    gate = Gate(storage, part="/log/", verbs=("put",), shut=False)
    async with players(storage, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", 0)
        await looks(b)
        gate.shut = True
        mine = b.put("k", "mine")
        held = await gate.held()
        seen = trace(b.changes())
        await a.put("k", 1)
        await looks(b)
        assert seen == []
        gate.open()
        held.let_go()
        await mine
        assert seen == []


async def test_a_refused_write_is_rolled_back_and_says_so() -> None:
    async with players(Unconditional(), "alice", protocol="sequenced") as (a,):
        seen, value = trace(a.changes()), trace(a.observe("k", MISSING))
        with pytest.raises(Rejected):
            await a.put("k", 1)
        assert [short(change) for change in seen] == [
            ("k", MISSING, 1, "alice", True, "own"),
            ("k", 1, MISSING, "", False, "rollback"),
        ]
        assert value == [MISSING, 1, MISSING]
        assert a.keys() == []
        assert a.pending.value == ()


# -- versions ----------------------------------------------------------------------------------------------------


async def test_versions_are_the_log_from_now_on_each_once_in_order(storage: MemoryStorage) -> None:
    async with players(storage, "alice", "bob") as (a, b):
        await a.put("before", 1)
        await looks(b)
        at_a, at_b = trace(a.versions), trace(b.versions)
        for number in range(3):
            await a.put("k", number)
            await b.put("l", number)
        await looks(a, b)
        await looks(a, b)
        assert [version.id for version in at_a] == [str(number) for number in range(2, 8)]
        assert at_a == at_b
        assert all(isinstance(version, ManifestVersion) for version in at_a)
        assert [version.by for version in at_a] == ["alice", "bob"] * 3
        assert len({version.writer for version in at_a}) == 2
        assert [write.id.number for version in at_a[::2] for write in version.writes] == [2, 3, 4]
        assert [sorted(write.update) for version in at_a[:2] for write in version.writes] == [["k"], ["l"]]
        assert all(version.time is not None and version.time.tzinfo is not None for version in at_a)


@pytest.mark.async_only("there the first write may be under way before the next is made")
async def test_several_writes_of_one_commit_are_one_version(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("first", 0)
        seen = trace(a.versions)
        for number in range(5):
            receipt = a.put(f"k{number}", number)
        await receipt
        assert [len(version.writes) for version in seen] == [5]


# -- errors ------------------------------------------------------------------------------------------------------


async def test_errors_are_told_from_now_on(storage: MemoryStorage) -> None:
    switch = Switch(storage)
    async with players(switch, "a") as (a,):
        early = trace(a.errors)
        switch.error = offline
        receipt = a.put("k", 1)
        await eventually(lambda: early)
        late = trace(a.errors)
        assert (len(early), late) == (1, [])
        assert early[0].error.retriable
        switch.error = None
        await receipt


async def test_a_failure_that_a_caller_hears_is_not_told_twice(storage: MemoryStorage) -> None:
    switch = Switch(storage)
    async with players(switch, "a") as (a,):
        errors = trace(a.errors)
        switch.error = offline
        with pytest.raises(rxmps3.Unavailable):
            await a.refresh()
        assert errors == []


@pytest.mark.async_only("there a refusal may come before its waiter, and is told on errors, too")
async def test_an_awaited_refusal_is_told_only_to_who_awaits() -> None:
    async with players(Unconditional(), "a", protocol="sequenced") as (a,):
        errors = trace(a.errors)
        with pytest.raises(Rejected):
            await a.put("k", 1)
        ignored = a.put("k", 2)
        await eventually(lambda: errors)
        assert ignored.stage == "rejected"
        assert [failure.operation for failure in errors] == ["write"]
        assert "'k'" in str(errors[0])


# -- states ------------------------------------------------------------------------------------------------------


async def test_states_begin_with_the_view_and_show_each_step(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        seen = trace(a.states)
        assert [(view["k"].content.text, len(view.pending)) for view in seen] == [("1", 0)]
        assert a.states.value is seen[0]
        receipt = a.put("k", 2)
        assert [(view["k"].content.text, len(view.pending)) for view in seen[1:]] == [("2", 1)]
        await receipt
        assert [(view["k"].content.text, len(view.pending)) for view in seen[2:]] == [("2", 0)]
        assert a.states.value is seen[-1]
        assert seen[0]["k"].content.text == "1"


async def test_a_state_is_a_mapping_of_entries(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        receipt = a.put_all({"x": 1, "y": {"z": 2}})
        view = a.states.value
        assert sorted(view) == ["x", "y"]
        assert len(view) == 2
        assert view["y"].version == receipt.version
        assert view.is_pending("x")
        await receipt
        assert not a.states.value.is_pending("x")
        assert a.states.value.confirmed.version == "1"


# -- pending -----------------------------------------------------------------------------------------------------


async def test_pending_begins_with_what_waits_and_shows_each_change(storage: MemoryStorage) -> None:
    gate = Gate(storage, part="/log/", verbs=("put",))
    async with players(gate, "a") as (a,):
        seen = trace(a.pending)
        first = a.put("k", 1)
        second = a.put_all({"l": 2, "m": 3})
        assert seen == [(), (first,), (first, second)]
        assert a.pending.value == (first, second)
        assert [receipt.keys for receipt in a.pending.value] == [("k",), ("l", "m")]
        late = trace(a.pending)
        (await gate.held()).let_go()
        gate.open()
        await second
        assert seen[-1] == late[-1] == a.pending.value == ()
        assert late[0] == (first, second)
        assert first.stage == "committed"


async def test_pending_is_not_disturbed_by_foreign_writes(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        seen = trace(b.pending)
        await a.put("k", 1)
        await looks(b)
        assert seen == [()]


# -- status ------------------------------------------------------------------------------------------------------


async def test_status_begins_with_how_it_is_and_tells_changes(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = trace(a.status)
        assert len(seen) == 1
        assert (seen[0].online, seen[0].loaded, seen[0].pending, seen[0].head) == (True, True, 0, "")
        receipt = a.put("k", 1)
        assert seen[-1].pending == 1
        await receipt
        assert (seen[-1].pending, seen[-1].head) == (0, "1")
        assert all(one.without_counts() != other.without_counts() for one, other in pairwise(seen))


async def test_status_counts_requests_and_bytes_as_of_now(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("k", "x" * 1000)
        before = a.status.value
        await a.put("k", "y" * 1000)
        after = a.status.value
        assert after.requests == before.requests + 1
        assert 1000 < after.bytes_up - before.bytes_up < 2000
        await looks(a)
        assert a.status.value.requests == after.requests + 1


async def test_events_end_nobody_and_are_served_beside_values(storage: MemoryStorage) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Any], None]:
        return lambda _: order.append(name)

    async with players(storage, "a") as (a,):
        a.changes().subscribe(noting("changes"))
        a.observe("k").subscribe(noting("value"))
        a.states.subscribe(noting("states"))
        a.pending.subscribe(noting("pending"))
        order.clear()
        a.put("k", 1)
        assert order == ["changes", "value", "states", "pending"]


async def test_receipts_settle_after_the_observers_have_seen_the_commit(storage: MemoryStorage) -> None:
    order: list[str] = []
    async with players(storage, "a") as (a,):
        a.versions.subscribe(lambda version: order.append(f"version {version.id}"))
        receipt = a.put("k", 1)
        receipt.stages.subscribe(lambda stage: order.append(stage))
        await receipt
        assert [event for event in order if event != "stored"] == ["pending", "version 1", "committed"]
