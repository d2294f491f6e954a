"""Export, import and copy: round trips, files that are not whole, and being broken off anywhere."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3.cli import transfer
from rxmps3.cli.transfer import BATCH_KEYS, Moved, copy, export_to, import_from
from rxmps3.errors import Corrupt, Unsupported
from rxmps3.log.sequenced.verify import verify
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage, MemoryStorage, Storage
from rxmps3.testing import CountingStorage, FaultyStorage, fail_on, offline
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.mutating import Mutant
from tests.transfer.files import ODD, a_file, expected, opened, texts

KINDS = ("memory", "file")


def storage_of(kind: str, tmp_path: Path, name: str) -> Storage:
    return MemoryStorage() if kind == "memory" else DirectoryStorage(tmp_path / name, SystemClock())


async def exported(db: rxmps3.Database, prefix: str = "") -> str:
    file = io.StringIO()
    await export_to(db, file, prefix=prefix)
    return file.getvalue()


# -- round trips ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
async def test_what_was_exported_and_imported_or_copied_is_the_same(source: str, target: str, tmp_path: Path) -> None:
    here = await opened(storage_of(source, tmp_path, "here"))
    await here.put_all({**ODD, "old": 1})
    await here.delete("old")
    text = await exported(here)
    there = await opened(storage_of(target, tmp_path, "there"))
    assert await import_from(there, io.StringIO(text)) == Moved(len(ODD), len(ODD), 0)
    assert await texts(there) == expected(ODD)
    again = await opened(storage_of(target, tmp_path, "again"), inline_limit=10)
    assert await copy(here, again) == Moved(len(ODD), len(ODD), 0)
    assert await texts(again) == expected(ODD)
    assert (await exported(again)).splitlines()[1:] == text.splitlines()[1:]
    for db in (here, there, again):
        await db.close()
    for name, kind in (("here", source), ("there", target), ("again", target)):
        if kind == "file":
            assert (await verify(storage_of(kind, tmp_path, name), "main")).ok


async def test_a_second_run_writes_nothing() -> None:
    here, there = await opened(MemoryStorage()), await opened(MemoryStorage())
    await here.put_all(ODD)
    text = await exported(here)
    await import_from(there, io.StringIO(text))
    head = there.status.value.head
    assert await import_from(there, io.StringIO(text)) == Moved(len(ODD), 0, len(ODD))
    assert await copy(here, there) == Moved(len(ODD), 0, len(ODD))
    await there.put_all({"a": 1.0, "none": rxmps3.MISSING, "besides": 1})
    assert await copy(here, there) == Moved(len(ODD), 2, len(ODD) - 2)
    assert await texts(there) == expected({**ODD, "besides": 1})
    assert there.status.value.head == str(int(head) + 2)
    await here.close()
    await there.close()


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (1.0, True), (0, False), (None, rxmps3.MISSING)])
async def test_values_that_python_calls_equal_are_not_the_same(before: Any, after: Any) -> None:
    here, there = await opened(MemoryStorage()), await opened(MemoryStorage())
    await here.put_all({"k": before, "x": 1})
    await there.put_all({"k": after, "x": 1})
    assert await copy(here, there) == Moved(2, 1, 1)
    assert await texts(there) == expected({"k": before, "x": 1})
    await here.close()
    await there.close()


async def test_an_empty_database_is_moved_and_writes_nothing() -> None:
    here, there = MemoryStorage(), MemoryStorage()
    source, target = await opened(here), await opened(there)
    text = await exported(source)
    assert len(text.splitlines()) == 2
    assert await import_from(target, io.StringIO(text)) == Moved()
    assert await copy(source, target) == Moved()
    assert [(await storage.list("")).objects for storage in (here, there)] == [[], []]
    await source.close()
    await target.close()


async def test_only_what_starts_with_the_prefix() -> None:
    here, there = await opened(MemoryStorage()), await opened(MemoryStorage(), manifest="other")
    await here.put_all({"todo/1": 1, "todo/2": 2, "todo": 3, "tod": 4, "z": 5})
    text = await exported(here, "todo/")
    assert json.loads(text.splitlines()[0])["prefix"] == "todo/"
    assert await import_from(there, io.StringIO(text)) == Moved(2, 2, 0)
    assert await copy(here, there, prefix="todo") == Moved(3, 1, 2)
    assert await texts(there) == expected({"todo": 3, "todo/1": 1, "todo/2": 2})
    assert (await exported(here, "nothing")).splitlines()[-1].startswith('{"keys":0,')
    await here.close()
    await there.close()


async def test_the_file_is_sorted_and_says_where_it_is_from() -> None:
    db = await opened(MemoryStorage(), manifest="a b")
    await db.put_all({"b": 2, "a": [1, {"y": 1, "x": None}]})
    assert (await exported(db)).splitlines()[:3] == [
        '{"format":1,"manifest":"a b","prefix":"","rxmps3":"export","version":"1"}',
        '{"key":"a","value":[1,{"x":null,"y":1}]}',
        '{"key":"b","value":2}',
    ]
    await db.close()


async def test_progress_reaches_the_end_a_batch_at_a_time() -> None:
    count = 2 * BATCH_KEYS + 1
    here, there = await opened(MemoryStorage()), await opened(MemoryStorage())
    await here.put_all({f"{number:04}": number for number in range(count)})
    told: dict[str, list[tuple[int, int]]] = {"export": [], "import": [], "copy": []}

    def note(what: str) -> Callable[[int, int], None]:
        return lambda done, total: told[what].append((done, total))

    file = io.StringIO()
    await export_to(here, file, progress=note("export"))
    file.seek(0)
    await import_from(there, file, progress=note("import"))
    await copy(here, there, progress=note("copy"))
    steps = [(BATCH_KEYS, count), (2 * BATCH_KEYS, count), (count, count)]
    assert told == {"export": steps, "import": steps, "copy": steps}
    assert there.status.value.head == "3"
    await here.close()
    await there.close()


async def test_an_export_shows_one_moment() -> None:
    """What is put while it runs is not in it."""
    storage = FaultyStorage(MemoryStorage())
    writer = await opened(storage)
    await writer.put_all({"a": 1, "large": "x" * 9000, "z": 1})
    reader = await opened(storage)

    async def put_meanwhile(request: Any, proceed: Any, faults: Any) -> Any:
        if "/values/" in request.name:
            storage.plan = ()
            await writer.put_all({"a": 2, "large": 2, "z": 2})
            await reader.refresh()
        return await proceed()

    storage.plan = put_meanwhile
    lines = (await exported(reader)).splitlines()
    assert json.loads(lines[0])["version"] == "1"
    assert [json.loads(line)["value"] for line in lines[1:-1]] == [1, "x" * 9000, 1]
    await writer.close()
    await reader.close()


# -- files that are not whole --------------------------------------------------------------------------------------


async def refused(*texts_: str | io.StringIO) -> list[Exception | None]:
    """How imports of these end; what fails has asked nothing of the storage and written nothing to it."""
    storage = CountingStorage(MemoryStorage())
    ends: list[Exception | None] = []
    db = await opened(storage)
    for text in texts_:
        storage.reset()
        try:
            await import_from(db, io.StringIO(text) if isinstance(text, str) else text)
        except Exception as error:
            ends.append(error)
            assert "put" not in storage.counts, storage.requests
            assert db.status.value.pending == 0
        else:
            ends.append(None)
    if all(ends):
        assert (await storage.list("")).objects == []
    await db.close()
    return ends


async def small_export() -> str:
    db = await opened(MemoryStorage())
    await db.put_all({"a": 1, "b": ["ü", None], "c": {"x": "y"}})
    text = await exported(db)
    await db.close()
    return text


async def test_a_file_that_ends_anywhere_before_its_end_is_refused() -> None:
    text = await small_export()
    ends = await refused(*(text[:end] for end in range(len(text) - 1)))
    assert {type(end) for end in ends} == {Corrupt}
    assert await refused(text[:-1]) == [None]


async def test_a_file_that_was_altered_anywhere_is_refused() -> None:
    text = await small_export()
    header = text.index("\n")
    altered = [
        text[:at] + sign + text[at + 1 :]
        for at in range(header + 1, len(text) - 1)
        for sign in ("0" if text[at] != "0" else "1", "", text[at] * 2)
        if sign != text[at : at + 1]
    ]
    ends = await refused(*altered)
    assert [text for text, end in zip(altered, ends, strict=True) if not isinstance(end, Corrupt)] == []
    headers = [text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :] for at in range(header)]
    assert {type(end) for end in await refused(*headers)} <= {Corrupt, Unsupported, type(None)}


FOREIGN: dict[str, str | io.StringIO] = {
    "nothing": "",
    "blank lines": "\n\n",
    "no JSON": "hello\nworld\n",
    "a number": "7\n7\n7\n",
    "JSON lines of another program": '{"key": "a", "value": 1}\n{"keys": 1}\n',
    "a footer alone": '{"keys":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}\n',
    "a header alone": '{"rxmps3":"export","format":1}\n',
    "a deep header": "[" * 100_000 + "\n",
    "a long number": "9" * 10_000 + "\n",
    "two files in one": a_file({"key": "a", "value": 1}).getvalue() * 2,
    "a line without a key": a_file({"key": "a", "value": 1}, {"value": 1}),
    "a line without a value": a_file({"key": "a", "value": 1}, {"key": "b"}),
    "a line that is no object": a_file({"key": "a", "value": 1}, "[]"),
    "a line that is no JSON": a_file({"key": "a", "value": 1}, "hello"),
    "an empty line": a_file({"key": "a", "value": 1}, ""),
    "a key that is no text": a_file({"key": "a", "value": 1}, {"key": 1, "value": 1}),
    "an empty key": a_file({"key": "a", "value": 1}, {"key": "", "value": 1}),
    "a key that is too long": a_file({"key": "a", "value": 1}, {"key": "k" * 5000, "value": 1}),
    "a key that is not Unicode": a_file({"key": "a", "value": 1}, {"key": "\ud800", "value": 1}),
    "a value that is not Unicode": a_file({"key": "a", "value": 1}, {"key": "b", "value": "\ud800"}),
    "a value too deep": a_file({"key": "a", "value": 1}, '{"key":"b","value":' + "[" * 500 + "]" * 500 + "}"),
    "an infinite value": a_file({"key": "a", "value": 1}, '{"key":"b","value":1e999}'),
    "NaN": a_file({"key": "a", "value": 1}, '{"key":"b","value":NaN}'),
}


@pytest.mark.parametrize("what", FOREIGN)
async def test_a_file_that_is_no_export_is_refused(what: str) -> None:
    file = FOREIGN[what]
    if not isinstance(file, str):
        file.seek(0)
    (error,) = await refused(file)
    assert isinstance(error, (Corrupt, rxmps3.InvalidKey, rxmps3.InvalidValue)), repr(error)


async def test_a_file_whose_faults_come_after_a_whole_batch_is_refused_before_anything_is_written() -> None:
    lines = [{"key": f"{number:04}", "value": number} for number in range(BATCH_KEYS + 5)]
    faults = [{"value": 1}, {"key": "k"}, "[]", {"key": "", "value": 1}, {"key": "k", "value": "\ud800"}]
    ends = await refused(*(a_file(*lines, fault) for fault in faults))
    assert all(isinstance(end, (Corrupt, rxmps3.InvalidKey, rxmps3.InvalidValue)) for end in ends), ends
    assert await refused(a_file(*lines)) == [None]


@pytest.mark.parametrize("format", [2, 0, "1", None, True, 1.5])
async def test_a_file_of_another_format_is_refused(format: Any) -> None:
    (error,) = await refused(a_file({"key": "a", "value": 1}, header={"format": format}))
    assert isinstance(error, (Unsupported, Corrupt))


async def test_a_file_with_other_line_ends_or_a_member_more_is_fine() -> None:
    assert await refused(a_file({"key": "a", "value": 1, "note": "new"}, header={"made": "later"})) == [None]


# -- broken off ----------------------------------------------------------------------------------------------------

MANY = {f"{number:03}": number for number in range(5)} | {"large": "L" * 5000, "larger": "M" * 6000, "z": None}


@pytest.fixture
def small_batches(mutant: Mutant) -> None:
    """Three keys at once, so that few keys take several batches."""
    mutant.replace(transfer.BATCH_KEYS, 3, within=transfer)


class Cut:
    """A plan that lets so many requests through, then none."""

    def __init__(self, after: int) -> None:
        self.left = after
        self._none = offline()

    async def __call__(self, request: Any, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
        self.left -= 1
        return await (proceed() if self.left >= 0 else self._none(request, proceed, faults))


async def filled(clock: SimClock, values: dict[str, Any]) -> MemoryStorage:
    storage = MemoryStorage(clock=clock)
    db = await opened(storage, clock)
    await db.put_all(values)
    await db.close()
    return storage


async def broken_off(work: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the work did not end well within a minute of virtual time."""
    try:
        await asyncio.wait_for(work(), 60)
    except (rxmps3.Error, TimeoutError):
        return True
    return False


