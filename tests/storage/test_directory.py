"""What is particular about the storage in a directory: paths, processes, and the troubles of disks."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxmps3
from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Error,
    InvalidKey,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import ABSENT, Found, Matches, MemoryStorage, Missing, Storage, directory, list_all
from rxmps3.storage.directory import DirectoryStorage
from rxmps3.storage.paths import Paths
from rxmps3.testing import ManualClock, StorageContract
from tests.mutating import Mutant

SEGMENTS = st.one_of(
    st.text(st.sampled_from("abAB=.-%/ é\n"), max_size=6),
    st.builds(str.__mul__, st.sampled_from(["a", "=", "é", "."]), st.sampled_from([84, 85, 126, 127, 254, 255, 256])),
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(lambda name: 0 < len(name.encode()) <= 1024)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> DirectoryStorage:
    return DirectoryStorage(root, SystemClock())


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class TestWithoutLinks(StorageContract):
    """On a file system that has no hard links, creates take the lock."""

    @pytest.fixture
    def storage(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        return DirectoryStorage(root, SystemClock())


class TestIgnoringCase(StorageContract):
    """On a file system that ignores case, capital letters are escaped."""

    @pytest.fixture
    def storage(self, root: Path) -> Storage:
        (root / ".=rxmps3" / "tmp").mkdir(parents=True)
        (root / ".=rxmps3" / "ignores-case").touch()
        return DirectoryStorage(root, SystemClock())

    async def test_no_two_names_differ_by_case_on_disk(self, storage: Storage, root: Path) -> None:
        for name in ("a/b", "A/b", "a/B", "A%2F"):
            await storage.put(name, b"1", when=ABSENT)
        paths = [name.lower() for name in files(root)]
        assert len(set(paths)) == len(paths)
        assert len(await list_all(storage, "")) == 4


# Paths


async def test_objects_are_where_people_look(storage: DirectoryStorage, root: Path) -> None:
    await storage.put("main/head", b"1", when=ABSENT)
    await storage.put("main/head", b"2", when=Matches('"c4ca4238a0b923820dcc509a6f75849b"'))
    await storage.put("main/values/a%2Fb@v-1", b"3")
    assert (root / "main/head").read_bytes() == b"2"
    assert (root / "main/values/a%2Fb@v-1").read_bytes() == b"3"
    assert [name for name in files(root) if not name.startswith(".=")] == ["main/head", "main/values/a%2Fb@v-1"]


@given(NAMES, st.booleans())
def test_paths_are_reversible_and_stay_inside(name: str, ignores_case: bool) -> None:
    paths = Paths(ignores_case=ignores_case)
    components = paths.components(name)
    assert all(0 < len(os.fsencode(one)) <= 255 and "/" not in one for one in components)
    assert not {".", "..", ".=rxmps3"} & set(components)
    segments: list[str] = []
    begun: tuple[str, ...] = ()
    for one in components:
        if one.endswith("=") and one != "=":
            begun = (*begun, one)
            continue
        segment = paths.segment(one, begun)
        assert segment is not None
        segments.append(segment)
        begun = ()
    assert "/".join(segments) == name


@given(NAMES, st.sampled_from([str.swapcase, str.lower, str.upper, str]))
def test_where_case_is_ignored_paths_still_differ(name: str, change: Callable[[str], str]) -> None:
    paths = Paths(ignores_case=True)
    other = change(name)
    same = "/".join(paths.components(name)).lower() == "/".join(paths.components(other)).lower()
    assert same == (name == other)


@given(st.sets(NAMES, min_size=1, max_size=12), NAMES | st.just(""), st.data())
def test_listings_are_in_the_order_of_names(names: set[str], after: str, data: st.DataObject) -> None:
    names = {name for name in names if not any(other.startswith(name + "/") for other in names)}
    some = data.draw(st.sampled_from(sorted(names)))
    prefix = some[: data.draw(st.integers(0, len(some)))]

    async def check(path: Path) -> None:
        storage = DirectoryStorage(path, ManualClock())
        for name in names:
            await storage.put(name, name.encode(), when=ABSENT)
        expected = sorted(name for name in names if name.startswith(prefix) and name > after)
        assert [one.name for one in await list_all(storage, prefix, after=after)] == expected
        got: list[str] = []
        cursor = None
        while True:
            page = await storage.list(prefix, after=after, cursor=cursor, limit=2)
            got += [one.name for one in page.objects]
            if (cursor := page.cursor) is None:
                break
        assert got == expected

    with tempfile.TemporaryDirectory() as path:
        asyncio.run(check(Path(path)))


async def test_files_of_others_are_no_objects(storage: DirectoryStorage, root: Path) -> None:
    await storage.put("a", b"1")
    for path in ("with space", "=zz", "=41", "b=/c", "=C3/x", "ünicode"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"?")
    os.mkfifo(root / "pipe")
    (root / "natural").write_bytes(b"yes")
    assert [one.name for one in await list_all(storage, "")] == ["a", "natural"]
    assert isinstance(await storage.get("natural"), Found)
    assert isinstance(await storage.get("pipe"), Missing)


async def test_reading_creates_nothing(storage: DirectoryStorage, root: Path) -> None:
    assert isinstance(await storage.get("a"), Missing)
    assert not await list_all(storage, "")
    await storage.delete("a")
    await storage.close()
    assert not root.exists()


async def test_an_object_beside_objects_below_it(storage: DirectoryStorage) -> None:
    await storage.put("a", b"1")
    await storage.put("b/c", b"1")
    for when in (None, ABSENT):
        for name in ("a/x", "a/x/y", "b"):
            with pytest.raises(Unsupported, match="beside"):
                await storage.put(name, b"2", when=when)
    await storage.delete("b")
    assert [one.name for one in await list_all(storage, "")] == ["a", "b/c"]


async def test_a_file_is_no_directory(root: Path, storage: DirectoryStorage) -> None:
    root.write_text("a file")
    for verb in (storage.get("a"), storage.put("a", b"1"), storage.list("")):
        with pytest.raises(BucketNotFound):
            await verb


async def test_a_directory_of_another_kind_of_file_system(
    storage: DirectoryStorage, root: Path, mutant: Mutant
) -> None:
    await storage.put("a", b"1")
    mutant.replace(directory._ignores_case, lambda _: True)
    moved = DirectoryStorage(root, SystemClock())
    for _ in range(2):  # the first refusal lets no later put through
        with pytest.raises(Unsupported, match="ignores case"):
            await moved.put("b", b"1")


async def test_a_new_directory_notices_that_case_is_ignored(
    storage: DirectoryStorage, root: Path, mutant: Mutant
) -> None:
    assert isinstance(await storage.get("A"), Missing)
    mutant.replace(directory._ignores_case, lambda _: True)
    await storage.put("A", b"1")
    assert "=41" in files(root)
    assert isinstance(await storage.get("A"), Found)


async def test_time_is_the_clocks(root: Path) -> None:
    clock = ManualClock()
    storage = DirectoryStorage(root, clock)
    await storage.put("a", b"1")
    written = clock.now()
    await clock.advance(3600.000001)
    answer = await storage.get("a")
    assert isinstance(answer, Found)
    assert (answer.modified, answer.date) == (written, clock.now())
    assert (await storage.list("")).objects[0].modified == written


# Processes


SCRIPT = """
    import asyncio, json, sys
    from rxmps3.runtime.clock import SystemClock
    from rxmps3.errors import PreconditionFailed
    from rxmps3.storage import ABSENT, Matches
    from rxmps3.storage.directory import DirectoryStorage

    async def main(storage, me):
    {body}

    sys.stdin.readline()
    asyncio.run(main(DirectoryStorage(sys.argv[1], SystemClock()), sys.argv[2]))
