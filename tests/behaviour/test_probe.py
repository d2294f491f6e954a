"""A storage that breaks a promise is found out before the first write, which is refused and says which promise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from rxmps3 import MISSING, Corrupt, Rejected, Unavailable, Unsupported
from rxmps3.errors import PreconditionFailed
from rxmps3.log.protocol import ProtocolName
from rxmps3.storage import ABSENT, Found, Matches, MemoryStorage, Missing, NotModified, Stored
from rxmps3.testing import StorageWrapper
from rxmps3.testing.wrappers import Request
from tests.behaviour.facades import is_blocking, own_memory, settle
from tests.behaviour.helpers import Gate, names, players, trace
from tests.behaviour.test_damage import Opaque, cut, flipped

T = TypeVar("T")


class IgnoresCreate(MemoryStorage):
    """Takes ``If-None-Match: *`` and replaces all the same."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if options.get("when") == ABSENT:
            options["when"] = None
        return await super().put(name, body, **options)


class RacesOnCreate(MemoryStorage):
    """Looks first and writes a moment later: two creates at once both succeed."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if options.get("when") == ABSENT:
            if isinstance(await self.get(name), Found):
                raise PreconditionFailed("it already exists")
            await asyncio.sleep(0.01)
            options["when"] = None
        return await super().put(name, body, **options)


class IgnoresMatch(MemoryStorage):
    """Takes ``If-Match`` and replaces all the same."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if isinstance(options.get("when"), Matches):
            options["when"] = None
        return await super().put(name, body, **options)


class SendsAllAgain(MemoryStorage):
    """Answers a conditional get with the whole object."""

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        options["unless"] = None
        return await super().get(name, **options)


class InventsObjects(MemoryStorage):
    """Finds something at names that were never written, as a server with an error page does."""

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        if isinstance(answer, Missing) and "probe" in name:
            return Found(b"<html>", '"x"', answer.date, answer.date)
        return answer


class NeverDeletes(MemoryStorage):
    """Acknowledges deletes and keeps the object."""

    async def delete(self, name: str, **options: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        (IgnoresCreate, "If-None-Match"),
        (RacesOnCreate, "If-None-Match"),
        (IgnoresMatch, "If-Match"),
        (SendsAllAgain, "If-None-Match"),
        (InventsObjects, "never written"),
        (NeverDeletes, "deleted"),
    ],
)
async def test_the_first_write_is_refused_and_says_what_the_storage_breaks(
    kind: type[MemoryStorage], condition: str
) -> None:
    storage = kind()
    async with players(storage, "a", protocol="sequenced") as (a,):
        seen, errors = trace(a.observe("k", MISSING)), trace(a.errors)
        for value in (1, "x" * 10_000):
            receipt = a.put("k", value)
            with pytest.raises(Rejected, match=condition) as caught:
                await receipt
            assert isinstance(caught.value.__cause__, Unsupported)
            assert receipt.stage == "rejected"
        assert seen == [MISSING, 1, MISSING, "x" * 10_000, MISSING]
        assert (a.keys(), a.pending.value) == ([], ())
        if not is_blocking():  # where a refusal may come before its waiter, and is told here, too
            assert errors == []
        await a.refresh()
    assert [name for name in await names(storage) if not (kind is NeverDeletes and "probe" in name)] == []


async def test_a_storage_without_a_clock_is_refused() -> None:
    class Timeless(MemoryStorage):
        async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
            return replace(await super().get(name, **options), date=None)

        async def put(self, name: str, body: bytes, **options: Any) -> Stored:
            return replace(await super().put(name, body, **options), date=None)

    storage = Timeless()
    with pytest.raises((Rejected, Unsupported), match="Date"):
        async with players(storage, "a") as (a,):
            await a.put("k", 1)
    assert await names(storage) == []


class Damages(StorageWrapper):
    """GETs of the probe's object are damaged on their way, by a server whose ETags tell nothing of the content."""

    def __init__(self, nth: Collection[int], damage: Callable[[bytes], bytes], inner: MemoryStorage) -> None:
        super().__init__(Opaque(inner))
        self._nth = nth
        self._damage = damage
        self.read = 0

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        if "probe" in name and isinstance(answer, Found):
            self.read += 1
            if self.read in self._nth:
                return replace(answer, body=self._damage(answer.body))
        return answer


@pytest.mark.parametrize("nth", [(1,), (2,), (3,), (1, 3), (2, 4), (3, 5), (1, 2, 3)])
@pytest.mark.parametrize("damage", [cut(0), cut(0.2), cut(0.9), flipped(0.17), flipped(0.5)])
@pytest.mark.parametrize("protocol", ["sequenced", "versioned"])
async def test_a_damaged_answer_does_not_decide_what_the_storage_can_do(
    nth: Collection[int], damage: Callable[[bytes], bytes], protocol: ProtocolName
) -> None:
    """Also where what is read once more is damaged otherwise."""
    storage = Damages(nth, damage, MemoryStorage(versioning=protocol == "versioned"))
    async with players(storage, "a", protocol=protocol) as (a,):
        await a.put("k", 1)
    assert storage.read >= min(*nth, 2)


