"""Every string of a public list of naughty ones, as a key and as a value, on every storage and every log.

The list is the Big List of Naughty Strings, https://github.com/minimaxir/big-list-of-naughty-strings; see its licence
beside it. A put is committed and read back by somebody else, or it is rejected with a reason; no later write waits
behind it.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from tests.behaviour.helpers import player
from tests.conftest import Place, new_place

LIST = Path(__file__).parent.parent / "fixtures" / "naughty" / "blns.json"
STRINGS = list(dict.fromkeys(json.loads(LIST.read_text("utf-8"))))
WITHIN = 90.0
"""Seconds for one batch of writes to end, one way or the other."""
_HEAVY = [pytest.mark.heavy, pytest.mark.timeout(400)]
_SEAWEEDFS = [*_HEAVY, pytest.mark.seaweedfs]
PLACES = [
    "memory",
    "file",
    *(pytest.param(f"memory-{protocol}", marks=_HEAVY) for protocol in ("versioned", "mps3")),
    pytest.param("moto", marks=_HEAVY),  # the other server has all logs, and is faster
    *(pytest.param(f"seaweedfs{protocol}", marks=_SEAWEEDFS) for protocol in ("", "-versioned", "-mps3")),
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place of each kind of storage and log."""
    return new_place(request.param, request)


async def put_each(db: rxmps3.Database, items: list[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, rxmps3.Error]]:
    """Put all without waiting in between: what was committed, and what was refused and why."""
    committed: dict[str, Any] = {}
    refused: dict[str, rxmps3.Error] = {}

    async def follow(receipt: rxmps3.Receipt, key: str, value: Any) -> None:
        try:
            await receipt
            committed[key] = value
        except rxmps3.Rejected as error:
            refused[key] = error

    waiting: list[Any] = []
    for key, value in items:
        try:
            waiting.append(follow(db.put(key, value), key, value))
        except rxmps3.InvalidInput as error:
            refused[key] = error
    async with asyncio.timeout(WITHIN):
        await asyncio.gather(*waiting)
    return committed, refused


@pytest.mark.parametrize("size", ["small", pytest.param("large", marks=_HEAVY)])
async def test_a_naughty_key_or_value_is_kept_or_refused(place: Place, size: str) -> None:
    def value_of(text: str) -> Any:
        return text if size == "small" else {"text": text, "often": [text] * (6000 // (len(text) + 4) + 1)}

    async with player(place, by="ana") as db:
        committed, refused = await put_each(db, [(text, value_of(text)) for text in STRINGS])
        also, none = await put_each(db, [(f"value/{number}", value_of(text)) for number, text in enumerate(refused)])
        assert none == {}, "no value is at fault"
        committed |= also
        await asyncio.wait_for(db.put("after", "all"), WITHIN)
        assert committed.keys() >= set(STRINGS) - refused.keys()
        async with player(place, by="bob") as other:
            found = await other.get_prefix("")
            assert found == committed | {"after": "all"}
            for key in list(committed)[::25]:
                assert await other.get(key) == committed[key]
        for error in refused.values():
            assert str(error), "it says why"
    said = {
        repr(key): str(error.__cause__ or error) for key, error in refused.items() if "bytes long" not in str(error)
    }
    print(f"{place.kind}, {place.protocol}, {size}: {len(committed)} kept, {len(refused)} refused, {said}")