"""


def start(root: Path, me: str, body: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(SCRIPT).format(body=textwrap.indent(textwrap.dedent(body), "    "))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(root), me],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def race(root: Path, body: str, count: int = 2) -> list[Any]:
    processes = [start(root, str(number), body) for number in range(count)]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


async def test_two_processes_create(storage: DirectoryStorage, root: Path) -> None:
    won = race(
        root,
        """
        won = []
        for number in range(150):
            try:
                await storage.put(f"log/{number:05d}", me.encode(), when=ABSENT)
                won.append(number)
            except PreconditionFailed:
                pass
        print(json.dumps(won))
        """,
    )
    assert sorted(won[0] + won[1]) == list(range(150))
    for me, numbers in enumerate(won):
        for number in numbers:
            answer = await storage.get(f"log/{number:05d}")
            assert isinstance(answer, Found)
            assert answer.body == str(me).encode()


async def test_two_processes_compare_and_set(storage: DirectoryStorage, root: Path) -> None:
    await storage.put("counter", b"0")
    race(
        root,
        """
        for _ in range(50):
            while True:
                now = await storage.get("counter")
                try:
                    await storage.put("counter", b"%d" % (int(now.body) + 1), when=Matches(now.etag))
                    break
                except PreconditionFailed:
                    pass
        print("null")
        """,
    )
    answer = await storage.get("counter")
    assert isinstance(answer, Found)
    assert answer.body == b"100"


async def test_killed_writers_leave_nothing_torn(storage: DirectoryStorage, root: Path) -> None:
    body = """
    for number in range(100_000):
        await storage.put(f"log/{me}-{number}", b"x" * 1_000_000, when=ABSENT)
    """
    writers = [start(root, str(number), body) for number in range(2)]
    for process in writers:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    while len(await list_all(storage, "log/")) < 20:
        await asyncio.sleep(0.01)
    for process in writers:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert {one.size for one in await list_all(storage, "")} == {1_000_000}
    (root / ".=rxmps3/tmp/left-behind").write_bytes(b"torn")
    await DirectoryStorage(root, SystemClock()).put("a", b"1")
    assert not list((root / ".=rxmps3/tmp").iterdir())


async def test_temporary_files_of_the_living_are_spared(
    storage: DirectoryStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = asyncio.Event()
    loop = asyncio.get_running_loop()
    swept = asyncio.Event()
    fsync = os.fsync

    def slow(file: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        loop.call_soon_threadsafe(under_way.set)
        asyncio.run_coroutine_threadsafe(swept.wait(), loop).result()
        fsync(file)

    await storage.put("before", b"1")
    monkeypatch.setattr(os, "fsync", slow)
    put = asyncio.ensure_future(storage.put("a", b"1", when=ABSENT))
    await under_way.wait()
    await DirectoryStorage(root, SystemClock()).put("b", b"1")
    swept.set()
    await put
    assert isinstance(await storage.get("a"), Found)


async def test_a_directory_that_vanishes_is_made_again(storage: DirectoryStorage, root: Path) -> None:
    await storage.put("a/b", b"1")
    shutil.rmtree(root)
    assert isinstance(await storage.get("a/b"), Missing)
    await storage.put("a/b", b"2", when=ABSENT)
    shutil.rmtree(root)
    with pytest.raises(PreconditionFailed):
        await storage.put("a/b", b"3", when=Matches('"x"'))


# Troubles


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.EACCES, AccessDenied, "let this user write below"),
        (errno.EPERM, AccessDenied, "let this user write below"),
        (errno.EROFS, AccessDenied, "let this user write below"),
        (errno.ENOSPC, Unavailable, "make room on the disk"),
        (errno.EDQUOT, Unavailable, "make room on the disk"),
        (errno.EIO, Unavailable, "look after the disk"),
        (errno.ENAMETOOLONG, InvalidKey, "too long"),
    ],
)
@pytest.mark.parametrize("function", ["write", "fsync", "utime"])
async def test_disks_in_trouble(
    storage: DirectoryStorage,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    kind: type[Error],
    remedy: str,
) -> None:
    await storage.put("a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, _failing(number))
        with pytest.raises(kind, match=remedy) as caught:
            await storage.put("b", b"2")
        assert type(caught.value) is kind
    assert [one.name for one in await list_all(storage, "")] == ["a"]
    await storage.put("b", b"2", when=ABSENT)


async def test_unreadable_files(storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.put("a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(errno.EACCES))
        for verb in (storage.get("a"), storage.put("b", b""), storage.delete("a")):
            with pytest.raises(AccessDenied):
                await verb
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", _failing(errno.EIO))
        with pytest.raises(Unavailable):
            await storage.list("")


async def test_no_locks(storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", _failing(errno.ENOLCK))
    with pytest.raises(Unsupported, match="no file locks"):
        await storage.put("a", b"1")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(Unsupported, match="POSIX"):
        await storage.put("a", b"1")


async def test_versions_are_refused(storage: DirectoryStorage) -> None:
    for verb in (storage.get("a", version="1"), storage.delete("a", version="1")):
        with pytest.raises(Unsupported):
            await verb


def _failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


async def test_a_temporary_file_that_another_sweeps_before_it_is_locked_is_made_again(
    storage: DirectoryStorage, root: Path, mutant: Mutant
) -> None:
    await storage.put("a", b"1")
    lock, temporary, swept = directory._flock, root / ".=rxmps3/tmp", list[str]()

    def late(file: int, *, wait: bool = True) -> None:
        if wait and not swept:
            swept.extend(path.name for path in temporary.iterdir())
            DirectoryStorage(root, SystemClock())._sweep()
        lock(file, wait=wait)

    mutant.replace(directory._flock, late)
    await storage.put("a", b"2")
    assert len(swept) == 1
    assert isinstance(found := await storage.get("a"), Found)
    assert found.body == b"2"
    assert not list(temporary.iterdir())


async def test_the_first_puts_may_come_at_once(tmp_path: Path) -> None:
    for number in range(30):
        storage = DirectoryStorage(tmp_path / str(number), clock=SystemClock())
        await asyncio.gather(*(storage.put(f"a/b/c/{name}", b"x") for name in range(4)))
        assert [listed.name for listed in await list_all(storage, "")] == [f"a/b/c/{name}" for name in range(4)]
        await storage.close()


# -- links, pipes and who may read -----------------------------------------------------------------------------------


async def test_what_is_no_regular_file_below_real_directories_is_no_object(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    storage = DirectoryStorage(root, SystemClock())
    await storage.put("a/real", b"1")
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "a" / "link").symlink_to(outside / "secret")
    (root / "out").symlink_to(outside)
    (root / "a" / "loop").symlink_to(root)
    os.mkfifo(root / "a" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(root / "a")  # the path of a socket is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(before)
        async with asyncio.timeout(10):
            assert [one.name for one in await list_all(storage, "")] == ["a/real"]
            for name in ("a/link", "out/secret", "a/loop/a/real", "a/pipe", "a/socket", "a/loop"):
                assert isinstance(await storage.get(name), Missing), name
            for name in ("out/secret", "out/new", "a/loop/a/real"):
                with pytest.raises(Unsupported, match="symbolic link"):
                    await storage.put(name, b"2")
            with pytest.raises(Unsupported, match="symbolic link"):
                await storage.delete("out/secret")
            await storage.put("a/link", b"3")
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (root / "a" / "link").read_bytes() == b"3"


async def test_a_pipe_among_the_temporary_files_holds_nobody_up(tmp_path: Path) -> None:
    await DirectoryStorage(tmp_path, SystemClock()).put("a", b"1")
    (temporary,) = (path for path in tmp_path.rglob("tmp") if path.is_dir())
    os.mkfifo(temporary / "pipe")
    async with asyncio.timeout(10):
        await DirectoryStorage(tmp_path, SystemClock()).put("a", b"2")


async def test_what_is_kept_locally_is_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with rxmps3.connect(MemoryStorage(), local=tmp_path / "local") as db:
            await db.put_all({"a": 1, "large": "L" * 9000})
            await db.get("large")
    finally:
        os.umask(before)
    found = list((tmp_path / "local").rglob("*"))
    assert any(path.is_file() for path in found)
    for path in (tmp_path / "local", *found):
        if path.parent != tmp_path or path.name != "local":
            assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"