async def abandon(*databases: rxmps3.Database) -> None:
    for db in databases:
        try:
            await db.close(timeout=0)
        except rxmps3.NotSent:
            pass


def moves_in_spite_of_a_cut(
    move: Callable[[rxmps3.Database, rxmps3.Database], Awaitable[Moved]], *, of: str
) -> list[int]:
    """Break a move off after each number of requests, run it again, and compare. Returns what was left to do."""
    left: list[int] = []

    async def once(after: int) -> bool:
        clock = SimClock(f"cut {after}")
        source, target = await filled(clock, MANY), MemoryStorage(clock=clock)
        faulty = FaultyStorage(source if of == "source" else target, (), clock=clock)
        here = await opened(faulty if of == "source" else source, clock)
        there = await opened(faulty if of == "target" else target, clock)
        faulty.plan = Cut(after)
        broke = await broken_off(lambda: move(here, there))
        await abandon(here, there)
        faulty.plan = ()
        here, there = await opened(source, clock), await opened(target, clock)
        partial = await texts(there)
        whole = expected(MANY)
        assert all(whole[key] == text for key, text in partial.items())
        moved = await move(here, there)
        assert moved == Moved(len(MANY), len(MANY) - len(partial), len(partial))
        assert await texts(there) == whole
        assert (await verify(target, "main")).ok
        left.append(moved.written)
        await abandon(here, there)
        return broke

    for after in range(200):
        if not run_virtually(once(after)):
            return left
    raise AssertionError("it never gets through")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("of", ["source", "target"])
