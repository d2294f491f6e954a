"""The commands that go on: watch, and log --follow, with several processes on one bucket."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

import rxmps3 as library
from tests.cli.commands import environment, next_record, rxmps3, said, started


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'bucket'}"


async def test_watch_shows_the_current_value_and_then_each_change(url: str) -> None:
    async with library.connect(url, by="alice") as db:
        await db.put("k", "old")
        with started("watch", url, "k", "--json", "--count", "3", "--poll", "0.1") as watch:
            current = next_record(watch)
            time = current.pop("time")
            assert current == {
                "event": "current",
                "key": "k",
                "missing": False,
                "value": "old",
                "version": db.states.value["k"].version,
            }
            assert time.endswith("+00:00")
            version = await db.put("k", None)
            change = next_record(watch)
            assert (change["missing"], change["value"], change["version"]) == (False, None, version)
            await db.put("key with the same beginning", 1)
            assert rxmps3("delete", url, "k", "--by", "bob").code == 0
            change = next_record(watch)
            del change["time"]
            assert change == {
                "event": "change",
                "key": "k",
                "missing": True,
                "value": None,
                "version": "",
                "by": "bob",
                "pending": False,
                "cause": "remote",
            }
            await db.put("k", "L" * 9000)
            assert next_record(watch)["value"] == "L" * 9000
            assert (watch.wait(), said(watch)) == (0, "")


async def test_watch_of_a_prefix_in_words(url: str) -> None:
    async with library.connect(url, by="alice") as db:
        await db.put_all({"a/1": 1, "b": 2})
        with started("watch", url, "a/", "--prefix", "--poll", "0.1") as watch:
            assert watch.stdout is not None
            assert watch.stdout.readline()[14:] == "a/1 = 1  (now)\n"
            await db.put_all({"b": 3, "a/2": {"x": [None]}})
            assert watch.stdout.readline()[14:] == 'a/2 = {"x":[null]}  (by alice)\n'
            await db.delete("a/1")
            assert watch.stdout.readline()[14:] == "a/1 deleted  (by alice)\n"
            watch.send_signal(signal.SIGINT)
            assert (watch.wait(), watch.stdout.read(), said(watch)) == (0, "", "")


async def test_watch_may_begin_before_there_is_anything(url: str) -> None:
    with (
        started("watch", url, "k", "--poll", "0.1") as words,
        started("watch", url, "k", "--json", "--no-current", "--count", "1", "--poll", "0.1") as changes,
    ):
        assert words.stdout is not None
        assert words.stdout.readline()[14:] == "k is not there  (now)\n"
        async with library.connect(url) as db:
            number = 0
            while changes.poll() is None:  # however long it takes to start
                number += 1
                await db.put("k", number)
                await asyncio.sleep(0.01)
        assert next_record(changes)["event"] == "change"
        assert (changes.wait(), said(changes)) == (0, "")
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup, which commands respect
        words.send_signal(signal.SIGTERM if ignored else signal.SIGHUP)
        assert (words.wait(), said(words)) == (143, "")


async def test_watch_ends_when_nobody_reads_even_if_nothing_changes(url: str) -> None:
    with started("watch", url, "k") as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.stdout.close()
        assert (watch.wait(), said(watch)) == (0, "")


def test_watch_ends_with_its_time_and_tells_whether_the_changes_came(url: str) -> None:
    with (
        started("watch", url, "k", "--timeout", "1", "--json") as watch,
        started("watch", url, "k", "--timeout", "1", "--count", "1", "--json") as waiting,
    ):
        assert (watch.wait(), said(watch)) == (0, "")
        assert waiting.wait() == 5
        assert '"kind":"TooLate","message":"file:' in said(waiting)


async def test_log_follow_goes_on_where_the_history_ends(url: str) -> None:
    async with library.connect(url) as db:
        for number in range(3):
            await db.put("k", number)
        with started("log", url, "--follow", "--last", "2", "--json", "--poll", "0.1") as log:
            assert [next_record(log)["id"] for _ in range(2)] == ["2", "3"]
            for number in range(4, 8):
                version = await db.put("k", number)
                record = next_record(log)
                assert (record["id"], record["writes"][0]["version"]) == (str(number), version)
            log.send_signal(signal.SIGINT)
            assert (log.wait(), said(log)) == (0, "")


async def test_trouble_that_passes_is_remarked_upon_and_survived(url: str, tmp_path: Path) -> None:
    async with library.connect(url) as db:
        await db.put("k", 1)
        with started("watch", url, "k", "--poll", "0.1", env=environment(PYTHONUNBUFFERED="1")) as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            watch.stdout.readline()
            bucket = tmp_path / "bucket"
            (incarnation,) = (path for path in (bucket / "main").iterdir() if (path / "log").is_dir())
            away = tmp_path / "away"
            (incarnation / "log").rename(away)
            (incarnation / "log").symlink_to(incarnation / "log")  # a loop: reading fails, and not by "not found"
            assert "; trying again" in watch.stderr.readline()
            (incarnation / "log").unlink()
            away.rename(incarnation / "log")
            assert watch.stderr.readline() == "it works again\n"
            await db.put("k", 2)
            assert watch.stdout.readline()[14:] == "k = 2\n"


async def test_watch_skips_a_value_that_is_lost_and_ends_at_a_log_that_is_broken(url: str, tmp_path: Path) -> None:
    async with library.connect(url) as db:
        await db.put("k", 1)
        with started("watch", url, "k", "--poll", "0.1") as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            watch.stdout.readline()
            watch.send_signal(signal.SIGSTOP)
            await db.put("k", "lost" * 9000)
            main = tmp_path / "bucket" / "main"
            (lost,) = (main / "values").iterdir()
            lost.write_text("other")
            watch.send_signal(signal.SIGCONT)
            assert re.fullmatch(
                r"observe value .*: its SHA-256 is .* \(the change is skipped\)\n", watch.stderr.readline()
            )
            (log,) = main.glob("*/log")
            (log / f"{3:020}").write_text("{}")
            assert watch.wait() == 6
            assert "log entry 'main/" in said(watch)
