"""Several writers at once, on every kind of storage: nothing is lost, nothing is there twice, nobody goes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from reactivex import Subject

from rxmps3 import ManifestVersion
from tests.behaviour.helpers import looks, player, players, trace
from tests.conftest import Place

NAMES = [f"player {number}" for number in range(8)]


def writes_of(versions: list[ManifestVersion]) -> list[tuple[str, int]]:
    return [tuple(write.id) for version in versions for write in version.writes]


async def test_eight_clients_with_many_keys_each_lose_nothing(place: Place) -> None:
    each = 25 if place.protocol == "sequenced" else 10  # in the other logs each is a few requests
    if place.kind.startswith("moto") and place.protocol != "sequenced":
        pytest.skip("the other server has it, and is faster")
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(player(place, by=name, poll=Subject())) for name in [*NAMES, "witness"]
        ]
        *clients, witness = opened
        log = trace(witness.versions)
        receipts = [
            client.put(f"{name}/{number}", f"{name} {number}")
            for number in range(each)
            for name, client in zip(NAMES, clients, strict=True)
        ]
        versions = await asyncio.gather(*map(_committed, receipts))
        await looks(witness, *clients)
        expected = {f"{name}/{number}": f"{name} {number}" for number in range(each) for name in NAMES}
        for client in (witness, *clients):
            assert await client.get_prefix() == expected
            assert client.pending.value == ()
        assert len(set(versions)) == 8 * each
        if place.protocol == "mps3":  # its operations tell three hexadecimal digits of who wrote them
            assert Counter(version.id for version in log).most_common(1)[0][1] == 1
            assert len({key for version in log for write in version.writes for key in write.update}) == 8 * each
            return
        assert Counter(writes_of(log)).most_common(1)[0][1] == 1
        assert len(writes_of(log)) == 8 * each
        assert {f"{writer}-{number}" for writer, number in writes_of(log)} == set(versions)
        if place.protocol == "sequenced":
            assert [version.id for version in log] == [str(number) for number in range(1, len(log) + 1)]


async def _committed(receipt: Any) -> str:
    return await receipt


@pytest.mark.sequenced_only("the other logs merge a writer's pending writes or bring late ones")
async def test_eight_clients_on_one_key_end_on_one_value_and_every_view_went_forward_only(place: Place) -> None:
    async with players(place, *NAMES) as clients, players(place, "witness") as (witness,):
        log, seen = trace(witness.versions), [trace(client.observe("k")) for client in clients]
        for client in clients:
            for number in range(5):
                client.put("k", f"{client.status.value.loaded} {number} {id(client)}")
        await asyncio.gather(*(_committed(receipt) for client in clients for receipt in client.pending.value))
        await looks(witness, *clients)
        order = [
            entry.content.text[1:-1]
            for version in log
            for write in version.writes
            for entry in write.update.values()
            if entry is not None
        ]
        assert len(order) == len(set(order)) == 40
        place_of = {value: position for position, value in enumerate(order)}
        for client, events in zip(clients, seen, strict=True):
            assert await client.get("k") == order[-1]
            assert events[0] is None
            assert events[-1] == order[-1]
            mine = [value for value in events[1:] if value.endswith(f" {id(client)}")]
            foreign = [place_of[value] for value in events[1:] if not value.endswith(f" {id(client)}")]
            assert foreign == sorted(set(foreign))
            assert len(mine) == 5
            last_own = max(place_of[value] for value in mine)
            assert all(position > last_own for position in foreign)


@pytest.mark.sequenced_only("the other logs do not tell the numbers of others' writes")
async def test_one_writer_s_writes_are_committed_in_the_order_of_its_calls(place: Place) -> None:
    """Also where an early write has to upload a large value first: nobody sees an effect without its cause."""
    async with players(place, "a") as (a,), players(place, "witness") as (witness,):
        log = trace(witness.versions)
        first = a.put("cause", "x" * 100_000)
        for number in range(5):
            last = a.put("effect", number)
        await last
        assert first.stage == "committed"
        await looks(witness)
        assert [number for _, number in writes_of(log)] == [1, 2, 3, 4, 5, 6]


async def test_two_who_write_in_turns_see_each_other_at_once(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        for number in range(0, 10, 2):
            await a.put("turn", number)
            await looks(b)
            assert await b.get("turn") == number
            await b.put("turn", number + 1)
            await looks(a)
            assert await a.get("turn") == number + 1
