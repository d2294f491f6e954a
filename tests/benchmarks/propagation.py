"""How long it takes until another process sees a change, and what waiting for it costs: each bell beside the poll."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3 import bells
from rxmps3.bells import Bell, topic_of
from rxmps3.bells.files import FileBell
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage, MemoryStorage, open_storage
from rxmps3.testing import CountingStorage
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.bells.servers import HttpServer, NatsServer, RedisServer, Server
from tests.bells.toys import ToyBell
from tests.servers import HOST, SHARED_BUCKET, SeaweedFS, free_ports

__all__ = ["propagation"]

GET_DOLLARS = 0.0004 / 1000
"""A GET of Amazon S3 Standard in us-east-1. Source: aws.amazon.com/s3/pricing, November 2026."""
SQS_DOLLARS = 0.40 / 1_000_000
"""A request to an SQS standard queue beyond the first million a month. Source: aws.amazon.com/sqs/pricing."""
SQS_AN_HOUR = 180
"""One every 20 s."""
HOURS_A_MONTH = 730
_POLL = 1.0


@dataclass
class Case:
    """One row.

    Attributes:
        name: what tells of news.
        url: of the database.
        options: of `rxmps3.connect`, on both sides.
        bell: of the reader; None is the poll, or what is always on.
        writer: what the writer is given in place of ``bell``.
        rings: the bell to measure alone; the writer rings it, or if it rings itself, commits.
        sqs: whether its own requests cost money.
    """

    name: str
    url: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    bell: Any = bells.LOCAL
    writer: dict[str, Any] = field(default_factory=dict[str, Any])
    rings: Bell | None = None
    sqs: bool = False


@dataclass
class Result:
    """Seconds: from the commit to the observer, of the bell alone, of one GET."""

    seen: list[float]
    bell: list[float]
    get: list[float]


class Writer:
    """The other process."""

    def __init__(self, case: Case) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.ringer"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say({"url": case.url, **case.options, **case.writer})

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)

    async def moment(self) -> float:
        assert self._process.stdout is not None
        return float(json.loads(await asyncio.to_thread(self._process.stdout.readline)))

    async def do(self, **what: Any) -> float:
        self._say(what)
        return await self.moment()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


async def measured(case: Case, rounds: int) -> Result:
    """Measure one case; commits, rings and GETs take turns."""
    writer = Writer(case)
    topic = topic_of(case.url.partition("?")[0].rstrip("/") + "/", "main")
    result = Result([], [], [])
    async with AsyncExitStack() as stack:
        stack.callback(writer.close)
        await writer.moment()
        options: dict[str, Any] = {**case.options, "bell": case.bell, "poll": _POLL}
        db = await stack.enter_async_context(rxmps3.connect(case.url, **options))
        arrived: asyncio.Queue[tuple[Any, float]] = asyncio.Queue()
        stack.enter_context(db.observe("key").subscribe(lambda value: arrived.put_nowait((value, time.perf_counter()))))
        rung: asyncio.Queue[float] = asyncio.Queue()
        if case.rings is not None:
            loop = asyncio.get_running_loop()

            def hear(_: Any) -> None:
                moment = time.perf_counter()
                loop.call_soon_threadsafe(rung.put_nowait, moment)

            stack.enter_context(case.rings.rings(topic).subscribe(hear))
            if hasattr(case.rings, "retain"):
                holding: Any = case.rings
                holding.retain()
                stack.push_async_callback(holding.release)
            await rung.get()
        storage = open_storage(case.url, clock=SystemClock(), **case.options)
        stack.push_async_callback(storage.close)
        while db.status.value.bell is False:
            await asyncio.sleep(0.1)
        for number in range(rounds + 3):
            await asyncio.sleep(random.uniform(0.15, 0.4) if case.bell is not None else random.uniform(1, 3))
            began = time.perf_counter()
            await storage.get("main/none")
            get = time.perf_counter() - began
            while not rung.empty():
                rung.get_nowait()
            alone: float | None = None
            if case.rings is not None and not isinstance(case.rings, FileBell) and not case.sqs:
                began = await writer.do(ring=topic)
                alone = await rung.get() - began
                await asyncio.sleep(0.2)
                while not rung.empty():
                    rung.get_nowait()
            committed = await writer.do(put=number)
            while (item := await arrived.get())[0] != number:
                pass
            if alone is None and case.rings is not None:
                alone = await rung.get() - committed
            if number < 3:
                continue  # warming up
            result.seen.append(item[1] - committed)
            result.get.append(get)
            if alone is not None:
                result.bell.append(alone)
    return result


def idle_requests(bell: Bell | None) -> int:
    """How many requests an observer makes in an idle hour, counted in virtual time."""

    async def run() -> int:
        clock = SimClock("idle")
        counting = CountingStorage(MemoryStorage(clock=clock))
        async with rxmps3.connect(counting, poll=_POLL, bell=bell, clock=clock) as db:
            await db.put("key", 0)
            with db.observe("key").subscribe():
                await clock.sleep(3600)
                counting.reset()
                await clock.sleep(3600)
                return len(counting.requests)

    return run_virtually(run())


def row(case: Case, result: Result, idle: dict[bool, int]) -> list[str]:
    """A row of the table."""
    requests = idle[case.bell is not None]
    dollars = requests * HOURS_A_MONTH * GET_DOLLARS + (SQS_AN_HOUR * HOURS_A_MONTH * SQS_DOLLARS if case.sqs else 0)
    p50, get = statistics.median(result.seen), statistics.median(result.get)
    p99 = sorted(result.seen)[min(len(result.seen) - 1, round(len(result.seen) * 0.99))]
    bell = statistics.median(result.bell) if result.bell else None
    alone = result.bell or [_POLL / 2] * len(result.seen)
    ratio = statistics.median(
        seen / max(bell + get, 1e-4) for seen, bell, get in zip(result.seen, alone, result.get, strict=True)
    )
    return [
        case.name,
        f"{p50 * 1000:.1f}",
        f"{p99 * 1000:.1f}",
        f"{bell * 1000:.1f}" if bell is not None else "",
        f"{get * 1000:.1f}",
        f"{ratio:.2f}" if p50 > 0 else "0",
        f"{requests:,}" + (f" + {SQS_AN_HOUR} of SQS" if case.sqs else ""),
        "" if case.url.startswith("file:") else f"{dollars:.3f}",
    ]


def cases(stack: ExitStack, s3: SeaweedFS) -> list[Case]:
    """All rows, their servers started."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    options = s3.options()
    place: Callable[[str], str] = lambda name: f"s3://{SHARED_BUCKET}/propagation-{name}"  # noqa: E731
    folder = f"file:{directory.resolve() / 'db'}"
    watched = DirectoryStorage(directory / "db", SystemClock())
    found = [
        Case("poll, file:", f"file:{directory.resolve() / 'polled'}", bell=None, writer={"bell": None}),
        Case("file system, file:", folder, rings=FileBell(*watched.watched("main"))),
        Case("poll, S3", place("poll"), options, bell=None, writer={"bell": None}),
    ]
    servers: dict[str, type[Server]] = {"nats": NatsServer, "redis": RedisServer, "http": HttpServer}
    for name, kind in servers.items():
        server = kind(directory)
        server.start()
        stack.callback(server.kill)
        bell = bells.from_url(server.url())
        found.append(Case(f"{name}, S3", place(name), options, bell, {"bell": server.url()}, bell))
    found.append(_sqs(stack))
    return found


