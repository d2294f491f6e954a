"""The log as a slider, who is here, a database opened up, forms: what they tell their pages, without a page."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Literal

import pytest

pytest.importorskip("anywidget")

from pydantic import BaseModel, Field
from reactivex import Subject

import rxmps3
import rxmps3.blocking
from rxmps3.errors import Unavailable
from rxmps3.jupyter import people, viewmodel
from rxmps3.jupyter.forms import ControlsModel, controls
from rxmps3.jupyter.inspecting import InspectorModel, inspector
from rxmps3.jupyter.people import PeopleModel, presence
from rxmps3.jupyter.showing import LiveModel
from rxmps3.jupyter.text import size_text
from rxmps3.jupyter.timelines import TimelineModel, TimelineView, timeline
from rxmps3.jupyter.viewmodel import AWAY_AFTER, Message, ViewModel
from rxmps3.model.valuetext import Blob
from tests.mutating import Mutant


class Page:
    """A page that keeps the state it was told and the messages for it."""

    def __init__(self, model: ViewModel) -> None:
        self.model = model
        self.state: dict[str, Any] = dict(model.state)
        self.messages: list[dict[str, Any]] = []
        model.attach(self)

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        self.state |= json.loads(json.dumps(states, allow_nan=False))

    def send(self, message: Message) -> None:
        self.messages.append(json.loads(json.dumps(message, allow_nan=False)))

    def ask(self, kind: str, **more: Any) -> None:
        self.model.receive({"kind": kind, "view": "one"} | more)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.01)


# -- the seam --------------------------------------------------------------------------------------------------------


async def test_who_says_here_is_answered_and_what_is_no_message_is_left() -> None:
    page = Page(ViewModel(asyncio.get_running_loop(), 30))
    for nonsense in (None, 3, [], {}, {"kind": "here"}, {"kind": 1, "view": "x"}, {"kind": "here", "view": 3}):
        page.model.receive(nonsense)
    assert page.messages == []
    assert page.model.pages == []
    page.ask("here")
    assert page.messages == [
        {"kind": "alive", "view": "one", "number": 0, "missed": False, "own": 0, "all": 0, "revision": 0}
    ]
    assert page.model.pages == ["one"]
    page.ask("bye")
    assert page.model.pages == []


async def test_a_page_that_asks_for_nonsense_is_told_and_does_no_harm() -> None:
    async with rxmps3.connect("memory:views-nonsense") as db:
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        page.ask("go", at="x")
        assert page.messages[-1]["kind"] == "refused"
        assert "ValueError" in page.messages[-1]["reason"]
        page.model.dispose()


async def test_a_page_that_is_silent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    page = Page(ViewModel(loop, 30))
    now = loop.time()
    page.ask("here")
    monkeypatch.setattr(loop, "time", lambda: now + AWAY_AFTER - 1)
    assert page.model.watched
    monkeypatch.setattr(loop, "time", lambda: now + AWAY_AFTER + 1)
    assert not page.model.watched


async def test_a_page_learns_what_was_lost_on_the_way(mutant: Mutant) -> None:
    model = ViewModel(asyncio.get_running_loop(), 30)
    page = Page(model)

    def alive(number: int) -> tuple[bool, int, int]:
        page.ask("here", number=number)
        said = page.messages[-1]
        return said["missed"], said["own"], said["all"]

    assert alive(1) == (False, 0, 0)
    model.send({"kind": "x", "view": "one"})
    model.send({"kind": "x", "view": "two"})
    model.send({"kind": "x"})
    assert alive(2) == (False, 1, 1)
    assert alive(4) == (True, 1, 1), "the third was lost"
    assert alive(5) == (False, 1, 1), "and that was said"
    page.ask("y", number=7)
    page.ask("y", number=8)
    assert alive(9) == (True, 1, 1), "the sixth"
    mutant.replace(viewmodel.AWAY_AFTER, 0.0, within=viewmodel)
    await asyncio.sleep(0.01)
    assert model.pages == []
    mutant.undo()
    assert alive(10) == (True, 0, 1), "a page that was forgotten"
    assert alive(11) == (False, 0, 1)


async def test_a_page_learns_that_a_state_was_lost_and_gets_all_of_them_again() -> None:
    model = ViewModel(asyncio.get_running_loop(), 30, x=1, y=1)
    page = Page(model)
    model.set("x", 2)
    page.ask("here", number=1)
    assert page.messages[-1]["revision"] == page.state["revision"] == 1
    heard, page.state = page.state, {}
    model.set("y", 2)
    model.set("y", 2)
    page.state = heard
    page.ask("here", number=2)
    assert page.messages[-1]["revision"] == 2 != page.state["revision"]
    page.ask("states", number=3)
    assert page.state == model.state == heard | {"y": 2, "revision": 2}


async def test_what_a_user_does_is_answered(mutant: Mutant) -> None:
    model = ViewModel(asyncio.get_running_loop(), 30)
    page, done = Page(model), list[str]()

    def asked(self: Any, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "bad":
            raise ZeroDivisionError("oh")
        done.append(kind)

    mutant.replace(ViewModel.asked, asked)
    page.ask("look", number=1)
    assert page.messages == []
    page.ask("write", number=2, act=True)
    page.ask("bad", number=3, act=True)
    model.dispose()
    page.ask("write", number=4, act=True)
    page.ask("look", number=5)
    assert done == ["look", "write", "look"], "what has stopped writes nothing"
    assert page.state["status"] == {"stopped": True}
    assert [(one["kind"], one["number"], one.get("reason", "")[:22]) for one in page.messages] == [
        ("done", 2, ""),
        ("refused", 3, "ZeroDivisionError: oh"),
        ("refused", 4, "write: this view has s"),
    ]


async def test_a_view_that_nobody_looks_at_draws_nothing_and_is_brought_up_to_date(
    mutant: Mutant,
) -> None:
    source: Subject[Any] = Subject()
    drawings: list[Any] = []
    model = LiveModel(source, lambda value: str(drawings.append(value)), 1000, asyncio.get_running_loop())
    source.on_next(1)
    await asyncio.sleep(0.02)
    assert drawings == [1]
    mutant.replace(viewmodel.AWAY_AFTER, 0.0, within=viewmodel)
    for value in range(50):
        source.on_next(value)
        await asyncio.sleep(0.002)
    assert drawings == [1]
    mutant.undo()
    page = Page(model)
    page.ask("here")
    await asyncio.sleep(0.02)
    assert drawings == [1, 49]
    model.dispose()


# -- timeline --------------------------------------------------------------------------------------------------------


async def test_a_timeline_shows_what_there_was_and_what_changed_it() -> None:
    async with (
        rxmps3.connect("memory:views-timeline", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:views-timeline", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put_all({"a/1": 1, "a/2": 2, "z": 0})
        await db.refresh()
        await other.put("a/1", 5)
        await db.delete("a/2")
        page = Page(TimelineModel(db, "a/", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 3)
        assert page.state["moment"]["changes"] == [["a/2", "2", None]]
        page.ask("go", at=2)
        await page.until(lambda: page.state["at"] == 2)
        moment = page.state["moment"]
        assert moment["changes"] == [["a/1", "1", "5"]]
        assert moment["by"] == "bob"
        assert moment["keys"] == [["a/1", "5"], ["a/2", "2"]]
        assert moment["date"] > 1e9
        await db.put("a/3", "x")
        await asyncio.sleep(0.2)
        assert (page.state["last"], page.state["at"]) == (4, 2), "it stays where it was put"
        page.ask("follow")
        await page.until(lambda: page.state["at"] == 4)
        await db.put("a/4", "y")
        await page.until(lambda: page.state["at"] == 5)
        page.ask("go", at=10**9)
        page.ask("go", at=-5)
        await page.until(lambda: page.state["at"] == 0)
        assert page.state["moment"]["keys"] == []
        page.model.dispose()


async def test_a_timeline_says_where_it_was_asked_to_go_before_it_is_there(mutant: Mutant) -> None:
    async with rxmps3.connect("memory:views-aim", by="ana", poll=0.05) as db:
        for n in range(6):
            await db.put("n", n)
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 6)
        read: list[tuple[int, int]] = []
        held = asyncio.Event()
        moment = TimelineModel._moment

        async def slow(self: TimelineModel, at: int) -> Any:
            read.append((at, self.state["aim"]))
            await held.wait()
            if at == 1:
                raise Unavailable("the bucket is out of reach")
            return await moment(self, at)

        mutant.replace(TimelineModel._moment, slow)
        page.ask("go", at=5)
        await page.until(lambda: read == [(5, 5)])
        for at in (4, 3, 2):
            page.ask("go", at=at)
            assert (page.state["aim"], page.state["at"]) == (at, 6)
        held.set()
        await page.until(lambda: page.state["at"] == 2)
        assert read == [(5, 5), (2, 2)], "what was asked for last, and nothing between"
        page.ask("go", at=1)
        assert page.state["aim"] == 1
        await page.until(lambda: page.state["problem"] != "")
        assert (page.state["aim"], page.state["at"]) == (2, 2), "where it has stayed"
        page.model.dispose()


async def test_a_timeline_plays_through_whatever_follows_it() -> None:
    async with rxmps3.connect("memory:views-play", by="ana", poll=0.05) as db:
        for n in range(6):
            await db.put("n", n)
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 6)
        shown: list[Any] = []
        page.model.shown.subscribe(shown.append)
        await page.until(lambda: len(shown) == 1)
        page.ask("play", speed=50)
        await page.until(lambda: page.state["playing"])
        await page.until(lambda: not page.state["playing"])
        assert [state.get("n") for state in shown] == [5, None, 0, 1, 2, 3, 4, 5]
        assert page.state["following"]
        page.ask("play", speed=0.1)
        await page.until(lambda: page.state["at"] == 1)
        page.ask("pause")
        assert not page.state["playing"]
        page.model.dispose()


async def test_a_timeline_that_nobody_sees_reads_nothing(mutant: Mutant) -> None:
    async with rxmps3.connect("memory:views-unseen", by="ana", poll=0.05) as db:
        for n in range(4):
            await db.put("n", n)
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 4)
        read: list[int] = []

        async def show(self: TimelineModel, at: int) -> None:
            read.append(at)
            self.set("at", at)

        mutant.replace(TimelineModel._show, show)
        mutant.replace(viewmodel.AWAY_AFTER, 0.0, within=viewmodel)
        page.ask("play", speed=50)
        await db.put("n", 4)
        await asyncio.sleep(0.3)
        assert len(read) <= 1, "the first one, which was asked for"
        seen = page.model.shown.subscribe()
        page.ask("play", speed=50)
        await page.until(lambda: 4 in read)
        page.ask("follow")
        await page.until(lambda: read[-1] == page.state["last"])
        await db.put("n", 5)
        await page.until(lambda: read[-1] == 6)
        seen.dispose()
        page.ask("follow")
        await db.put("n", 6)
        await asyncio.sleep(0.3)
        assert read[-1] == page.state["last"] == 6
        mutant.replace(viewmodel.AWAY_AFTER, 15.0, within=viewmodel)
        page.ask("here")
        await page.until(lambda: read[-1] == 7)
        page.model.dispose()


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_timeline_that_follows_the_log_reads_what_is_new(blocking: bool) -> None:
    """Not what there is since the last checkpoint, again for each version."""
    place = f"memory:views-following-{blocking}"
    async with rxmps3.connect(place, by="ana", poll=0.05) as db:
        for number in range(60):
            await db.put("k", number)
        shown = await asyncio.to_thread(rxmps3.blocking.connect, place, poll=0.05) if blocking else db
        page = Page(TimelineModel(shown, "", asyncio.get_running_loop()))
        await page.until(lambda: page.model.state["at"] == 60)
        before = shown.status.value.requests
        for number in range(10):
            await db.put("k", {"n": number})
            await page.until(lambda number=number: page.model.state["at"] == 61 + number)
            assert page.model.state["moment"]["keys"] == [["k", f'{{"n": {number}}}']]
        asked = shown.status.value.requests - before
        assert asked < 150, "60 for each, if each were read from the beginning"
        page.ask("go", at=30)
        await page.until(lambda: page.model.state["at"] == 30)
        assert page.model.state["moment"]["changes"] == [["k", "28", "29"]]
        page.model.dispose()
        if blocking:
            await asyncio.to_thread(shown.close)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_timeline_downloads_large_values_that_somebody_looks_at(blocking: bool) -> None:
    """And no others: neither what is shown, nor what is below other prefixes."""
    place = f"memory:views-large-{blocking}"
    async with rxmps3.connect(place, by="ana", poll=0.05) as db:
        for number in range(5):
            await db.put_all(
                {
                    "a/book": f"{number} " + "b" * 3_200_000, "a/n": number, "a/photo": bytes([number]) * 1_500_000,
                    "z": "z" * 100_000 + str(number),
                }
            )  # fmt: skip
    async with rxmps3.connect(place, by="eve", poll=0.05) as other:
        shown = await asyncio.to_thread(rxmps3.blocking.connect, place, poll=0.05) if blocking else other
        page = Page(TimelineModel(shown, "a/", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 5)
        _, before, after = page.state["moment"]["changes"][0]
        assert [before["large"], after["large"]] == ["3.2 MB", "3.2 MB"]
        assert before["version"] != after["version"]
        assert page.state["moment"]["keys"][2][1] == "1.5 MB of application/octet-stream"
        assert "a/book  3.2 MB → 3.2 MB" in TimelineView.__repr__(SimpleNamespace(model=page.model))  # type: ignore[arg-type]
        page.ask("play", speed=50)
        await page.until(lambda: page.state["at"] == 2)
        await page.until(lambda: page.state["at"] == 5)
        assert shown.status.value.bytes_down < 100_000
        page.ask("look", key="a/book", version=before["version"])
        await page.until(lambda: isinstance(page.state["moment"]["changes"][0][1], str))
        _, before, after = page.state["moment"]["changes"][0]
        assert before.startswith("3 bbb")
        assert after["large"] == "3.2 MB"
        assert 3_200_000 < shown.status.value.bytes_down < 3_400_000
        page.ask("go", at=4)
        await page.until(lambda: page.state["at"] == 4)
        assert page.state["moment"]["changes"][0][2] == before, "it is known from then on"
        page.ask("look", key="a/book", version="no-such")
        page.ask("look", key="a/n")
        assert page.messages[-1]["reason"] == "KeyError: 'version'"
        page.model.dispose()
        if blocking:
            await asyncio.to_thread(shown.close)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "a large value"), (1, "1 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9_940, "9.9 kB")),
        *((9_960, "10 kB"), (999_400, "999 kB"), (999_600, "1.0 MB"), (3_210_000, "3.2 MB"), (12_500_000_000, "12 GB")),
    ],
)
def test_a_size_as_people_say_it(size: int, text: str) -> None:
    assert size_text(size) == text


async def test_a_timeline_of_a_log_without_a_past_says_so() -> None:
    async with rxmps3.connect("memory:views-no-past", protocol="mps3", poll=0.05) as db:
        await db.put("a", 1)
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        await page.until(lambda: bool(page.state["problem"]))
        assert "keeps no past" in page.state["problem"]
        page.model.dispose()


async def test_a_timeline_of_a_blocking_database() -> None:
    with rxmps3.blocking.connect("memory:views-blocking", by="ana") as db:
        await asyncio.to_thread(db.put("a", 1).wait, 10)
        await asyncio.to_thread(db.put("a", 2).wait, 10)
        page = Page(TimelineModel(db, "", asyncio.get_running_loop()))
        await page.until(lambda: page.state["at"] == 2 and page.state["moment"] is not None)
        assert page.state["moment"]["changes"] == [["a", "1", "2"]]
        page.model.dispose()
        await asyncio.to_thread(db.close)


# -- presence --------------------------------------------------------------------------------------------------------


async def test_faces_say_who_is_here_and_pointers_where_they_point() -> None:
    async with (
        rxmps3.connect("memory:views-here", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:views-here", by="bob", poll=0.05, shared=False) as other,
    ):
        page = Page(PeopleModel(db.presence({"name": "Ana"}, every=0.2, ttl=5), True, asyncio.get_running_loop()))
        with other.presence({"mood": "<b>", "cursor": {"x": 0.25, "y": "no"}}, every=0.2, ttl=5):
            await page.until(lambda: len(page.state["people"]) == 2)
            ana, bob = sorted(page.state["people"], key=lambda person: person["name"])
            assert (ana["name"], ana["own"], bob["name"], bob["own"]) == ("Ana", True, "bob", False)
            assert bob["says"] == [["mood", "<b>"]]
            assert bob["cursor"] is None, "what is no place is none"
            page.ask("cursor", x=0.5, y=2)
            page.ask("cursor", x=0.5, y=0.125)
            await page.until(lambda: any(one["cursor"] == {"x": 0.5, "y": 0.125} for one in page.state["people"]))
            page.ask("cursor")
            await page.until(lambda: not any(one["cursor"] for one in page.state["people"]))
        await page.until(lambda: len(page.state["people"]) == 1)
        page.model.dispose()


async def test_a_pointer_goes_with_its_page(mutant: Mutant) -> None:
    async with rxmps3.connect("memory:views-pointer", by="ana", poll=0.05) as db:
        here = db.presence({"name": "Ana"}, every=0.2, ttl=5)
        page = Page(PeopleModel(here, True, asyncio.get_running_loop()))

        def points() -> bool:
            return bool(here.me and here.me.get("cursor"))

        page.ask("cursor", x=0.5, y=0.5)
        assert points()
        page.model.receive({"kind": "here", "view": "two"})
        page.model.receive({"kind": "bye", "view": "two"})
        assert points()
        page.ask("bye")
        assert not points()
        mutant.replace(people.LOOK_SECONDS, 0.05, within=people)
        page.ask("cursor", x=0.5, y=0.5)
        await asyncio.sleep(0.2)
        assert points()
        mutant.replace(viewmodel.AWAY_AFTER, 0.0, within=viewmodel)
        await page.until(lambda: not points())
        page.ask("cursor", x=0.5, y=0.5)
        page.model.dispose()
        assert not points(), "the view has ended, whoever else uses that presence"


# -- inspector -------------------------------------------------------------------------------------------------------


async def test_an_inspector_opens_a_database_step_by_step() -> None:
    async with rxmps3.connect("memory:views-inspect", by="ana", poll=0.05) as db:
        await db.put_all({"a/1": 1, "a/2/x": {"b": [1]}, "a": 0, "b<i>": "text", "/": 1})
        page = Page(InspectorModel(db, asyncio.get_running_loop()))
        page.ask("children", path="")
        assert page.messages[-1]["entries"] == [["/", False, 1], ["a", True, 0], ["a/", False, 2], ["b<i>", True, 0]]
        page.ask("children", path="a/")
        assert page.messages[-1]["entries"] == [["1", True, 0], ["2/", False, 1]]
        page.ask("find", text="2/X")
        assert page.messages[-1]["keys"] == ["a/2/x"]
        page.ask("watch", key="a/2/x")
        await page.until(lambda: page.messages[-1]["kind"] == "value")
        assert json.loads(page.messages[-1]["text"]) == {"b": [1]}
        await db.put("a/2/x", 7)
        await page.until(lambda: page.messages[-1]["kind"] == "value" and page.messages[-1]["text"] == "7")
        await page.until(lambda: len(page.state["log"]) == 2)
        assert [line["id"] for line in page.state["log"]] == ["2", "1"], "what was there before, too"
        assert page.state["log"][1]["more"] == 0
        assert page.state["log"][0]["keys"] == [["a/2/x", False]]
        assert page.state["log"][0]["by"] == page.state["log"][1]["by"] == "ana"
        assert page.state["log"][1]["time"] > 1e9
        assert dict(page.state["counts"])["keys"] == 5
        assert dict(page.state["counts"])["requests"] > 0
        page.ask("watch", key="gone")
        await page.until(lambda: page.messages[-1]["kind"] == "value" and page.messages[-1]["text"] is None)
        page.model.dispose()


async def test_an_inspector_says_of_bytes_how_many_and_does_not_download_them() -> None:
    async with (
        rxmps3.connect("memory:views-bytes", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:views-bytes", by="eve", poll=0.05, shared=False) as other,
    ):
        await other.put("photo", Blob(b"p" * 900_000, "image/png"))
        await db.refresh()
        page = Page(InspectorModel(db, asyncio.get_running_loop()))
        page.ask("watch", key="photo")
        await page.until(lambda: page.messages != [])
        said = page.messages[-1]
        assert (said["text"], said["bytes"], said["version"]) == (
            None,
            "900 kB of image/png",
            db.states.value["photo"].version,
        )
        await other.put("photo", "none any more")
        await page.until(lambda: page.messages[-1].get("text") == '"none any more"')
        await page.until(lambda: len(page.state["log"]) == 2)
        assert [line["keys"] for line in page.state["log"]] == [[["photo", False]]] * 2
        assert db.cost.value.rooms["values"].gets == 0, "neither for the log nor for what has changed"
        page.model.dispose()


# -- controls --------------------------------------------------------------------------------------------------------


class Optimizer(BaseModel):
    name: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(0.9, ge=0, le=1)


class Training(BaseModel):
    rate: float = Field(0.01, ge=0, le=0.1)
    paused: bool = False
    until: datetime.date | None = None
    optimizer: Optimizer = Optimizer()


@pytest.mark.parametrize("typed", [True, False])
async def test_a_form_and_a_key_are_the_same(typed: bool) -> None:
    async with rxmps3.connect(f"memory:views-form-{typed}", by="ana", poll=0.05) as db:
        key: Any = db.key("cfg", Training, default=Training()) if typed else db.key("cfg")
        page = Page(ControlsModel(Training, key, 200, asyncio.get_running_loop()))
        await page.until(lambda: page.state["value"] is not None)
        assert page.state["value"]["optimizer"] == {"name": "adam", "momentum": 0.9}
        page.ask("field", path=["rate"], value=0.05)
        page.ask("field", path=["optimizer", "name"], value="sgd")
        page.ask("field", path=["until"], value="2026-12-24")
        await asyncio.sleep(0.1)
        stored = await db.get("cfg")
        assert (stored["rate"], stored["optimizer"]["name"], stored["until"]) == (0.05, "sgd", "2026-12-24")
        page.ask("field", path=["optimizer", "momentum"], value=2)
        assert "optimizer.momentum" in page.state["wrong"]["optimizer/momentum"]
        page.ask("field", path=["optimizer", "momentum"], value=0.5)
        assert page.state["wrong"] == {}
        await db.put("cfg", stored | {"paused": True})
        await page.until(lambda: page.state["value"]["paused"])
        await db.put("cfg", "no training")
        await asyncio.sleep(0.1)
        assert bool(page.state["problem"]) or page.state["value"] is None
        page.model.dispose()


async def test_a_form_that_is_moved_fast_writes_the_last_and_few() -> None:
    async with rxmps3.connect("memory:views-fast", poll=0.05) as db:
        page = Page(
            ControlsModel(Training, db.key("cfg", Training, default=Training()), 20, asyncio.get_running_loop())
        )
        await page.until(lambda: page.state["value"] is not None)
        written: list[Any] = []
        db.changes("cfg").subscribe(written.append)
        for n in range(100):
            page.ask("field", path=["rate"], value=n / 1000)
        await asyncio.sleep(0.3)
        assert (await db.get("cfg"))["rate"] == 0.099
        assert len(written) <= 3
        page.model.dispose()


async def test_a_form_says_why_an_edit_is_not_written(mutant: Mutant) -> None:
    async with rxmps3.connect("memory:views-unwritten", by="ana", poll=0.05) as db:
        await db.put("cfg", {"rate": 0.01})
        async with rxmps3.connect("memory:views-unwritten", read_only=True, shared=False) as reader:
            page = Page(ControlsModel(Training, reader.key("cfg", Training), 200, asyncio.get_running_loop()))
            await page.until(lambda: page.state["value"] is not None)
            page.ask("field", path=["rate"], value=0.05)
            await page.until(lambda: "read_only" in page.state["problem"])
            await page.until(lambda: page.state["value"]["rate"] == 0.01)
            await db.patch("cfg", {"rate": 0.02})
            await page.until(lambda: page.state["value"]["rate"] == 0.02)
            assert page.state["problem"].startswith("Not written: "), "it stays until the next edit"
            page.model.dispose()

        def broken(self: ControlsModel, patch: Any, parts: Any) -> Any:
            return db.put("cfg", {"rate": 0.05}, if_version="another")

        page = Page(ControlsModel(Training, db.key("cfg", Training), 200, asyncio.get_running_loop()))
        await page.until(lambda: page.state["value"] is not None)
        mutant.replace(ControlsModel._patched, broken)
        page.ask("field", path=["rate"], value=0.05)
        await page.until(lambda: page.state["problem"].startswith("Not written: "))
        mutant.undo()
        page.ask("field", path=["rate"], value=0.06)
        await page.until(lambda: page.state["problem"] == "")
        assert (await db.get("cfg"))["rate"] == 0.06
        page.model.dispose()


async def test_a_form_says_that_its_database_was_closed() -> None:
    db = await rxmps3.connect("memory:")
    page = Page(ControlsModel(Training, db.key("cfg", Training, default=Training()), 200, asyncio.get_running_loop()))
    await page.until(lambda: page.state["value"] is not None)
    assert page.state["status"] is None
    await db.close()
    await page.until(lambda: page.state["status"] == {"closed": True})
    page.model.dispose()


async def test_a_view_that_could_not_be_shown_is_shown_again(mutant: Mutant) -> None:
    def broken(self: ViewModel) -> None:
        raise ZeroDivisionError("oh")

    page = Page(ViewModel(asyncio.get_running_loop(), 100))
    mutant.replace(ViewModel.show, broken)
    page.model.wake()
    await page.until(lambda: page.state["problem"] == "ZeroDivisionError: oh")
    mutant.undo()
    page.model.wake()
    await page.until(lambda: page.state["problem"] == "")


# -- arguments -------------------------------------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused() -> None:
    async with rxmps3.connect("memory:views-refused") as db:
        for call in (
            lambda: timeline(Subject()),
            lambda: inspector("db"),
            lambda: presence(Subject()),
            lambda: controls(dict, db.key("k")),
            lambda: controls(Training, "k"),  # type: ignore[arg-type]
        ):
            with pytest.raises(rxmps3.InvalidOption):
                call()
