"""No effect is shown before its cause, however late the cause came to light and however little of a listing is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rxmps3.model.state import Loaded, Replayed
from rxmps3.storage import Found, MemoryStorage, Missing, NotModified, Storage
from rxmps3.storage.base import VersionPage
from rxmps3.testing import CountingStorage, ManualClock, StorageWrapper
from tests.versioned.helpers import Client, HidesVersions, OneByOne, bodies, versions


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("versioned causes")


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock, versioning=True)


class AsBefore(HidesVersions):
    """Shows the newest version that it does not hide."""

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        if version is None:
            shown = (await self.list_versions(name)).versions
            if shown:
                version = shown[0].version
        return await super().get(name, unless=unless, version=version, limit=limit)


class Scene:
    """A question that comes to light below four known versions, and a reader whose pages of a listing are small."""

    def __init__(self, storage: MemoryStorage, clock: ManualClock) -> None:
        self.storage, self.clock = storage, clock
        self.hiding = AsBefore(storage)
        self.requests = CountingStorage(OneByOne(self.hiding, 3))
        self.reader = Client(self.requests, clock)

    def client(self) -> Client:
        return Client(self.hiding, self.clock)

    async def ask(self, later: float = 0.0) -> str:
        """The id of the question, which nobody sees; the others come some seconds later."""
        other = self.client()
        await other.put(start=0)
        await self.client().put(question="?")
        question = (await versions(self.storage))[-1]
        self.hiding.hidden = {question}
        await self.clock.advance(later)
        for number in range(4):
            await other.put(other=number)
        return question

    def reveal(self) -> None:
        self.hiding.hidden = ()


@pytest.fixture
def scene(storage: MemoryStorage, clock: ManualClock) -> Scene:
    return Scene(storage, clock)


async def seen_when_answered(scene: Scene, answering: Client) -> dict[str, Any]:
    """What the reader sees as soon as the question, which somebody has seen, is answered."""
    assert (await answering.values())["question"] == "?"
    await answering.put(answer="!")
    return await scene.reader.read()


async def test_a_cause_that_came_to_light_late(scene: Scene):
    await scene.ask()
    writer = scene.client()
    assert "question" not in await writer.read()
    assert "question" not in await scene.reader.read()
    scene.reveal()
    await writer.log.list_again()
    assert (await seen_when_answered(scene, writer)).keys() == {"start", "other", "question", "answer"}


async def test_a_cause_that_was_not_late_for_who_saw_it(scene: Scene):
    await scene.ask()
    await scene.reader.read()
    scene.reveal()
    writer = scene.client()
    await writer.read()
    assert "question" in await seen_when_answered(scene, writer)


async def test_a_cause_of_a_cause(scene: Scene):
    await scene.ask()
    await scene.reader.read()
    scene.reveal()
    writer, second = scene.client(), scene.client()
    await writer.read()
    await writer.put(answer="?!")
    await second.read()
    assert "question" in await seen_when_answered(scene, second)
    assert [one.get("beside") for one in await bodies(scene.storage)][-1] is None


async def test_a_cause_that_has_settled(scene: Scene):
    question = await scene.ask(later=600)
    await scene.clock.advance(500)
    await scene.reader.read()
    scene.reveal()
    await scene.clock.advance(120)
    writer = scene.client()
    await writer.read()
    assert writer.log.base.id == question
    assert "question" in await seen_when_answered(scene, writer)


async def test_a_version_names_what_no_other_one_names(scene: Scene):
    """The last of each of three that wrote at once, and nothing any more once one has named them."""
    a, b, c = (scene.client() for _ in range(3))
    for client in (a, b, c):
        await client.read()
    await a.put(a=1)
    await b.log._append((), b.log._encode(()))  # pyright: ignore[reportPrivateUsage]
    await c.put(c=1)
    await a.put(a=2)
    await b.read()
    await b.put(b=2)
    named = [one.get("beside", []) for one in await bodies(scene.storage)]
    ids = await versions(scene.storage)
    assert all(set(one) <= set(ids) for one in named)
    await c.read()
    await c.put(c=2)
    assert "beside" not in (await bodies(scene.storage))[-1]


async def test_a_settled_end_is_named_for_a_while_only(scene: Scene):
    question = await scene.ask()
    scene.reveal()
    for age, named in ((1000, [question]), (1000, [question]), (2401 - 2000, None)):
        await scene.clock.advance(age)
        writer = scene.client()
        await writer.read()
        said = json.loads(writer.log._encode(()))  # pyright: ignore[reportPrivateUsage]
        assert said.get("beside") == named


async def with_beside(storage: Storage, *beside: str) -> None:
    """One more version, which follows these too."""
    answer = await storage.get("main")
    assert isinstance(answer, Found)
    body = json.loads(answer.body) | {"beside": list(beside), "nonce": "another", "previous": "collected", "writes": []}
    await storage.put("main", json.dumps(body, separators=(",", ":")).encode())


async def test_what_is_collected_holds_nothing_back(scene: Scene):
    await scene.ask()
    scene.reveal()
    before = await scene.reader.read()
    await with_beside(scene.storage, "collected", "too")
    scene.requests.reset()
    assert await scene.reader.read() == before
    newest = (await versions(scene.storage))[-1]
    assert scene.reader.log.position == newest
    assert scene.requests.counts["list_versions"] == 1 + 3  # one page, and then all three
    scene.requests.reset()
    await scene.client().put(more=1)
    assert "more" in await scene.reader.read()
    assert scene.requests.counts["list_versions"] == 1, "it is looked for once"
    assert "more" in await Client(OneByOne(scene.storage, 2), scene.clock).read()


async def test_a_cause_of_the_time_when_the_machine_slept(scene: Scene):
    """Its own clock did not go on, so by that no whole listing is due."""
    scene.reader = Client(scene.requests, ManualClock("asleep"))
    await scene.ask()
    await scene.reader.read()
    scene.reveal()
    await scene.clock.advance(2500)
    writer = scene.client()
    await writer.read()
    assert "question" in await seen_when_answered(scene, writer)
    assert "beside" not in (await bodies(scene.storage))[-1]


class Reorders(StorageWrapper):
    """Lists in an order of its own, on pages of two; somebody acts after the first page of the next listing."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.shown: Callable[[list[str]], list[str]] = list
        self.meanwhile: Callable[[], Any] | None = None

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        whole = await super().list_versions(prefix)
        lines = {one.version: one for one in whole.versions if one.name == "main"}
        ids = self.shown(list(lines)[::-1])[::-1]  # newest first again
        start = 0 if cursor is None else ids.index(cursor) + 1
        page = [lines[id] for id in ids[start : start + 2]]
        if cursor is None and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return VersionPage(page, page[-1].version if start + 2 < len(ids) else None, whole.date)


@pytest.mark.parametrize("fresh", [False, True], ids=["who follows", "who opens"])
async def test_a_cause_on_a_page_that_was_read_before_it_was_there(
    storage: MemoryStorage, clock: ManualClock, fresh: bool
):
    odd = Reorders(storage)
    reader, other = Client(odd, clock), Client(storage, clock)
    for number in range(4):
        await other.put(other=number)
    first = await versions(storage)
    if not fresh:
        await reader.read()
    await other.put(other=4)

    async def ask_and_answer() -> None:
        """The question is listed where the first page was, and the answer below that."""
        await Client(storage, clock).put(question="?")
        await Client(storage, clock).put(answer="!")
        odd.shown = lambda ids: [*first[:1], ids[-1], *first[1:], *(id for id in ids[:-1] if id not in first)]

    odd.meanwhile = ask_and_answer
    await clock.advance(30)
    await reader.read()
    shown: set[str] = set()
    for event in reader.events:
        if isinstance(event, Loaded | Replayed):
            shown = set(event.state)
        else:
            shown |= {key for one in event.version.writes for key in one.update}
        assert "question" in shown or "answer" not in shown
    assert {"question", "answer"} <= (await reader.values()).keys()
