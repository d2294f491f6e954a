"""A wrapper passes every verb of a storage on, with every argument, and through its hook."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from rxmps3.errors import Unavailable
from rxmps3.storage import ABSENT, MemoryStorage, VersionedStorage
from rxmps3.storage.metered import MeteredStorage
from rxmps3.storage.patient import PatientStorage
from rxmps3.storage.wrapper import Request, StorageWrapper
from rxmps3.testing import CountingStorage, ManualClock, fail_on
from rxmps3.testing.wrappers import FaultyStorage

T = TypeVar("T")
VERBS = sorted(
    name
    for name, verb in inspect.getmembers(VersionedStorage, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != "close"
)


class Recorder:
    """Takes every verb, and keeps what it was called with."""

    url = "recorder:"
    name_limit = 7

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[str]]:
        if verb not in VERBS:
            raise AttributeError(verb)

        async def take(*args: Any, **options: Any) -> str:
            self.calls.append((verb, args, options))
            return f"the answer to {verb}"

        return take


class Noting(StorageWrapper):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.seen: list[Request] = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        self.seen.append(request)
        return await proceed()


def test_the_verbs_are_those_of_the_protocol() -> None:
    assert VERBS == ["delete", "get", "list", "list_versions", "put"]


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_passes_through_the_hook_with_all_its_arguments(verb: str) -> None:
    inner, parameters = Recorder(), inspect.signature(getattr(VersionedStorage, verb)).parameters
    given = {name: b"body" if name == "body" else f"the {name}" for name in parameters if name != "self"}
    storage = Noting(inner)
    assert inspect.signature(getattr(StorageWrapper, verb)).parameters.keys() == parameters.keys()
    assert await getattr(storage, verb)(**given) == f"the answer to {verb}"
    ((called, args, options),) = inner.calls
    positional = [name for name, one in parameters.items() if name != "self" and one.kind is not one.KEYWORD_ONLY]
    assert called == verb
    assert {**dict(zip(positional, args, strict=False)), **options} == given
    ((seen),) = storage.seen
    assert (seen.verb, seen.name) == (verb, given.get("name", given.get("prefix")))
    assert (storage.url, storage.name_limit) == (inner.url, inner.name_limit)


async def test_a_meter_counts_what_is_answered_and_what_is_not() -> None:
    faulty = FaultyStorage(MemoryStorage(versioning=True))
    storage = MeteredStorage(faulty)
    await storage.put("a", b"12345")
    await storage.get("a")
    await storage.list("")
    await storage.list_versions("")
    await storage.delete("a")
    faulty.plan = fail_on(lambda request: True, lambda: Unavailable("down"))
    with pytest.raises(Unavailable):
        await storage.put("a", b"123")
    assert (storage.usage.requests, storage.usage.bytes_up, storage.usage.bytes_down) == (6, 8, 5)


async def test_patience_repeats_all_but_a_put() -> None:
    clock = ManualClock()
    counting = CountingStorage(MemoryStorage(clock=clock, versioning=True))
    storage = PatientStorage(
        FaultyStorage(
            counting, fail_on(lambda request: len(tries) < 3 and not tries.append(0), lambda: Unavailable("down"))
        ),
        clock,
    )
    for verb in (
        lambda: storage.get("a"),
        lambda: storage.list(""),
        lambda: storage.list_versions(""),
        lambda: storage.delete("a"),
    ):
        tries: list[int] = []
        await clock.run(verb())
        assert len(tries) == 3
    assert counting.counts == {"get": 1, "list": 1, "list_versions": 1, "delete": 1}
    tries = []
    with pytest.raises(Unavailable):
        await storage.put("a", b"1", when=ABSENT)
    assert len(tries) == 1
