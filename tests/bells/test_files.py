"""The bell of ``file:``: news of other processes by the file system's notifications."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import bells, blocking
from rxmps3.bells import watching
from rxmps3.bells.files import FileBell, is_local
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage
from tests.behaviour.helpers import eventually, trace
from tests.cli.commands import rxmps3 as command
from tests.mutating import Mutant


def put(url: str, value: int) -> None:
    """Commit a value in another process."""
    done = command("put", url, "k", str(value))
    assert done.code == 0, done.err


async def test_what_another_process_commits_is_seen_at_once(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/db"
    await asyncio.to_thread(put, url, 0)
    async with rxmps3.connect(url, poll=600) as db:
        seen = trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell and seen)
        for number in range(1, 3):
            await asyncio.to_thread(put, url, number)
            await eventually(lambda number=number: seen[-1] == number)
    assert not watching._watches
    assert watching._observer is None


async def test_a_database_that_is_not_there_yet_is_noticed(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/not/yet/db"
    async with rxmps3.connect(url, poll=600) as db:
        seen = trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell and seen)
        assert not (tmp_path / "not").exists()
        await asyncio.to_thread(put, url, 1)
        await eventually(lambda: seen[-1] == 1)
        await asyncio.to_thread(put, url, 2)
        await eventually(lambda: seen[-1] == 2)


async def test_the_mps3_log_is_heard_too(tmp_path: Path) -> None:
    url, options = f"file:{tmp_path}/db", {"protocol": "mps3", "poll": 600, "shared": False}
    storage = DirectoryStorage(tmp_path / "db", SystemClock())
    async with rxmps3.connect(url, **options) as db, rxmps3.connect(storage, **options, bell=None) as other:
        seen = trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell and seen)
        for number in range(3):
            await other.put("k", number)
            await eventually(lambda number=number: seen[-1] == number)


async def test_looking_does_not_ring(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/db"
    async with rxmps3.connect(url, poll=600) as db:
        await db.put("k", 0)
        trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell)
        await asyncio.sleep(0.3)
        before = db.status.value.requests
        await db.refresh()
        await asyncio.sleep(0.3)
        assert db.status.value.requests == before + 1


async def test_a_folder_that_is_removed_ends_no_stream(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/db"
    await asyncio.to_thread(put, url, 1)
    async with rxmps3.connect(url, poll=0.2) as db:
        seen, ended = trace(db.observe("k")), trace(db.status)
        await eventually(lambda: db.status.value.bell and seen)
        shutil.rmtree(tmp_path / "db")
        await asyncio.sleep(0.5)
        assert seen == [1]
        assert "completed" not in ended


@pytest.mark.parametrize("in_memory", [True, False])
async def test_replicas_on_many_loops_and_threads_hear_one_another(tmp_path: Path, in_memory: bool) -> None:
    url = "memory:bells on many loops" if in_memory else f"file:{tmp_path}/db"
    async with rxmps3.connect(url, poll=600, shared=False) as here:
        seen = trace(here.observe("k"))
        for number in range(3):
            await asyncio.to_thread(_put_on_a_loop_of_its_own, url, number)
            await eventually(lambda number=number: seen[-1] == number)
        there = await asyncio.to_thread(blocking.connect, url, poll=600)
        heard = trace(there.observe("k"))
        await here.put("k", "from here")
        await eventually(lambda: heard and heard[-1] == "from here")
        await asyncio.to_thread(there.close)


def _put_on_a_loop_of_its_own(url: str, value: Any) -> None:
    async def put() -> None:
        async with rxmps3.connect(url) as db:
            await db.put("k", value)

    asyncio.run(put())


async def test_two_readers_share_a_watch_and_none_is_left(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/db"
    async with rxmps3.connect(url, poll=600, shared=False) as one, rxmps3.connect(url, poll=600, shared=False) as two:
        await one.put("k", 0)
        first, second = one.observe("k").subscribe(), two.observe("k").subscribe()
        await eventually(lambda: one.status.value.bell and two.status.value.bell)
        assert [count for _, count in watching._watches.values()] == [2]
        first.dispose()
        await asyncio.sleep(0.1)
        assert [count for _, count in watching._watches.values()] == [1]
        assert one.status.value.bell is None
        await asyncio.to_thread(put, url, 1)
        await eventually(lambda: two.states.value["k"].content.text == "1")
        second.dispose()
    assert not watching._watches
    await eventually(lambda: not [one for one in threading.enumerate() if type(one).__module__.startswith("watchdog")])


async def test_a_file_system_that_does_not_tell_is_shown_and_polled(tmp_path: Path, mutant: Mutant) -> None:
    class Full:
        daemon = True

        def start(self) -> None: ...
        def stop(self) -> None: ...
        def schedule(self, *_: Any, **__: Any) -> Any:
            raise OSError(28, "inotify watch limit reached")

    mutant.replace(watching.Observer, Full, within=watching)
    url = f"file:{tmp_path}/db"
    async with rxmps3.connect(url, poll=0.1) as db:
        seen, errors = trace(db.observe("k")), trace(db.errors)
        await eventually(lambda: db.status.value.bell is False)
        await asyncio.to_thread(put, url, 1)
        await eventually(lambda: seen[-1] == 1)
        assert errors == []


async def test_without_a_bell_no_thread_watches(tmp_path: Path) -> None:
    async with rxmps3.connect(f"file:{tmp_path}/db", bell=None) as db:
        trace(db.observe("k"))
        await db.put("k", 1)
        assert watching._observer is None
        assert db.status.value.bell is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a mount is")
def test_a_network_file_system_has_to_prove_reliable(tmp_path: Path) -> None:
    assert is_local(str(tmp_path)) is is_local(os.path.realpath(tmp_path))
    assert not is_local("/proc/self")
    assert not is_local("/sys")
    assert FileBell("/proc", ["main"]).is_reliable is False
    assert isinstance(bells.LOCAL, bells.Local)


def test_a_forked_child_has_bells_of_its_own(tmp_path: Path) -> None:
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from rxmps3 import blocking
from rxmps3.bells import process, watching
url = {f"file:{tmp_path}/db"!r}
db = blocking.connect(url, poll=600)
db.put("k", 0).wait()
db.subscribe("k", lambda value: None)
child = os.fork()
if child == 0:
    os._exit(0 if not watching._watches and not process._listeners else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
db.close()
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert done.stdout.split() == ["0"], done.stderr
