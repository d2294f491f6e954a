"""The contract of a storage as tests. For a storage of your own::

    @pytest.mark.asyncio
    class TestMine(StorageContract):
        @pytest_asyncio.fixture
        async def storage(self):
            storage = MyStorage()
            yield storage
            await storage.close()

The fixture returns an empty storage for each test. The tests are coroutines: with pytest-asyncio's auto mode the mark
may be left out. Call ``pytest.register_assert_rewrite("rxmps3.testing.storage_contract")`` before the import for
detailed failures. Permitted differences of a server are declared by class attributes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, cast

from rxmps3.errors import Corrupt, Error, PreconditionFailed, Unavailable
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage.base import (
    ABSENT,
    Found,
    ListedVersion,
    Matches,
    Missing,
    NotModified,
    Storage,
    Stored,
    Uploads,
    VersionedStorage,
    list_all,
    read_range,
    uploads_of,
)

__all__ = ["StorageContract", "VersionedStorageContract"]

ODD_NAMES = [
    "%",
    "%2F%C3%A9",
    "%zz",
    "-",
    ".hidden",
    "...",
    "a.b/c..d/e.",
    "a~b/~",
    "key@version-1",
    "main/values/photo.jpg@k3f9-17",
    "UPPER/lower",
    "_/__",
]


@dataclass
class Refusal:
    """The error caught by `refused`."""

    error: Error | None = None


@contextmanager
def refused(*kinds: type[Error]) -> Generator[Refusal]:
    """Expect the block to raise one of these errors."""
    refusal = Refusal()
    try:
        yield refusal
    except kinds as error:
        refusal.error = error
        return
    raise AssertionError(f"nothing was refused, although {' or '.join(kind.__name__ for kind in kinds)} was due")


def found(answer: object) -> Found:
    """Assert that the answer is an object, and return it."""
    assert isinstance(answer, Found), answer
    return answer


_PART_BYTES = 5 << 20
"""The least that a part but the last has on S3."""


def _uploads(storage: Storage) -> Uploads:
    uploads = uploads_of(storage)
    if uploads is None:
        _skip("this storage writes objects only whole")
    return cast(Uploads, uploads)


class StorageContract:
    """The contract of every storage, as tests for pytest with pytest-asyncio::

    @pytest.mark.asyncio
    class TestMine(StorageContract):
        @pytest_asyncio.fixture
        async def storage(self):
            storage = MyStorage()
            yield storage
            await storage.close()
    """

    lists_in_byte_order: ClassVar[bool] = True
    """Whether a listing is ordered by the bytes of the whole name, across slashes."""
    lists_in_order: ClassVar[bool] = True
    """Whether names ascend at all, from page to page; where they do not, a listing is read to its end."""
    listing_lag: ClassVar[float] = 0.0
    """Seconds by which a listing may be behind what was put. A get by name never is."""
    checks_sha256: ClassVar[bool] = True
    """Whether a body is compared with the digest that was sent with it."""
    contenders: ClassVar[int] = 10
    """How many write at once where they compete."""
    many: ClassVar[int] = 12
    """How many objects a long listing has; more than 1,000 test the limit of a page."""
    longest_segment: ClassVar[int] = 900
    """The longest part of a name between slashes, in bytes."""

    async def names(self, storage: Storage, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """The names of a listing once it has caught up; sorted if it has no order of its own."""
        await SystemClock().sleep(self.listing_lag)
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = await storage.list(prefix, after=after, cursor=cursor, limit=limit)
            assert len(page.objects) <= limit
            names += [one.name for one in page.objects]
            cursor = page.cursor
            if cursor is None:
                return names if self.lists_in_order else sorted(names)

    # Whole objects

    async def test_bytes_come_back_as_they_were(self, storage: Storage) -> None:
        body = bytes(range(256)) * 17
        stored = await storage.put("a", body)
        answer = found(await storage.get("a"))
        assert answer.body == body
        assert answer.etag == stored.etag

    async def test_a_body_is_not_taken_for_text_or_for_packed(self, storage: Storage) -> None:
        packed = gzip.compress(b"packed", mtime=0)
        for body in (b"one\r\ntwo\n\r", b"\n", b" ", b"\xef\xbb\xbfmarked", b"a\0b\0", b"\x1a", packed):
            await storage.put("a", body)
            assert found(await storage.get("a")).body == body

    async def test_a_body_replaces_a_longer_one_whole(self, storage: Storage) -> None:
        for body in (b"a long one", b"short", b"", b"x"):
            await storage.put("a", body)
            assert found(await storage.get("a")).body == body

    async def test_an_empty_body_is_an_object(self, storage: Storage) -> None:
        await storage.put("empty", b"")
        assert found(await storage.get("empty")).body == b""
        await SystemClock().sleep(self.listing_lag)
        assert [(one.name, one.size) for one in await list_all(storage, "")] == [("empty", 0)]

    async def test_a_body_of_5_mib(self, storage: Storage) -> None:
        body = hashlib.sha256(b"5 MiB").digest() * (5 * 1024 * 1024 // 32)
        await storage.put("large", body, when=ABSENT, sha256=hashlib.sha256(body).digest())
        assert found(await storage.get("large")).body == body

    async def test_a_part_of_an_object(self, storage: Storage) -> None:
        body = bytes(range(256)) * 300
        await storage.put("a", body)
        for start, stop in ((0, 1), (0, 10), (256, 70_000), (len(body) - 1, len(body)), (len(body) - 5, len(body) + 9)):
            assert found(await read_range(storage, "a", start, stop)).body == body[start:stop]
        assert found(await read_range(storage, "a", len(body) + 5, len(body) + 9)).body == b""
        assert isinstance(await read_range(storage, "missing", 0, 10), Missing)

    async def test_an_object_in_parts_appears_when_it_is_finished(self, storage: Storage) -> None:
        uploads = _uploads(storage)
        parts = [hashlib.sha256(b"%d" % number).digest() * (_PART_BYTES // 32) for number in range(2)]
        parts.append(b"the rest")
        upload = await uploads.begin_upload("large", content_type="text/plain")
        assert isinstance(await storage.get("large"), Missing)
        etags = {
            number: await uploads.put_part("large", upload, number, parts[number - 1], start=(number - 1) * _PART_BYTES)
            for number in (3, 1, 2, 1)  # in any order, and again
        }
        assert isinstance(await storage.get("large"), Missing)
        stored = await uploads.finish_upload("large", upload, [etags[number] for number in (1, 2, 3)])
        assert stored.date is not None
        assert found(await storage.get("large")).body == b"".join(parts)
        assert found(await read_range(storage, "large", _PART_BYTES - 1, _PART_BYTES + 1)).body == (
            parts[0][-1:] + parts[1][:1]
        )

    async def test_an_upload_that_is_aborted_leaves_nothing(self, storage: Storage) -> None:
        uploads = _uploads(storage)
        await storage.put("large", b"before")
        upload = await uploads.begin_upload("large", content_type="text/plain")
        await uploads.put_part("large", upload, 1, b"part", start=0)
        await uploads.abort_upload("large", upload)
        await uploads.abort_upload("large", upload)
        with refused(Error):
            await uploads.finish_upload("large", upload, ["etag"])
        assert found(await storage.get("large")).body == b"before"
        assert await self.names(storage, "") == ["large"]

    async def test_equal_bodies_have_equal_etags_and_others_others(self, storage: Storage) -> None:
        one, same, other = [await storage.put(name, body) for name, body in [("1", b"x"), ("2", b"x"), ("3", b"y")]]
        assert one.etag == same.etag != other.etag

    async def test_own_writes_are_read(self, storage: Storage) -> None:
        for number in range(5):
            await storage.put("a", b"%d" % number)
            assert found(await storage.get("a")).body == b"%d" % number
        await storage.delete("a")
        assert isinstance(await storage.get("a"), Missing)
        assert not await self.names(storage, "")
        await storage.put("a", b"again", when=ABSENT)
        assert found(await storage.get("a")).body == b"again"

    async def test_a_missing_object_is_an_answer(self, storage: Storage) -> None:
        for name in ("missing", "missing/below", "a/b/c"):
            assert isinstance(await storage.get(name), Missing)

    async def test_delete_is_idempotent(self, storage: Storage) -> None:
        await storage.delete("never/was")
        await storage.put("a/b", b"1")
        await storage.delete("a/b")
        await storage.delete("a/b")
        assert isinstance(await storage.get("a/b"), Missing)

    async def test_delete_leaves_every_other_name(self, storage: Storage) -> None:
        others = ["a/b.c", "a/bc", "a/c", "ab", "b/a/b"]
        for name in ("a/b", *others):
            await storage.put(name, name.encode())
        await storage.delete("a/b")
        assert sorted(await self.names(storage, "")) == others
        for name in others:
            assert found(await storage.get(name)).body == name.encode()

    async def test_a_wrong_sha256_is_refused(self, storage: Storage) -> None:
        if not self.checks_sha256:
            _skip("this server does not compare checksums")
        with refused(Unavailable):
            await storage.put("a", b"body", sha256=hashlib.sha256(b"another").digest())
        assert isinstance(await storage.get("a"), Missing)

    # Evidence

    async def test_every_answer_has_the_servers_date(self, storage: Storage) -> None:
        stored = await storage.put("a", b"1")
        dates = [stored.date, found(await storage.get("a")).date]
        missing = await storage.get("b")
        unchanged = await storage.get("a", unless=stored.etag)
        assert isinstance(missing, Missing)
        assert isinstance(unchanged, NotModified)
        dates += [missing.date, unchanged.date, (await storage.list("")).date]
        for when in (ABSENT, Matches('"0123456789abcdef0123456789abcdef"')):
            with refused(PreconditionFailed) as refusal:
                await storage.put("a", b"2", when=when)
            assert isinstance(refusal.error, PreconditionFailed)
            dates.append(refusal.error.date)
        aware = [date for date in dates if date is not None and date.tzinfo is not None]
        assert len(aware) == len(dates), dates
        assert max(aware) - min(aware) < timedelta(minutes=1)

    async def test_an_object_knows_when_it_was_written(self, storage: Storage) -> None:
        stored = await storage.put("a", b"1")
        await SystemClock().sleep(self.listing_lag)
        modified = [found(await storage.get("a")).modified, (await storage.list("")).objects[0].modified]
        for moment in modified:
            assert moment is not None
            assert stored.date is not None
            assert abs(moment - stored.date) < timedelta(seconds=5)

    # Conditions

    async def test_create_if_absent(self, storage: Storage) -> None:
        await storage.put("a", b"first", when=ABSENT)
        with refused(PreconditionFailed):
            await storage.put("a", b"second", when=ABSENT)
        assert found(await storage.get("a")).body == b"first"

    async def test_of_concurrent_creators_one_wins(self, storage: Storage) -> None:
        async def create(number: int) -> bool:
            try:
                await storage.put("dir/a", b"%d" % number, when=ABSENT)
            except (PreconditionFailed, Unavailable):
                return False
            return True

        won = await asyncio.gather(*map(create, range(self.contenders)))
        assert sum(won) == 1
        assert found(await storage.get("dir/a")).body == b"%d" % won.index(True)

    async def test_replace_if_unchanged(self, storage: Storage) -> None:
        first = await storage.put("a", b"1")
        second = await storage.put("a", b"2", when=Matches(first.etag))
        with refused(PreconditionFailed):
            await storage.put("a", b"3", when=Matches(first.etag))
        answer = found(await storage.get("a"))
        assert (answer.body, answer.etag) == (b"2", second.etag)

    async def test_nothing_replaces_what_is_missing(self, storage: Storage) -> None:
        with refused(PreconditionFailed):
            await storage.put("a", b"1", when=Matches('"0123456789abcdef0123456789abcdef"'))
        assert isinstance(await storage.get("a"), Missing)

    async def test_compare_and_set_loses_nothing(self, storage: Storage) -> None:
        await storage.put("counter", b"")

        async def append(number: int) -> None:
            while True:
                now = found(await storage.get("counter"))
                try:
                    await storage.put("counter", now.body + b"%d " % number, when=Matches(now.etag))
                except (PreconditionFailed, Unavailable):
                    if b"%d " % number not in found(await storage.get("counter")).body:
                        continue
                return

        await asyncio.gather(*(append(number) for number in range(100, 100 + self.contenders)))
        numbers = found(await storage.get("counter")).body.split()
        assert sorted(map(int, numbers)) == list(range(100, 100 + self.contenders))

    async def test_get_unless_it_is_known(self, storage: Storage) -> None:
        first = await storage.put("a", b"1")
        assert isinstance(await storage.get("a", unless=first.etag), NotModified)
        await storage.put("a", b"2")
        assert found(await storage.get("a", unless=first.etag)).body == b"2"
        assert isinstance(await storage.get("b", unless=first.etag), Missing)

    async def test_get_at_most(self, storage: Storage) -> None:
        await storage.put("a", b"x" * 300_000)
        assert len(found(await storage.get("a", limit=300_000)).body) == 300_000
        with refused(Corrupt):
            await storage.get("a", limit=299_999)
        assert len(found(await storage.get("a")).body) == 300_000  # the connection is of use

    # Names and listings

    async def test_odd_names(self, storage: Storage) -> None:
        for number, name in enumerate(ODD_NAMES):
            await storage.put(name, b"%d" % number)
        for number, name in enumerate(ODD_NAMES):
            assert found(await storage.get(name)).body == b"%d" % number
        listed = await self.names(storage, "")
        assert sorted(listed) == sorted(ODD_NAMES)
        if self.lists_in_byte_order:
            assert listed == sorted(ODD_NAMES)
        assert await self.names(storage, "%") == [name for name in ODD_NAMES if name[0] == "%"]

    async def test_long_names(self, storage: Storage) -> None:
        names = [
            "/".join(["d"] * 200),
            "/".join(["e" * min(99, self.longest_segment)] * 9),
            "f" * min(900, self.longest_segment),
            "f" * (min(900, self.longest_segment) - 1) + "g",
        ]
        for name in names:
            await storage.put(name, name.encode(), when=ABSENT)
        for name in names:
            assert found(await storage.get(name)).body == name.encode()
        assert sorted(await self.names(storage, "")) == sorted(names)
        assert await self.names(storage, "d/d/") == names[:1]

    async def test_a_listing_is_by_plain_prefix(self, storage: Storage) -> None:
        for name in ("a/1", "a/2", "ab", "b/a/1"):
            await storage.put(name, b"x" * len(name))
        for prefix, expected in [
            ("", ["a/1", "a/2", "ab", "b/a/1"]),
            ("a", ["a/1", "a/2", "ab"]),
            ("a/", ["a/1", "a/2"]),
            ("a/2", ["a/2"]),
            ("b/a", ["b/a/1"]),
            ("c", []),
            ("a/1/", []),
        ]:
            assert await self.names(storage, prefix) == expected, prefix
        assert (await storage.list("ab")).objects[0].size == 2

    async def test_listings_page_by_page(self, storage: Storage) -> None:
        names = [f"log/{number:020d}" for number in range(self.many)]
        for start in range(0, len(names), 50):
            await asyncio.gather(*(storage.put(name, b"1") for name in names[start : start + 50]))
        await storage.put("lof", b"1")
        await storage.put("log0", b"1")
        for limit in (1, 2, 1000):
            for after in ("", names[0], names[-3], "log/5", names[-1], "log/~"):
                if limit * 100 < self.many:
                    continue
                got = await self.names(storage, "log/", after=after, limit=limit)
                assert got == [name for name in names if name > after], (limit, after)

    async def test_what_a_listing_hides_is_there_by_name(self, storage: Storage) -> None:
        for number in range(3):
            await storage.put(f"log/{number}", b"1", when=ABSENT)
            assert isinstance(await storage.get(f"log/{number}"), Found)
            with refused(PreconditionFailed):
                await storage.put(f"log/{number}", b"2", when=ABSENT)
        shown = {one.name for one in await list_all(storage, "log/")}
        assert shown <= {"log/0", "log/1", "log/2"}
        assert await self.names(storage, "log/") == ["log/0", "log/1", "log/2"]

    async def test_order_across_slashes(self, storage: Storage) -> None:
        if not self.lists_in_byte_order:
            _skip("this server orders by directory")
        names = sorted(["a-b", "a.b/1", "a/1", "a/b/1", "a/b-1", "a0", "a1/1", "b"])
        for name in reversed(names):
            await storage.put(name, b"1")
        assert await self.names(storage, "") == names
        for index, after in enumerate(names):
            assert await self.names(storage, "", after=after) == names[index + 1 :]
            page = await storage.list("", after=after, limit=2)
            rest = await storage.list("", after=after, cursor=page.cursor) if page.cursor else None
            got = [one.name for one in (*page.objects, *(rest.objects if rest else ()))]
            assert got == names[index + 1 :]

    # The storage itself

    async def test_its_url_says_where_it_is(self, storage: Storage) -> None:
        assert storage.url.partition(":")[0].isalnum()

    async def test_the_longest_name_fits(self, storage: Storage) -> None:
        name = "/".join(["n" * 99] * 11)[: storage.name_limit].rstrip("/")
        await storage.put(name, b"1", when=ABSENT)
        assert found(await storage.get(name)).body == b"1"

    async def test_close_twice(self, storage: Storage) -> None:
        await storage.put("a", b"1")
        await storage.close()
        await storage.close()


class VersionedStorageContract(StorageContract):
    """The contract of a storage that keeps every version."""

    async def versions(self, storage: VersionedStorage, prefix: str, limit: int = 1000) -> list[ListedVersion]:
        """All versions below a prefix, from as many pages as it takes."""
        listed: list[ListedVersion] = []
        cursor = None
        while True:
            page = await storage.list_versions(prefix, cursor=cursor, limit=limit)
            assert len(page.versions) <= limit
            assert page.date is not None
            listed += page.versions
            cursor = page.cursor
            if cursor is None:
                return listed

    async def test_every_put_is_a_version(self, storage: Storage) -> None:
        stored = [await storage.put("a", b"%d" % number) for number in (1, 2, 1)]
        ids = [one.version for one in stored]
        assert None not in ids
        assert len(set(ids)) == 3
        newest = found(await storage.get("a"))
        assert (newest.body, newest.version) == (b"1", ids[2])
        for one, body in zip(stored, (b"1", b"2", b"1"), strict=True):
            answer = found(await storage.get("a", version=one.version))
            assert (answer.body, answer.version, answer.etag) == (body, one.version, one.etag)

    async def test_versions_are_listed_newest_first(self, storage: Storage) -> None:
        versioned = cast(VersionedStorage, storage)
        ids: dict[str, list[str | None]] = {}
        for name in ("b", "a", "b/c@%41", "b", "a", "b", "ab"):
            ids.setdefault(name, []).insert(0, (await storage.put(name, name.encode())).version)
        for limit in (1, 2, 1000):
            for prefix in ("", "a", "b/"):
                listed = await self.versions(versioned, prefix, limit)
                names = sorted(name for name in ids if name.startswith(prefix))
                assert [(one.name, one.version) for one in listed] == [(name, id) for name in names for id in ids[name]]
                assert [one.version for one in listed if one.is_latest] == [ids[name][0] for name in names]
                assert not any(one.is_delete_marker for one in listed)

    async def test_delete_leaves_a_marker(self, storage: Storage) -> None:
        versioned = cast(VersionedStorage, storage)
        first = await storage.put("a", b"1")
        await storage.delete("a")
        assert isinstance(await storage.get("a"), Missing)
        assert not (await storage.list("")).objects
        marker, kept = await self.versions(versioned, "a")
        assert marker.is_delete_marker
        assert marker.is_latest
        assert (kept.version, kept.is_latest, kept.is_delete_marker) == (first.version, False, False)
        assert isinstance(await storage.get("a", version=marker.version), Missing)
        assert found(await storage.get("a", version=first.version)).body == b"1"
        await storage.put("a", b"2", when=ABSENT)
        await storage.delete("a", version=marker.version)
        assert [one.is_delete_marker for one in await self.versions(versioned, "a")] == [False, False]

    async def test_delete_one_version(self, storage: Storage) -> None:
        versioned = cast(VersionedStorage, storage)
        first, second, third = [await storage.put("a", b"%d" % number) for number in (1, 2, 3)]
        await storage.delete("a", version=second.version)
        await storage.delete("a", version=second.version)
        assert [one.version for one in await self.versions(versioned, "a")] == [third.version, first.version]
        assert isinstance(await storage.get("a", version=second.version), Missing)
        await storage.delete("a", version=third.version)
        assert found(await storage.get("a")).body == b"1"
        await storage.delete("a", version=first.version)
        assert isinstance(await storage.get("a"), Missing)
        assert not await self.versions(versioned, "")

    async def test_concurrent_puts_are_all_kept(self, storage: Storage) -> None:
        stored: list[Stored] = await asyncio.gather(
            *(storage.put("a", b"%d" % number) for number in range(self.contenders))
        )
        listed = await self.versions(cast(VersionedStorage, storage), "a")
        assert {one.version for one in listed} == {one.version for one in stored}
        newest = found(await storage.get("a"))
        assert [one.version for one in listed if one.is_latest] == [newest.version] == [listed[0].version]


def _skip(reason: str) -> None:
    import pytest

    pytest.skip(reason)