def test_a_copy_broken_off_anywhere_goes_on_where_it_stopped(of: str) -> None:
    left = moves_in_spite_of_a_cut(lambda here, there: copy(here, there), of=of)
    assert left[0] == len(MANY)
    assert left[-1] == 0
    if of == "target":
        assert any(0 < written < len(MANY) for written in left)


@pytest.mark.usefixtures("small_batches")
def test_an_import_broken_off_anywhere_goes_on_where_it_stopped() -> None:
    async def through_a_file(here: rxmps3.Database, there: rxmps3.Database) -> Moved:
        return await import_from(there, io.StringIO(await exported(here)))

    left = moves_in_spite_of_a_cut(through_a_file, of="target")
    assert left[0] == len(MANY)
    assert left[-1] == 0
    assert any(0 < written < len(MANY) for written in left)


@pytest.mark.usefixtures("small_batches")
def test_an_export_broken_off_anywhere_leaves_a_file_that_is_refused() -> None:
    async def once(after: int) -> bool:
        clock = SimClock(f"export {after}")
        source = await filled(clock, MANY)
        faulty = FaultyStorage(source, (), clock=clock)
        db = await opened(faulty, clock)
        faulty.plan = Cut(after)
        file = io.StringIO()
        broke = await broken_off(lambda: export_to(db, file))
        assert broke == (await refused(file.getvalue()) != [None])
        await abandon(db)
        return broke

    broke = [run_virtually(once(after)) for after in range(5)]
    assert broke[0]
    assert not broke[-1]
    assert broke == sorted(broke, reverse=True)


