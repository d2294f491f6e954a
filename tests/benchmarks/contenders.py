"""One of several clients that write at once, in a process of its own: ``python -m tests.benchmarks.contenders PLAN``.

It says ``"ready"``, starts at the first line it reads, and answers one JSON object. Each loop uses only what its users
have: rxmps3 its public API, the baselines aioboto3.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aioboto3
from botocore.exceptions import ClientError

import rxmps3
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import open_storage
from rxmps3.testing import CountingStorage

__all__ = ["LOOPS", "Plan", "Result"]


@dataclass
class Plan:
    """What one client does.

    Attributes:
        loop: a name in `LOOPS`.
        bucket, prefix: where on the server.
        url: of the database.
        options: of the server.
        seconds: how long it writes.
        each: or, of increments, how many it makes.
        name: the client's.
    """

    loop: str
    bucket: str = ""
    prefix: str = ""
    url: str = ""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0
    each: int = 0
    name: str = ""


@dataclass
class Result:
    """What came of it.

    Attributes:
        waits: the seconds that each commit took, from the call to its acknowledgement.
        requests: how many it made, by verb.
        attempts: of increments, how many needed so many attempts; 0 stands for those that ended in a conflict.
        began, ended: by the machine's clock.
    """

    waits: list[float] = field(default_factory=list[float])
    requests: Counter[str] = field(default_factory=Counter[str])
    attempts: Counter[int] = field(default_factory=Counter[int])
    began: float = 0.0
    ended: float = 0.0


def missed(error: ClientError) -> bool:
    """Whether a precondition did not hold, or nothing is there."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412)


async def bare_counter(plan: Plan, start: Callable[[], Awaitable[None]], result: Result) -> None:
    """Read one object, replace it if it has not changed, else begin again."""
    place = {"Bucket": plan.bucket, "Key": f"{plan.prefix}/counter"}
    async with aioboto3.Session().client("s3", **plan.options) as client:
        await start()
        while time.monotonic() - result.began < plan.seconds:
            began = time.monotonic()
            while True:
                condition: dict[str, Any] = {"IfNoneMatch": "*"}
                number = 0
                result.requests["get"] += 1
                try:
                    answer = await client.get_object(**place)
                    number = int(await answer["Body"].read())
                    condition = {"IfMatch": answer["ETag"]}
                except ClientError as error:
                    if not missed(error):
                        raise
                result.requests["put"] += 1
                try:
                    await client.put_object(**place, **condition, Body=str(number + 1).encode())
                    break
                except ClientError as error:
                    if not missed(error):
                        raise
            result.waits.append(time.monotonic() - began)


async def bare_log(plan: Plan, start: Callable[[], Awaitable[None]], result: Result) -> None:
    """Create the object with the next number; where it exists, read on to the end and try the next one."""
    async with aioboto3.Session().client("s3", **plan.options) as client:
        number = 1

        def place() -> dict[str, str]:
            return {"Bucket": plan.bucket, "Key": f"{plan.prefix}/{number:020d}"}

        await start()
        while time.monotonic() - result.began < plan.seconds:
            began = time.monotonic()
            while True:
                result.requests["put"] += 1
                try:
                    await client.put_object(**place(), Body=b"x" * 300, IfNoneMatch="*")
                    number += 1
                    break
                except ClientError as error:
                    if not missed(error):
                        raise
                while True:
                    result.requests["get"] += 1
                    try:
                        answer = await client.get_object(**place())
                        await answer["Body"].read()
                        number += 1
                    except ClientError as error:
                        if not missed(error):
                            raise
                        break
            result.waits.append(time.monotonic() - began)


async def puts(plan: Plan, start: Callable[[], Awaitable[None]], result: Result) -> None:
    """Puts into a database, each awaited before the next."""
    counting = CountingStorage(open_storage(plan.url, clock=SystemClock(), **plan.options))
    async with rxmps3.connect(counting, poll=60, by=plan.name) as db:
        await db.refresh()
        counting.reset()
        await start()
        while time.monotonic() - result.began < plan.seconds:
            began = time.monotonic()
            await db.put(plan.name, len(result.waits))
            result.waits.append(time.monotonic() - began)
        result.requests = counting.counts
        result.ended = time.monotonic()
    await counting.close()


async def increments(plan: Plan, start: Callable[[], Awaitable[None]], result: Result) -> None:
    """Increments of one counter in transactions, for a time or for so many times."""
    counting = CountingStorage(open_storage(plan.url, clock=SystemClock(), **plan.options))
    async with rxmps3.connect(counting, poll=60, by=plan.name) as db:
        await db.refresh()
        counting.reset()
        await start()
        while time.monotonic() - result.began < plan.seconds or sum(result.attempts.values()) < plan.each:
            began = time.monotonic()
            attempts = 0

            async def increment(tx: rxmps3.Transaction) -> None:
                nonlocal attempts
                attempts += 1
                tx.put("n", await tx.get("n", 0) + 1)

            try:
                await db.transact(increment)
                result.waits.append(time.monotonic() - began)
            except rxmps3.Conflict:
                attempts = 0
            result.attempts[attempts] += 1
        result.requests = counting.counts
        result.ended = time.monotonic()
    await counting.close()


LOOPS = {loop.__name__: loop for loop in (bare_counter, bare_log, puts, increments)}


async def main() -> None:
    plan, result = Plan(**json.loads(sys.argv[1])), Result()

    async def start() -> None:
        print(json.dumps("ready"), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        result.began = time.monotonic()

    await LOOPS[plan.loop](plan, start, result)
    result.ended = result.ended or time.monotonic()
    print(json.dumps(vars(result)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
