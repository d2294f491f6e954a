"""One of the two players: a process that writes, watches what the other writes, and reports all it sees.

The players talk to each other through the database only; to whoever started them they report, one JSON object on a
line of standard output each. Besides ``at`` (seconds since the start) and ``who`` a report has:

==============  ======================================================================================
event           facts
==============  ======================================================================================
``opened``      ``keys``: how many there were
``put``         ``number`` of this call, ``set`` (key to value) and ``deleted`` (keys), before the call
``returned``    ``number``, ``version``: the call returned
``committed``   ``number``, ``version``: the write was acknowledged
``seen``        a change in the view: ``key``, ``value``, ``missing``, ``by``, ``own``, ``pending``, ``version``
``together``    the values of `TOGETHER` at one moment, which are only ever put with one `put_all`
``trouble``     what went wrong and is tried again
``final``       ``head`` and ``state``: the end of the log, and every key's value there
==============  ======================================================================================
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rxmps3.database.connect import connect
from rxmps3.database.database import Database
from rxmps3.errors import Error
from rxmps3.model.missing import MISSING
from rxmps3.replica.receipt import Receipt, Stage
from rxmps3.runtime.clock import Clock, SystemClock
from rxmps3.streams.events import Change

__all__ = ["TOGETHER", "Part", "main"]

TOGETHER = ("left", "right")
"""Two keys that are only ever put together and equal."""
_ROUNDS = 3
_PAUSE = (0.1, 0.35)
_GIVE_UP = 30.0


@dataclass(frozen=True)
class Part:
    """The instructions for a player.

    Attributes:
        who: its name.
        other: the name of the other player.
        url, manifest, options: the database.
        start: the time from which reports count, in seconds since 1970.
    """

    who: str
    other: str
    url: str
    manifest: str
    options: dict[str, Any]
    start: float

    def as_json(self) -> str:
        """The form that `main` reads."""
        return json.dumps(asdict(self))


class Player:
    """Plays one part."""

    def __init__(self, part: Part, clock: Clock, db: Database) -> None:
        self._part = part
        self._clock = clock
        self._db = db
        self._receipts: list[Receipt] = []

    async def play(self) -> None:
        """Meet the other player, play some rounds, wait for each other, and report the end."""
        db, who, rng = self._db, self._part.who, self._clock.rng
        self._tell("opened", keys=len(db))
        db.errors.subscribe(lambda failure: self._tell("trouble", message=str(failure)))
        db.changes().subscribe(self._saw)
        db.observe_many(*TOGETHER).subscribe(lambda values: self._tell("together", values=list(values.values())))
        self._put({f"{who}/here": True})
        await self._wait_for(f"{self._part.other}/here")
        for number in range(1, _ROUNDS + 1):
            await self._clock.sleep(rng.uniform(*_PAUSE))
            self._put({f"{who}/place": [number, rng.randrange(80)]})
            await self._clock.sleep(rng.uniform(*_PAUSE))
            self._put({"score": f"{who} {number}"})
            await self._clock.sleep(rng.uniform(*_PAUSE))
            self._put(dict.fromkeys(TOGETHER, f"{who} {number}"))
        self._put({f"{who}/place": MISSING})
        for receipt in self._receipts:
            await receipt
        await self._put({f"{who}/done": True})
        await self._wait_for(f"{self._part.other}/done")
        await db.refresh()
        state, cost = dict(await db.get_prefix()), db.cost.value
        self._tell(
            "final",
            head=db.status.value.head,
            state=state,
            requests=cost.total.requests,
            spent=cost.spent,
            currency=cost.prices.currency,
            prices=cost.prices.name,
        )

    def _put(self, values: Mapping[str, Any]) -> Receipt:
        number = len(self._receipts)
        kept = {key: value for key, value in values.items() if value is not MISSING}
        self._tell("put", number=number, set=kept, deleted=[key for key in values if key not in kept])
        receipt = self._db.put_all(values)
        self._receipts.append(receipt)
        self._tell("returned", number=number, version=receipt.version)

        def reached(stage: Stage) -> None:
            if stage == "committed":
                self._tell("committed", number=number, version=receipt.version)

        receipt.stages.subscribe(reached)
        return receipt

    def _saw(self, change: Change) -> None:
        missing = change.after is MISSING
        self._tell(
            "seen",
            key=change.key,
            value=None if missing else change.after,
            missing=missing,
            by=change.by,
            own=change.cause == "own",
            pending=change.pending,
            version=change.version,
        )

    async def _wait_for(self, key: str) -> None:
        async with self._db.iterate(self._db.observe(key)) as values:
            async for value in values:
                if value is not None:
                    return

    def _tell(self, event: str, **facts: Any) -> None:
        _tell(self._part, self._clock, event, **facts)


def _tell(part: Part, clock: Clock, event: str, **facts: Any) -> None:
    at = round(clock.now().timestamp() - part.start, 4)
    try:
        print(json.dumps({"at": at, "who": part.who, "event": event, **facts}), flush=True)
    except BrokenPipeError:
        os._exit(1)  # whoever started this is gone, and so is the reason to play


async def _play(part: Part, clock: Clock) -> None:
    async with (
        asyncio.timeout(_GIVE_UP),
        connect(part.url, manifest=part.manifest, by=part.who, poll=0.25, clock=clock, **part.options) as db,
    ):
        await Player(part, clock, db).play()


def main() -> None:
    """Play the part read from standard input."""
    part, clock = Part(**json.loads(sys.stdin.readline())), SystemClock()
    logging.getLogger("rxmps3").setLevel(logging.ERROR)  # troubles are reported
    try:
        asyncio.run(_play(part, clock))
    except Error as error:
        _tell(part, clock, "trouble", message=str(error))
        sys.exit(1)