@pytest.mark.parametrize("error", [rxmps3.AccessDenied, rxmps3.Unavailable])
def test_a_move_that_may_not_read_says_so(error: type[rxmps3.Error]) -> None:
    async def scenario() -> None:
        clock = SimClock("denied")
        faulty = FaultyStorage(await filled(clock, MANY), (), clock=clock)
        here, there = await opened(faulty, clock), await opened(MemoryStorage(clock=clock), clock)
        faulty.plan = fail_on(lambda request: "/values/" in request.name, lambda: error("no", object="value"))
        with pytest.raises(error):
            await copy(here, there)
        with pytest.raises(error):
            await export_to(here, io.StringIO())
        await abandon(here, there)

    run_virtually(scenario())


def test_a_value_that_is_not_what_the_log_says_is_not_moved() -> None:
    async def scenario() -> None:
        clock = SimClock("corrupt")
        source = await filled(clock, {"a": 1, "large": "L" * 5000})
        page = await source.list("main/values/")
        await source.put(page.objects[0].name, b'"' + b"M" * 5000 + b'"')
        here, there = await opened(source, clock), await opened(MemoryStorage(clock=clock), clock)
        file = io.StringIO()
        with pytest.raises(Corrupt):
            await export_to(here, file)
        assert isinstance((await refused(file.getvalue()))[0], Corrupt)
        with pytest.raises(Corrupt):
            await copy(here, there)
        assert await texts(there) == {}
        await abandon(here, there)

    run_virtually(scenario())