def _sqs(stack: ExitStack) -> Case:
    """A bucket and its queue on moto, in a process of its own."""
    import boto3

    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    options: dict[str, Any] = {
        "endpoint_url": f"http://{HOST}:{port}",
        "region_name": "us-east-1",
        "aws_access_key_id": "admin",
        "aws_secret_access_key": "admin-secret",
    }
    s3, sqs = boto3.client("s3", **options), boto3.client("sqs", **options)
    for _ in range(100):
        try:
            s3.create_bucket(Bucket="notified")
            break
        except Exception:
            time.sleep(0.2)
    sns = boto3.client("sns", **options)
    topic: str = sns.create_topic(Name="notified")["TopicArn"]
    told = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="notified", NotificationConfiguration=told)
    for client in (s3, sqs, sns):
        client.close()
    # the bell measured alone has a queue of its own: it is another bell
    bell, alone = bells.sqs(topic, **options), bells.sqs(topic, **options, use_ssl=False)
    return Case("sqs, S3 (moto)", "s3://notified/app", options, bell, {}, alone, sqs=True)


async def propagation(console: Console, rounds: int) -> None:
    """Print the table."""
    # each on an event loop of its own
    idle = {has: await asyncio.to_thread(idle_requests, ToyBell() if has else None) for has in (True, False)}
    table = Table(
        "news by",
        "p50, ms",
        "p99, ms",
        "bell, ms",
        "GET, ms",
        "to bell + GET",
        "idle requests/h",
        "$/month",
        title=f"From committed in one process to observed in another, poll={_POLL:g}",
    )
    with ExitStack() as stack, SeaweedFS() as s3:
        for case in cases(stack, s3):
            result = await measured(case, rounds if case.bell is not None else min(rounds, 30))
            table.add_row(*row(case, result, idle))
    console.print(table)
    console.print("The ratio is the median over all rounds.", end=" ")
    console.print("The poll is held against half its interval and one GET. Idle requests are counted in virtual time.")
    console.print("Below 0: seen before the other process knew that it had committed, which takes one more fsync.")
