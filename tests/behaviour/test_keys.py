"""A key as a two-way stream."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, Optional

import pytest
import reactivex
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretBytes,
    SecretStr,
    field_serializer,
    field_validator,
    model_validator,
)
from reactivex import Subject
from reactivex import operators as ops
from reactivex.subject import BehaviorSubject
from typing_extensions import TypedDict

import rxmps3
from rxmps3 import MISSING
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import connect, home_thread
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, looks, offline, player, players, trace
from tests.behaviour.test_emissions_threads import on_a_thread
from tests.conftest import Place


@dataclass
class Point:
    x: int
    y: float = 0.5


async def test_a_key_is_observable_observer_and_live() -> None:
    async with connect(MemoryStorage()) as db:
        gain = db.key("gain", float, default=1.0)
        seen: list[float] = []
        gain.subscribe(seen.append)
        assert gain.value == 1.0
        reactivex.of(2.0, 3.0).subscribe(gain)
        assert gain.value == 3.0
        assert await gain.put(4.0) == gain_version(db, "gain")
        assert seen == [1.0, 2.0, 3.0, 4.0]
        await gain.delete()
        assert gain.value == 1.0
        assert "gain" not in db


def gain_version(db: rxmps3.Database, key: str) -> str:
    return db.states.value[key].version


async def test_what_the_view_holds_already_is_not_written_again() -> None:
    storage = CountingStorage(MemoryStorage())
    async with connect(storage, poll=60) as db:
        await db.put("gain", 0)
        storage.reset()
        sliders = [Subject[Any]() for _ in range(5)]
        for slider in sliders:
            slider.subscribe(db.key("gain"))
        for slider in sliders:
            slider.on_next(7)
        assert [receipt.keys for receipt in db.pending.value] == [("gain",)]
        await db.pending.value[0]
        assert len(storage.requests) == 1


async def test_put_writes_always() -> None:
    async with connect(MemoryStorage()) as db:
        key = db.key("k")
        assert await key.put(1) != await key.put(1)


async def test_a_source_that_ends_or_fails_leaves_the_key_alive() -> None:
    async with connect(MemoryStorage()) as db:
        failures: list[rxmps3.Failure] = []
        db.errors.subscribe(failures.append)
        key = db.key("k")
        seen: list[Any] = []
        key.subscribe(seen.append)
        reactivex.of(1).subscribe(key)
        reactivex.throw(ValueError("broken slider")).subscribe(key)
        reactivex.of(2).subscribe(key)
        assert seen == [None, 1, 2]
        assert [str(failure.error) for failure in failures] == ["broken slider"]


async def test_values_are_validated_on_write() -> None:
    async with connect(MemoryStorage()) as db:
        point = db.key("point", Point, default=Point(0))
        await point.put(Point(3))
        assert point.value == Point(3)
        assert await db.get("point") == {"x": 3, "y": 0.5}
        with pytest.raises(rxmps3.InvalidValue, match=r"key 'point'.*x: .*integer"):
            point.put({"x": "three"})  # pyright: ignore[reportArgumentType]
        assert point.value == Point(3)


async def test_a_bad_value_is_reported_and_skipped_not_the_end() -> None:
    async with connect(MemoryStorage()) as db:
        failures: list[rxmps3.Failure] = []
        db.errors.subscribe(failures.append)
        seen: list[int] = []
        db.key("n", int, default=0).subscribe(seen.append)
        await db.put("n", "not a number")
        await db.put("n", 5)
        assert seen == [0, 5]
        assert len(failures) == 1
        assert isinstance(failures[0].error, rxmps3.InvalidValue)
        bad = db.key("n", int)
        bad.on_next("x")  # pyright: ignore[reportArgumentType]
        assert len(failures) == 2


async def test_entries_tell_pending_version_and_cause() -> None:
    storage = MemoryStorage()
    async with (
        connect(storage, shared=False, by="alice") as alice,
        connect(storage, shared=False, by="bob") as bob,
    ):
        trace: list[tuple[Any, bool, str, str]] = []
        alice.key("k", default="none").entries().subscribe(
            lambda entry: trace.append((entry.value, entry.pending, entry.cause, entry.by))
        )
        version = await alice.put("k", 1)
        assert alice.states.value["k"].version == version
        await bob.put("k", 2)
        await alice.refresh()
        assert trace == [
            ("none", False, "remote", ""),
            (1, True, "own", "alice"),
            (1, False, "own", "alice"),
            (2, False, "remote", "bob"),
        ]


async def test_value_before_it_is_loaded_says_so() -> None:
    async with connect(MemoryStorage()) as db:
        other = db.manifest("other")
        with pytest.raises(rxmps3.NotLoaded, match="not loaded yet"):
            _ = other.key("k").value
        await other.get("k")
        assert other.key("k").value is None


async def test_keys_compose() -> None:
    async with connect(MemoryStorage()) as db:
        celsius, fahrenheit = db.key("celsius", float, default=0.0), db.key("fahrenheit", float, default=32.0)
        celsius.pipe(ops.map(lambda degrees: degrees * 9 / 5 + 32)).subscribe(fahrenheit)
        await celsius.put(100.0)
        assert fahrenheit.value == 212.0


# -- what is written ---------------------------------------------------------------------------------------------


async def test_five_sliders_bound_both_ways_and_one_move_are_one_put(place: Place) -> None:
    async with players(place, "a") as (db,):
        sliders = [BehaviorSubject[Any](1.0) for _ in range(5)]
        for slider in sliders:
            slider.subscribe(db.key("gain", float, default=1.0))
            db.key("gain", float, default=1.0).subscribe(slider)
        assert db.pending.value == ()
        sliders[2].on_next(7.0)
        assert [slider.value for slider in sliders] == [7.0] * 5
        assert [receipt.keys for receipt in db.pending.value] == [("gain",)]
        await db.pending.value[0]
        assert await db.get("gain") == 7.0


async def test_what_is_shown_as_the_default_is_not_written_unless_put() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("k", int, default=3)
        key.on_next(3)
        assert db.pending.value == ()
        await key.put(3)
        assert await db.get("k") == 3


async def test_a_large_value_that_is_not_at_hand_is_not_written_again() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", LARGE)
        await looks(b)
        b.key("k").on_next(LARGE)
        assert b.pending.value == ()
        b.key("k").on_next(LARGE + "!")
        assert len(b.pending.value) == 1


async def test_a_default_that_is_no_value_of_the_type_deletes() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        nothing, missing, plain = db.key("n", int), db.key("m", int, default=MISSING), db.key("p", default=MISSING)
        for key in (nothing, missing, plain):
            await key.put(5)
        nothing.on_next(None)
        missing.on_next(MISSING)
        plain.on_next(MISSING)
        assert db.keys() == []
        assert (nothing.value, missing.value, plain.value) == (None, MISSING, MISSING)
        waiting = db.pending.value
        nothing.on_next(None)
        missing.on_next(MISSING)
        plain.on_next(MISSING)
        assert db.pending.value == waiting
        with pytest.raises(rxmps3.InvalidValue):
            missing.put(None)  # pyright: ignore[reportArgumentType]


async def test_keys_bound_to_each_other_delete_each_other() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        left, right = db.key("left", int, default=MISSING), db.key("right", int, default=MISSING)
        left.subscribe(right)
        right.subscribe(left)
        left.put(1)
        assert right.value == 1
        right.delete()
        assert left.value is MISSING
        assert db.keys() == []


async def test_a_default_of_none_hides_null_whatever_the_type() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, errors = db.key("n", int), trace(db.errors)
        seen = trace(key)
        await db.put("n", None)
        assert (seen, key.value, errors) == ([None], None, [])


async def test_a_null_that_is_shown_as_the_default_is_left_alone_unless_deleted() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put("k", None)
        key = db.key("k", int)
        key.on_next(None)
        assert "k" in db
        key.on_next(MISSING)  # pyright: ignore
        assert "k" not in db


async def test_a_default_is_one_of_the_type_where_it_can_be() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        assert repr(db.key("k", float, default=1).value) == "1.0"
        assert db.key("k", Decimal, default=Decimal("0.10")).value == Decimal("0.10")


@pytest.mark.parametrize("cause", ["closed", "read_only", "overloaded", "key"])
async def test_a_source_learns_nothing_of_what_hinders_a_write(cause: str) -> None:
    options: dict[str, Any] = {"read_only": {"read_only": True}, "overloaded": {"max_pending": 1}}.get(cause, {})
    async with players(MemoryStorage(), "a", **options) as (db,):
        errors, source = trace(db.errors), Subject[Any]()
        source.subscribe(db.key("k"))
        if cause == "closed":
            await db.close()
        for number in range(2):
            source.on_next(number if cause != "key" else {1: number})
        expected = {"closed": 0, "read_only": 2, "overloaded": 1, "key": 2}[cause]
        assert len([error for error in errors if error != "completed"]) == expected


# -- types -------------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Account(BaseModel):
    name: str
    colour: Colour = Colour.RED
    since: date = date(2026, 1, 1)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    since: date
    pair: tuple[int, int]


class Aliased(BaseModel):
    user_name: str = Field(alias="userName")


class Movie(TypedDict):
    title: str
    year: int


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Account, Account(name="ana"), {"name": "ana", "colour": "red", "since": "2026-01-01"}),
        (Strict, Strict(since=date(2026, 1, 2), pair=(1, 2)), {"since": "2026-01-02", "pair": [1, 2]}),
        (Aliased, Aliased(userName="ana"), {"userName": "ana"}),
        (Movie, {"title": "Ran", "year": 1985}, {"title": "Ran", "year": 1985}),
        (Point, Point(1), {"x": 1, "y": 0.5}),
        (list[Point], [Point(1), Point(2)], [{"x": 1, "y": 0.5}, {"x": 2, "y": 0.5}]),
        (dict[int, date], {1: date(2026, 1, 2)}, {"1": "2026-01-02"}),
        (date | None, date(2026, 1, 2), "2026-01-02"),
        (Literal["a", "b"], "b", "b"),
        (bytes, b"abc", b"abc"),
        (bytes | None, b"\xff", b"\xff"),
        (Optional[rxmps3.Blob], rxmps3.Blob(b"\xff", "image/png"), b"\xff"),  # noqa: UP045
        (frozenset[int], frozenset({1}), [1]),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
async def test_values_come_back_as_they_were(kind: Any, value: Any, stored: Any) -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        seen = trace(b.key("k", kind))
        await a.key("k", kind).put(value)
        assert await a.get("k") == stored
        await looks(b)
        assert seen == [None, value]
        assert isinstance(seen[1], type(value))
        a.key("k", kind).on_next(value)
        assert a.pending.value == ()


async def test_bytes_or_none() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        icon = db.key("icon", bytes | None, default=b"none yet")
        icon.put(None)
        assert (icon.value, await db.get("icon", default=0)) == (None, None)
        with pytest.raises(rxmps3.InvalidValue, match="not bytes: 'text'"):
            icon.put("text")
        with pytest.raises(rxmps3.InvalidValue, match="not bytes: None"):
            db.key("icon", bytes, default=b"").put(None)


async def test_an_object_that_was_changed_after_it_was_made_is_checked_on_write() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        account = Account(name="ana")
        account.name = 5  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(rxmps3.InvalidValue, match=r"put key 'k'.*name: .*string"):
            db.key("k", Account).put(account)
        with pytest.raises(rxmps3.InvalidValue, match=r"key 'k'.*JSON"):
            db.key("k", float).put(float("nan"))
        assert "k" not in db


class Unfinished(BaseModel):
    other: Nowhere  # noqa: F821  # pyright: ignore


class Login(BaseModel):
    user: Any
    password: SecretStr = SecretStr("")
    tokens: dict[str, SecretBytes] = {}


class Kept(BaseModel):
    password: SecretStr = Field(SecretStr(""), exclude=True)
    shown: str = "**********"


class Told(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def text(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Hidden(SecretStr):
    def _display(self) -> str:
        return "<hidden>"


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (SecretStr, SecretStr("x"), "the value itself"),
        (SecretBytes, SecretBytes(b"x"), "the value itself"),
        (Hidden, Hidden("x"), "the value itself"),
        (SecretStr | None, SecretStr("x"), "the value itself"),
        (Login, Login(user=1, password=SecretStr("x")), "password"),
        (Login, Login(user=[SecretStr("x")]), "user.0"),
        (list[Login], [Login(user=1, tokens={"a": SecretBytes(b"x")})], "0.tokens.a"),
        (dict[SecretStr, int], {SecretStr("x"): 1}, "0"),
    ],
)
async def test_a_secret_is_refused_and_its_mask_is_not_stored(kind: Any, value: Any, where: str) -> None:
    async with connect(MemoryStorage()) as db:
        key = db.key("k", kind)
        with pytest.raises(rxmps3.InvalidValue, match=f"key 'k': a secret would be stored as its mask: {where}; "):
            key.put(value)
        assert "k" not in db


async def test_what_only_looks_like_a_mask_is_stored() -> None:
    """A field that is excluded, or told by a serializer of its own; an empty secret; text with asterisks."""
    async with connect(MemoryStorage()) as db:
        for kind, value, stored in (
            (Kept, Kept(password=SecretStr("x")), {"shown": "**********"}),
            (Told, Told(password=SecretStr("***")), {"password": "***"}),
            (SecretStr, SecretStr(""), ""),
            (Login, Login(user="*"), {"user": "*", "password": "", "tokens": {}}),
        ):
            key: Any = db.key("k", kind)
            await key.put(value)
            assert await db.get("k") == stored


async def test_what_pydantic_cannot_check_is_refused_at_once() -> None:
    class Opaque: ...

    async with players(MemoryStorage(), "a") as (db,):
        for kind in (Opaque, "Nowhere", Unfinished):
            with pytest.raises(rxmps3.InvalidOption, match=r"key 'k'.*(Opaque|Nowhere|Unfinished)"):
                db.key("k", kind)


class Careless(BaseModel):
    """Its validator expects a dict, and raises what pydantic does not take for a validation error of anything else."""

    text: str

    @model_validator(mode="before")
    @classmethod
    def from_a_title(cls, stored: Any) -> Any:
        return {"text": stored["title"]} if "title" in stored else stored


async def test_a_validator_that_fails_in_whatever_way_is_a_bad_value_not_the_end() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, errors = db.key("k", Careless), trace(db.errors)
        values, entries = trace(key), trace(key.entries())
        for stored in ({"title": "one"}, 5, {"text": "two"}):
            await db.put("k", stored)
        assert values == [None, Careless(text="one"), Careless(text="two")]
        assert [type(entry.error).__name__ for entry in entries if entry.pending] == [
            "NoneType",
            "InvalidValue",
            "NoneType",
        ]
        await db.put("k", 5)
        with pytest.raises(rxmps3.InvalidValue, match=r"key 'k'.*TypeError"):
            _ = key.value
        assert {type(failure.error) for failure in errors} == {rxmps3.InvalidValue}


@pytest.mark.parametrize("kind", [Annotated[Any, PlainSerializer(lambda value: 1 / 0)]], ids=["own"])
async def test_what_cannot_be_dumped_is_an_invalid_value(kind: Any) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, errors = db.key("k", kind), trace(db.errors)
        with pytest.raises(rxmps3.InvalidValue, match=r"put key 'k': does not fit its type"):
            key.put(b"\xff")
        reactivex.of(b"\xff").subscribe(key)
        assert [type(failure.error) for failure in errors] == [rxmps3.InvalidValue]
        assert "k" not in db


class Tags(BaseModel):
    tags: frozenset[int]
    order: list[int] = []


class Remark(BaseModel):
    text: str


class PinnedRemark(BaseModel):
    text: str
    pinned: bool = False


@pytest.mark.parametrize(
    ("kind", "stored", "shown"),
    [
        (float, 1, 1.0),
        (PinnedRemark, {"text": "a"}, PinnedRemark(text="a")),
        (Careless, {"title": "a"}, Careless(text="a")),
        (date | None, "2026-01-02", date(2026, 1, 2)),
        (Decimal, 1.5, Decimal("1.5")),
    ],
    ids=str,
)
async def test_a_value_of_another_shape_that_is_shown_already_is_not_written(
    kind: Any, stored: Any, shown: Any
) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put("k", stored)
        key = db.key("k", kind)
        assert key.value == shown
        key.on_next(key.value)
        key.on_next(shown)
        assert db.pending.value == ()
        await key.put(shown)
        db.put("k", ["does not fit"])
        key.on_next(shown)
        assert key.value == shown
        await eventually(lambda: not db.pending.value)


async def test_two_releases_of_a_program_that_bind_one_key_come_to_rest() -> None:
    async with players(MemoryStorage(), "old", "new") as (old, new):
        versions = trace(old.versions)
        before, after = old.key("k", Remark), new.key("k", PinnedRemark)
        before.subscribe(before)
        after.subscribe(after)
        await before.put(Remark(text="a"))
        for _ in range(3):
            await looks(new, old)
            for db in (new, old):
                await eventually(lambda db=db: not db.pending.value)
        await after.put(PinnedRemark(text="b", pinned=True))
        for _ in range(3):
            await looks(old, new)
            for db in (old, new):
                await eventually(lambda db=db: not db.pending.value)
        assert len(versions) == 2
        assert await old.get("k") == {"text": "b", "pinned": True}


async def test_a_set_is_the_same_in_whatever_order_it_was_stored() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        changes = trace(db.changes())
        key, model = db.key("set", set[int], default={8, 0}), db.key("model", Tags)
        key.on_next({0, 8})
        assert changes == []
        for stored in ([16, 8, 0], [0, 8, 16]):
            db.put("set", stored)
            db.put("model", {"tags": stored, "order": [1, 2]})
            changes.clear()
            key.on_next({0, 8, 16})
            model.on_next(Tags(tags=frozenset({8, 16, 0}), order=[1, 2]))
            assert changes == []
        model.on_next(Tags(tags=frozenset({8, 16, 0}), order=[2, 1]))
        key.on_next({0, 8})
        assert [change.key for change in changes] == ["model", "set"]


async def test_the_order_of_a_set_does_not_hide_that_numbers_differ() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, changes = db.key("k", list[Any]), trace(db.changes())
        for value in ([1, 2], [1.0, 2], [True, 2], [2, True]):
            key.on_next(value)
        assert len(changes) == 4


async def test_a_default_that_is_a_sign_is_handed_out_itself() -> None:
    nothing, lock = object(), Lock()
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("k", default=nothing)
        values, entries = trace(key), trace(key.entries())
        assert values[0] is entries[0].value is key.value is nothing
        assert db.key("k", default=lock).value is lock
        await db.put("k", 1)
        key.on_next(key.value)
        assert db.pending.value == ()
        key.on_next(nothing)
        assert "k" not in db


async def test_a_default_beside_its_type_that_can_be_changed_is_the_reader_s_own() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("k", int, default=[])
        key.value.append(1)
        assert key.value == []
        await db.put("k", 1)
        key.on_next([])
        assert "k" not in db


async def test_a_bad_value_and_back_emits_nothing_to_values_and_an_error_to_entries() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, errors = db.key("n", int, default=0), trace(db.errors)
        values, entries = trace(key), trace(key.entries())
        for value in (5, "many", 5, "more", MISSING, "none", 6):
            await db.put("n", value)
        assert values == [0, 5, 0, 6]
        shown = [(entry.value, entry.error is not None) for entry in entries if entry.pending]
        assert shown == [(5, False), (0, True), (5, False), (0, True), (0, False), (0, True), (6, False)]
        assert isinstance(entries[3].error, rxmps3.InvalidValue)
        assert {type(failure.error) for failure in errors} == {rxmps3.InvalidValue}
        assert "key 'n'" in str(errors[0])


async def test_value_of_a_key_whose_value_does_not_fit_raises_what_is_wrong() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put("n", "many")
        with pytest.raises(rxmps3.InvalidValue, match=r"key 'n'.*integer"):
            _ = db.key("n", int).value


class Task(BaseModel):
    """The second shape: the first was a title alone, or had ``done`` as a number."""

    title: str
    done: bool = False

    @model_validator(mode="before")
    @classmethod
    def from_a_title(cls, stored: Any) -> Any:
        return {"title": stored} if isinstance(stored, str) else stored

    @field_validator("done", mode="before")
    @classmethod
    def from_a_number(cls, stored: Any) -> Any:
        return stored == 100 if type(stored) is int else stored


async def test_old_shapes_are_read_as_new_ones_by_before_validators() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        tasks = {"task/1": "milk", "task/2": {"title": "rent", "done": 100}, "task/3": {"title": "tea", "done": False}}
        await db.put_all(tasks)
        read = [db.key(name, Task).value for name in tasks]
        assert read == [Task(title="milk"), Task(title="rent", done=True), Task(title="tea")]
        await db.key("task/1", Task).put(Task(title="milk", done=True))
        assert await db.get("task/1") == {"title": "milk", "done": True}


# -- the present value, threads, life ----------------------------------------------------------------------------


async def test_value_is_that_of_any_thread_s_put_at_once() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("n", int, default=0)

        def work() -> int:
            key.on_next(1)
            return key.value

        assert on_a_thread(work) == 1
        assert key.value == 1


async def test_values_from_many_threads_arrive_on_the_loop_s_thread_and_the_last_one_stays() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        here, key = home_thread(), db.key("n", int, default=-1)
        seen: list[tuple[int, bool]] = []
        key.subscribe(lambda value: seen.append((value, threading.get_ident() == here)))

        def work() -> None:
            for number in range(50):
                key.on_next(number)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await eventually(lambda: seen[-1][0] == key.value)
        assert all(on_loop for _, on_loop in seen)
        assert key.value == 49
        await eventually(lambda: not db.pending.value)
        assert await db.get("n") == 49


async def test_trouble_of_a_source_on_a_thread_is_told_on_the_loop() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        here, told = home_thread(), list[bool]()
        db.errors.subscribe(lambda failure: told.append(threading.get_ident() == here))
        key = db.key("n", int)
        on_a_thread(lambda: key.on_next("x"))  # pyright: ignore[reportArgumentType]
        on_a_thread(lambda: key.on_error(LookupError()))
        on_a_thread(key.on_completed)
        await eventually(lambda: len(told) == 2)
        assert told == [True, True]


@pytest.mark.parametrize("stream", ["values", "entries"])
async def test_a_disposed_subscription_is_told_nothing_more(stream: str) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key, seen = db.key("k"), list[Any]()
        subscription = (key if stream == "values" else key.entries()).subscribe(seen.append)
        subscription.dispose()
        subscription.dispose()
        await key.put(1)
        assert len(seen) == 1
        again = trace(key)
        assert again == [1]


async def test_disposing_while_a_value_is_awaited_forgets_it() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", LARGE)
        await looks(b)
        seen: list[Any] = []
        subscriptions = [b.key("k").subscribe(seen.append), b.key("k").entries().subscribe(seen.append)]
        held = await gate.held()
        for subscription in subscriptions:
            subscription.dispose()
        held.let_go()
        await b.put("other", 1)
        assert seen == []


# -- entries -----------------------------------------------------------------------------------------------------


def told(entry: rxmps3.KeyEntry[Any]) -> tuple[Any, bool, str, str]:
    return entry.value, entry.pending, entry.cause, entry.by


async def test_entries_tell_of_a_write_taken_back() -> None:
    gate = Gate(part="/log/", verbs=("put",), shut=False)
    async with players(gate, "a") as (db,):
        await db.put("k", 1)
        entries = trace(db.key("k").entries())
        gate.shut = True
        db.put("other", 1)
        held = await gate.held()  # one commit at a time: the next write is not sent
        receipt = db.put("k", 2)
        assert receipt.cancel()
        gate.shut = False
        held.let_go()
        with pytest.raises(rxmps3.Rejected):
            await receipt
        assert [entry.cause for entry in entries] == ["own", "own", "rollback"]
        assert [(entry.value, entry.pending) for entry in entries] == [(1, False), (2, True), (1, False)]
        assert entries[2].version == entries[0].version != entries[1].version


async def test_entries_begin_with_a_pending_write_and_who_made_it() -> None:
    storage = Switch()
    async with players(storage, "alice") as (db,):
        await db.put("other", 1)
        storage.error = offline
        db.put("k", 1)
        [entry] = trace(db.key("k").entries())
        assert told(entry) == (1, True, "own", "alice")
        storage.error = None
        await db.pending.value[0]
        [entry] = trace(db.key("k").entries())
        assert told(entry) == (1, False, "own", "alice")


async def test_entries_tell_who_overtook_an_own_write(place: Place) -> None:
    async with players(place, "alice", "bob") as (alice, bob):
        entries = trace(alice.key("k", default="none").entries())
        await bob.put("k", "b1")
        await alice.put("k", "a")
        await bob.put("k", "b2")
        await looks(alice)
        await eventually(lambda: told(entries[-1])[0] == "b2")
        values = [told(entry) for entry in entries]
        assert values[0] == ("none", False, "remote", "")
        assert ("a", True, "own", "alice") in values
        assert ("a", False, "own", "alice") in values
        assert values[-1] == ("b2", False, "remote", "" if place.protocol == "mps3" else "bob")


async def test_entries_tell_what_comes_from_the_disk_and_when_the_bucket_was_read(tmp_path: Path) -> None:
    storage, local = Switch(), tmp_path / "local"
    async with player(storage, local=local) as db:
        await db.put_all({"k": 1, "other": 1})
    storage.error = offline
    async with player(storage, local=local, poll=Subject[None]()) as db, players(storage.inner, "b") as (b,):
        key, other = trace(db.key("k").entries()), trace(db.key("other").entries())
        assert [(entry.value, entry.from_cache) for entry in key] == [(1, True)]
        storage.error = None
        await b.put("other", 2)
        await looks(db)
        assert [(entry.value, entry.from_cache) for entry in key] == [(1, True), (1, False)]
        shown = [(entry.value, entry.from_cache) for entry in other]
        assert (shown[0], shown[-1]) == ((1, True), (2, False))
        assert (2, True) not in shown
        storage.error = offline
        db.put("k", 3)
        assert [(entry.value, entry.from_cache) for entry in key[2:]] == [(3, False)]
        storage.error = None
        await db.pending.value[0]


async def test_entries_are_not_from_the_disk_where_there_is_none() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        other = trace(db.manifest("other").key("k").entries())
        await db.manifest("other").refresh()
        assert [entry.from_cache for entry in other] == [False]


# -- the emission contract, for every stream of a key ------------------------------------------------------------


def streams_of(db: rxmps3.Database, kind: Any) -> list[list[Any]]:
    """The values, and the values of the entries, as they come."""
    key = db.key("k", kind, default=0) if kind else db.key("k", default=0)
    values, entries = list[Any](), list[Any]()
    key.subscribe(values.append, on_completed=lambda: values.append("completed"))
    key.entries().subscribe(
        lambda entry: entries.append(entry.value) if entry.value not in entries[-1:] else None,
        on_completed=lambda: entries.append("completed"),
    )
    return [values, entries]


@pytest.mark.parametrize("kind", [None, int], ids=["untyped", "typed"])
class TestEveryStreamOfAKey:
    async def test_begins_with_the_present_value_once_loaded_then_changes_in_order(
        self, kind: Any, place: Place
    ) -> None:
        async with players(place, "a", "b") as (a, b):
            await a.manifest("m").put("k", 1)
            other = b.manifest("m")
            streams = streams_of(other, kind)
            assert streams == [[], []]
            await other.refresh()
            await eventually(lambda: streams == [[1], [1]])
            await other.put("k", 2)
            await a.manifest("m").put("k", 3)
            await other.refresh()
            await eventually(lambda: streams == [[1, 2, 3], [1, 2, 3]])

    async def test_sees_a_put_inside_an_observer_in_order(self, kind: Any) -> None:
        async with players(MemoryStorage(), "a") as (db,):

            def count_on(value: int) -> None:
                if 0 < value < 4:
                    db.put("k", value + 1)

            db.subscribe("k", count_on, 0)
            streams = streams_of(db, kind)
            db.put("k", 1)
            assert streams == [[0, 1, 2, 3, 4]] * 2

    async def test_loses_only_the_observer_that_raises(self, kind: Any) -> None:
        async with players(MemoryStorage(), "a") as (db,):
            errors, key = trace(db.errors), db.key("k", kind or Any, default=0)

            def fragile(item: Any) -> None:
                raise LookupError

            key.subscribe(fragile)
            key.entries().subscribe(fragile)
            streams = streams_of(db, kind)
            await db.put("k", 1)
            assert streams == [[0, 1], [0, 1]]
            assert len(errors) == 2

    async def test_lives_through_trouble_and_completes_when_the_database_closes(self, kind: Any) -> None:
        storage = Switch()
        async with players(storage, "a") as (db,):
            await db.put("k", 1)
            streams = streams_of(db, kind)
            storage.error = offline
            with pytest.raises(rxmps3.Unavailable):
                await db.refresh()
            db.put("k", 2)
            storage.error = None
            await db.pending.value[0]
        assert streams == [[1, 2, "completed"]] * 2

    async def test_is_never_awaited_and_takes_no_coroutine_function(self, kind: Any) -> None:
        async def handler(item: Any) -> None:
            raise AssertionError(item)

        async with players(MemoryStorage(), "a") as (db,):
            key = db.key("k", kind or Any, default=0)
            for stream in (key, key.entries()):
                with pytest.raises(TypeError, match=r"await db\.get"):
                    await stream
                with pytest.raises(TypeError, match=r"db\.iterate"):
                    stream.subscribe(handler)  # pyright: ignore


async def test_items_of_every_stream_of_a_key_are_the_reader_s_own() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("k", list[int], default=[0])
        values, others, entries = trace(key), trace(key), trace(key.entries())
        for stored in ([0], [1]):
            values[-1].append(9)
            entries[-1].value.append(9)
            assert others[-1] == stored == key.value
            db.put("k", [1])
        await eventually(lambda: not db.pending.value)
        assert trace(key.entries())[0].value == [1]
