"""The S3 storage with each client library's session, beside the bare client: single requests, their CPU, and opening;
a committed put beside a PUT."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import aioboto3
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Storage, open_storage
from tests.servers import SHARED_BUCKET, SeaweedFS

__all__ = ["engine"]

Action = Callable[[], Awaitable[Any]]

_PREFIX = "bench-engine"
_BODY = b"x" * 300
_WARM = 20
_OPENINGS = 10


class _Bare:
    """What anybody writes with aioboto3."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self) -> None:
        await self._client.put_object(Bucket=SHARED_BUCKET, Key=f"{_PREFIX}/bare", Body=_BODY)

    async def get(self) -> None:
        answer = await self._client.get_object(Bucket=SHARED_BUCKET, Key=f"{_PREFIX}/bare")
        async with answer["Body"] as body:
            assert await body.read() == _BODY

    async def miss(self) -> None:
        try:
            await self._client.get_object(Bucket=SHARED_BUCKET, Key=f"{_PREFIX}/nothing")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"  # noqa: PT017


class _Ours:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def put(self) -> None:
        await self._storage.put("ours", _BODY)

    async def get(self) -> None:
        await self._storage.get("ours")

    async def miss(self) -> None:
        await self._storage.get("nothing")


async def _opening_bare(options: dict[str, Any]) -> None:
    async with aioboto3.Session().client("s3", **options) as client:
        await _Bare(client).miss()


async def _opening_ours(options: dict[str, Any]) -> None:
    storage = open_storage(f"s3://{SHARED_BUCKET}/{_PREFIX}", clock=SystemClock(), **options)
    await _Ours(storage).miss()
    await storage.close()


async def _measured(action: Action) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    began, spent = time.perf_counter(), time.process_time()
    await action()
    return time.perf_counter() - began, time.process_time() - spent


async def _beside(actions: dict[str, Action], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Take turns, so that what the machine does meanwhile concerns all alike."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for number in range(rounds + _WARM):
        for name, action in actions.items():
            one = await _measured(action)
            if number >= _WARM:
                taken[name].append(one)
    return taken


def _rows(table: Table, what: str, taken: dict[str, list[tuple[float, float]]]) -> None:
    bare = next(iter(taken.values()))
    for name, ours in taken.items():
        ratios = [
            statistics.median(one[which] / max(other[which], 1e-9) for one, other in zip(ours, bare, strict=True))
            for which in (0, 1)
        ]
        table.add_row(
            what,
            name,
            f"{statistics.median(one for one, _ in ours) * 1000:.2f} ms",
            f"{ratios[0]:.2f}",
            f"{statistics.median(cpu for _, cpu in ours) * 1000:.2f} ms",
            f"{ratios[1]:.2f}",
        )


async def engine(console: Console, server: SeaweedFS, rounds: int) -> None:
    """PUT, GET, GET of nothing, and opening, by the bare client and by the storage with either session; and a committed
    put of a database beside a PUT."""
    options = server.options()
    url = f"s3://{SHARED_BUCKET}/{_PREFIX}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aioboto3", "aiobotocore", "botocore"))
    table = Table("", "", "median", "against bare", "CPU", "against bare", title=f"Single requests ({libraries})")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aioboto3.Session().client("s3", **options))
        players: dict[str, _Bare | _Ours] = {"bare aioboto3": _Bare(client)}
        for name, chosen in {
            "rxmps3": {},
            "rxmps3, session=aioboto3.Session()": {"session": aioboto3.Session()},
        }.items():
            storage = open_storage(url, clock=SystemClock(), **options, **chosen)
            stack.push_async_callback(storage.close)
            players[name] = _Ours(storage)
        for what, verb in {"PUT of 300 bytes": "put", "GET of 300 bytes": "get", "GET of nothing": "miss"}.items():
            _rows(table, what, await _beside({name: getattr(one, verb) for name, one in players.items()}, rounds))
        db = await stack.enter_async_context(rxmps3.connect(f"{url}-log", **options))

        async def committed() -> None:
            await db.put("key", _BODY.decode())

        _rows(
            table, "a put, committed", await _beside({"bare aioboto3": _Bare(client).put, "rxmps3": committed}, rounds)
        )
    openings: dict[str, Action] = {
        "bare aioboto3": lambda: _opening_bare(options),
        "rxmps3": lambda: _opening_ours(options),
        "rxmps3, session=aioboto3.Session()": lambda: _opening_ours({**options, "session": aioboto3.Session()}),
    }
    _rows(table, "a client and its first GET", await _beside(openings, _OPENINGS))
    console.print(table)
