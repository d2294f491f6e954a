"""Bells over real servers: heard at once, found again after they died, and closed without a trace."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

import rxmps3
from rxmps3 import AccessDenied, bells, blocking
from rxmps3.bells import lines, topic_of
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import CountingStorage
from tests.behaviour.helpers import eventually, trace
from tests.bells.servers import HttpServer, NatsServer, RedisServer, Server, SqsQueue
from tests.cli.commands import command as command_line
from tests.cli.commands import environment
from tests.cli.commands import rxmps3 as command
from tests.servers import HOST, SHARED_BUCKET, Moto

SERVERS: dict[str, type[Server]] = {"nats": NatsServer, "redis": RedisServer, "http": HttpServer}


class Machine(CountingStorage):
    """A storage on a machine of its own: the bell within this process does not reach it."""

    def __init__(self, inner: Storage, name: str) -> None:
        super().__init__(inner)
        self.place = f"machine {name}"


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = SERVERS[request.param](tmp_path)
    server.start()
    yield server
    server.kill()


async def test_news_is_heard_at_once_and_the_writer_does_not_hear_itself(server: Server) -> None:
    memory = MemoryStorage()
    reading, writing = Machine(memory, "reader"), Machine(memory, "writer")
    # the blocking face has an event loop of its own, and so a connection of its own
    writer = await asyncio.to_thread(blocking.connect, writing, poll=600, bell=server.bell())
    async with rxmps3.connect(reading, poll=600, bell=server.bell()) as reader:
        await asyncio.to_thread(lambda: writer.put("k", 0).wait())
        seen = trace(reader.observe("k"))
        own = trace(writer.observe("k"))
        await eventually(lambda: reader.status.value.bell and writer.status.value.bell and own and seen)
        await asyncio.sleep(0.2)
        writing.reset()
        reading.reset()
        for number in range(1, 4):
            await asyncio.to_thread(lambda number=number: writer.put("k", number).wait())
            await eventually(lambda number=number: seen[-1] == number)
        assert [request.verb for request in writing.requests] == ["put"] * 3
        assert len(reading.requests) <= 9  # each ring is a look or two, of which one finds nothing
        await asyncio.to_thread(writer.close)
    assert not lines._open.get(asyncio.get_running_loop())
    assert threading.active_count() < 50


async def test_a_server_that_dies_is_noticed_and_found_again(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    memory = MemoryStorage()
    writer = await asyncio.to_thread(blocking.connect, Machine(memory, "writer"), bell=server.bell())
    async with rxmps3.connect(Machine(memory, "reader"), poll=0.5, bell=server.bell()) as reader:
        seen, states, errors = trace(reader.observe("k")), trace(reader.status), trace(reader.errors)
        await eventually(lambda: reader.status.value.bell)
        server.kill()
        await eventually(lambda: reader.status.value.bell is False)
        await asyncio.to_thread(lambda: writer.put("k", 1).wait())
        await eventually(lambda: seen[-1] == 1, what="the timer looks meanwhile")
        server.start()
        await eventually(lambda: reader.status.value.bell)
        await asyncio.to_thread(lambda: writer.put("k", 2).wait())
        await eventually(lambda: seen[-1] == 2)
        assert errors == []
        assert [one.bell for one in states if one.bell is not None][:1] == [True]
        assert not [record for record in caplog.records if record.name.startswith(("rxmps3", "nats", "redis", "aio"))]
        await asyncio.to_thread(writer.close)


async def test_a_secret_that_is_wrong_is_reported_once_and_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rxmps3")
    wrong = "not-this-secret"
    bell = server.bell(wrong)
    async with rxmps3.connect(Machine(MemoryStorage(), "reader"), poll=0.2, bell=bell) as db:
        seen, errors = trace(db.observe("k")), trace(db.errors)
        await eventually(lambda: errors)
        await asyncio.sleep(1)
        await db.put("k", 1)
        assert seen[-1] == 1
        assert [type(failure.error) for failure in errors] == [AccessDenied]
        assert errors[0].operation == "bell"
        assert db.status.value.bell is False
        assert wrong not in f"{bell!r} {bell} {errors} {errors[0]} {db.status.value} {caplog.text}"


async def test_nobody_there_at_all(tmp_path: Path) -> None:
    for kind in SERVERS.values():
        async with rxmps3.connect(MemoryStorage(), poll=0.2, bell=kind(tmp_path).bell()) as db:
            seen = trace(db.observe("k"))
            await db.put("k", 1)
            await eventually(lambda db=db: db.status.value.bell is False)
            assert seen[-1] == 1


@pytest.mark.heavy
@pytest.mark.timeout(200)
def test_commands_ring_and_hear(tmp_path: Path, moto: Moto) -> None:
    """Each in a process of its own; the watcher would look by itself an hour later."""
    server = HttpServer(tmp_path)
    server.start()
    place = f"s3://{SHARED_BUCKET}/bells-of-commands"
    options = moto.options()
    variables = {
        "AWS_ENDPOINT_URL": options["endpoint_url"],
        "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": options["region_name"],
        "RXMPS3_BELL": server.url(),
    }
    assert command("put", place, "k", "0", env=environment(**variables)).code == 0
    watch = command_line("watch", place, "k", "--poll", "3600", "--count", "1", "--no-current", "--json")
    log = command_line("log", place, "--follow", "--poll", "3600", "--last", "0", "--timeout", "150", "--json")
    with (
        subprocess.Popen(watch, env=environment(**variables), stdout=subprocess.PIPE, text=True) as watching,
        subprocess.Popen(log, env=environment(**variables), stdout=subprocess.PIPE, text=True) as following,
    ):
        while "; 2 listen" not in server.page():
            time.sleep(0.05)
        assert command("put", place, "k", "1", env=environment(**variables)).code == 0
        assert watching.stdout is not None
        assert following.stdout is not None
        assert json.loads(watching.stdout.read())["value"] == 1
        assert watching.wait() == 0
        assert json.loads(following.stdout.readline())["writes"][0]["put"] == ["k"]
        following.terminate()
    server.kill()


def test_a_bell_that_does_not_exist_is_named(tmp_path: Path) -> None:
    refused = command("watch", f"file:{tmp_path}", "k", "--bell", "gong://TOKEN@127.0.0.1")
    assert refused.code == 2
    assert "nats:" in refused.err
    assert "TOKEN" not in refused.err


def test_the_server_answers_only_who_has_the_token_and_asks_for_a_topic(tmp_path: Path) -> None:
    server = HttpServer(tmp_path)
    server.start()
    topic = topic_of("s3://bucket/app/", "main")
    assert server.page() == "an rxmps3 bell; 0 listen\n"
    assert server.post(f"/{topic}") == 204
    assert server.post(f"/{topic}", token="wrong") == 401
    assert server.post(f"/{topic}", token="") == 401
    assert server.post("/main") == 404
    assert server.post(f"/{topic}/more") == 404
    assert command("bell", "--port", str(server.port)).code == 5, "the port is taken"
    assert command("bell", "--port", "0", "--key", "k.pem").code == 2
    assert command("bell", "--port", "0", "--token", "").code == 2, "everybody would get in"
    server.kill()
    assert server.log().count("\n") <= 2, "no request leaves a line"


async def test_the_bell_command_ends_quickly_with_listeners(tmp_path: Path) -> None:
    server = HttpServer(tmp_path)
    server.start()
    async with rxmps3.connect(MemoryStorage(), poll=5, bell=server.bell()) as db:
        trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell)
        assert await asyncio.wait_for(asyncio.to_thread(server.end, signal.SIGTERM), 10) in (0, 143, -15)
        await eventually(lambda: db.status.value.bell is False)
    assert "Traceback" not in server.log()
    assert "/" not in server.log().replace("http://", "").replace("://", ""), server.log()


# -- SQS -----------------------------------------------------------------------------------------------------


@pytest.fixture
def queues() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("by_sns", [False, True], ids=["queue", "sns"])
async def test_a_bucket_rings_by_its_notifications(moto: Moto, queues: ThreadedMotoServer, by_sns: bool) -> None:
    queue = SqsQueue(moto, queues, by_sns=by_sns)
    before = set(queue.queues())
    options = {**queue.options, "shared": False, "poll": 600}
    async with rxmps3.connect(queue.place, **options, bell=None) as writer:
        await writer.put("k", 0)
        async with rxmps3.connect(queue.place, **options, bell=queue.bell()) as reader:
            seen = trace(reader.observe("k"))
            await eventually(lambda: reader.status.value.bell)
            for number in range(1, 4):
                await writer.put("k", number)
                await eventually(lambda number=number: seen[-1] == number)
    assert set(queue.queues()) == before, "a queue of its own is removed"


async def test_a_queue_that_is_not_there(moto: Moto, queues: ThreadedMotoServer) -> None:
    queue = SqsQueue(moto, queues)
    bell = bells.sqs(queue.address + "-none", **queue.bell_options)
    async with rxmps3.connect(MemoryStorage(), poll=0.2, bell=bell) as db:
        trace(db.observe("k"))
        await eventually(lambda: db.status.value.bell is False)
        assert "secret" not in f"{bell!r} {bell}"