async def test_a_mended_storage_is_taken() -> None:
    storage = MemoryStorage()
    flawed = IgnoresMatch()
    async with players(flawed, "a", protocol="sequenced") as (a,):
        with pytest.raises(Rejected):
            await a.put("k", 1)
        flawed.put = storage.put  # the storage is replaced by one that keeps its promises
        flawed.get, flawed.delete, flawed.list = storage.get, storage.delete, storage.list
        await a.put("k", 2)
        assert await a.get("k") == 2


async def test_a_probe_that_fails_half_way_leaves_nothing_behind() -> None:
    """One create of the probe gets no answer at once; the others arrive later, when the probe is over."""
    gate = Gate(part="probe", verbs=("put",))
    async with players(gate, "a") as (a,):
        receipt = a.put("k", 1)
        held = [await gate.held() for _ in range(3)]
        gate.shut = False
        held[0].fail(Unavailable("lost"))
        await settle()
        for one in held[1:]:
            one.let_go()
        await receipt
        assert not [name for name in await names(gate.inner) if "probe" in name]


class FailsEveryOther(StorageWrapper):
    """A storage that answers every other request of a probe with 503, and counts the probes that were begun."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.asked = 0
        self.begun: set[str] = set()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if "probe" in request.name:
            self.begun.add(request.name.removesuffix("-missing"))
            self.asked += 1
            if self.asked % 2:
                raise Unavailable("503")
        return await proceed()


async def test_one_probe_gets_through_a_storage_that_fails_every_other_request() -> None:
    storage = FailsEveryOther(MemoryStorage())
    async with players(storage, "a", protocol="sequenced") as (a,):
        await a.put("k", 1)
    assert len(storage.begun) == 1
    assert not [name for name in await names(storage.inner) if "probe" in name]


class AppliesACreateLate(StorageWrapper):
    """The answer to one create of a probe does not come, and the create takes effect when the probe has deleted all."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.late: Callable[[], Awaitable[Any]] | None = None

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if request.verb == "put" and "probe" in request.name and self.late is None:
            self.late = proceed
            raise Unavailable("timed out")
        answer = await proceed()
        if request.verb == "delete" and self.late is not None:
            await self.late()
        return answer


async def test_a_create_that_arrives_after_the_probe_has_deleted_is_no_fault_of_the_storage() -> None:
    storage = AppliesACreateLate(MemoryStorage())
    async with players(storage, "a", protocol="sequenced") as (a,):
        await a.put("k", 1)
    assert storage.late is not None


class AcceptsStaleUnheard(IgnoresMatch):
    """Replaces whatever the condition says, and its answer to the first stale replace of a probe is lost."""

    lost = False

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        stored = await super().put(name, body, **options)
        if b"stale" in body and not self.lost:
            self.lost = True
            raise Unavailable("the answer was lost")
        return stored


async def test_a_stale_replace_that_was_accepted_unheard_is_found_out() -> None:
    storage = AcceptsStaleUnheard()
    async with players(storage, "a", protocol="sequenced") as (a,):
        with pytest.raises(Rejected, match="stale ETag was accepted"):
            await a.put("k", 1)
    assert storage.lost


async def test_a_good_storage_is_probed_once_per_process() -> None:
    name = own_memory("probed-once")
    requests: list[int] = []
    for manifest in ("one", "two"):
        async with players(MemoryStorage(name=name.partition(":")[2]), "a", manifest=manifest) as (a,):
            before = a.status.value.requests
            await a.put("k", 1)
            requests.append(a.status.value.requests - before)
    assert requests[0] > requests[1]
    assert requests[1] <= 8  # three of them: is the manifest there in another protocol?


async def test_writes_over_left_overs_without_a_head_are_not_probed_into_being() -> None:
    storage = MemoryStorage()
    await storage.put("main/values/k@w-1", b"1")
    with pytest.raises(Corrupt, match="head"):
        async with players(storage, "a") as (a,):
            await a.put("k", 1)
    assert await names(storage) == ["main/values/k@w-1"]


@pytest.mark.parametrize(("versioning", "protocol"), [(True, "versioned"), (False, "mps3")])
async def test_a_new_manifest_is_made_in_the_best_protocol_that_the_storage_can_serve(
    versioning: bool, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = IgnoresCreate(versioning=versioning)
    async with players(storage, "a", "b") as (a, b):
        large = "x" * 10_000
        await a.put_all({"k": 1, "large": large})
        assert a.protocol == protocol
        [warning] = [record.getMessage() for record in caplog.records if "is made in" in record.getMessage()]
        assert protocol in warning
        assert "If-None-Match" in warning
        await b.refresh()
        assert b.protocol == protocol, "what the manifest is already"
        assert await b.get_prefix() == {"k": 1, "large": large}
        await b.put("k", 2)
        await a.refresh()
        assert await a.get("k") == 2
    with pytest.raises(Unsupported, match=f"'{protocol}', not 'sequenced'"):
        async with players(storage, "c", protocol="sequenced") as (c,):
            await c.get("k")
