"""A sequenced log is made readable again from what is there, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import rxmps3
from rxmps3 import Corrupt, InvalidOption
from rxmps3.log.sequenced.repair import SET_ASIDE, Repair, carry_out, examine
from rxmps3.log.sequenced.verify import verify
from rxmps3.model.names import Layout
from rxmps3.storage import MemoryStorage
from rxmps3.storage.base import Found, list_all
from rxmps3.testing import ManualClock

LAYOUT = Layout("main")


class Scene:
    """A log of ten entries with checkpoints after entries 4 and 8, and what is done to it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.storage = MemoryStorage(clock=self.clock)
        self.log = ""

    async def fill(self, first: int = 1, last: int = 10) -> None:
        async with self.open() as db:
            for number in range(first, last + 1):
                await db.put(f"k{number % 3}", number)
                if number % 4 == 0:
                    await db.compact()
        self.log = next(name for name in await self.names() if "/log/" in name).split("/")[1]

    def open(self) -> Any:
        return rxmps3.connect(self.storage, clock=self.clock, shared=False)

    async def names(self) -> list[str]:
        return [one.name for one in await list_all(self.storage, "")]

    async def everything(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in await self.names():
            answer = await self.storage.get(name)
            assert isinstance(answer, Found)
            found[name] = answer.body
        return found

    async def put_back(self, everything: dict[str, bytes]) -> None:
        for name in await self.names():
            await self.storage.delete(name)
        for name, body in everything.items():
            await self.storage.put(name, body)

    async def drop(self, *names: str) -> None:
        for name in names:
            await self.storage.delete(name)

    def entries(self, *numbers: int) -> list[str]:
        return [LAYOUT.entry(self.log, number) for number in numbers]

    async def checkpoints(self) -> list[str]:
        return [name for name in await self.names() if "/checkpoint/" in name]

    async def examine(self, **options: str) -> Repair:
        return await examine(self.storage, "main", nonce=self.clock.new_id(), **options)

    async def state(self) -> dict[str, Any]:
        async with self.open() as db:
            await db.refresh()
            return dict(await db.get_prefix(""))


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.fill()
    return scene


async def _no_head(scene: Scene) -> None:
    await scene.drop("main/head")


async def _damaged_head(scene: Scene) -> None:
    await scene.storage.put("main/head", b"{")


async def _no_head_and_old_entries_gone(scene: Scene) -> None:
    await scene.drop("main/head", *scene.entries(1, 2, 3, 4, 5, 6, 7, 8))


async def _strays_after_a_hole(scene: Scene) -> None:
    """A client went on in a bucket that was put back."""
    everything = await scene.everything()
    await scene.fill(11, 13)
    later = await scene.everything()
    await scene.put_back(everything)
    [stray] = scene.entries(13)
    await scene.storage.put(stray, later[stray])


async def _two_histories(scene: Scene) -> None:
    """Somebody else went on, too, up to the stray."""
    await _strays_after_a_hole(scene)
    [stray] = scene.entries(13)
    body = (await scene.everything())[stray]
    await scene.drop(stray)
    await scene.fill(11, 12)
    await scene.storage.put(stray, body)


async def _no_head_and_strays(scene: Scene) -> None:
    await _strays_after_a_hole(scene)
    await scene.drop("main/head")


async def _no_newest_checkpoint(scene: Scene) -> None:
    await scene.drop((await scene.checkpoints())[-1])


async def _damaged_entry_below_a_checkpoint(scene: Scene) -> None:
    await scene.storage.put(scene.entries(6)[0], b"{}")
    await scene.drop("main/head")


TEN = {"k0": 9, "k1": 10, "k2": 8}
DAMAGES: dict[str, tuple[Callable[[Scene], Awaitable[None]], dict[str, Any]]] = {
    "no head": (_no_head, TEN),
    "a damaged head": (_damaged_head, TEN),
    "no head, and old entries gone": (_no_head_and_old_entries_gone, TEN),
    "strays after a hole": (_strays_after_a_hole, TEN),
    "two histories": (_two_histories, {"k0": 12, "k1": 10, "k2": 11}),
    "no head, and strays": (_no_head_and_strays, TEN),
    "no newest checkpoint": (_no_newest_checkpoint, TEN),
    "a damaged entry below a checkpoint": (_damaged_entry_below_a_checkpoint, TEN),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_left_can_be_read_and_written_again_and_nothing_is_lost(scene: Scene, damage: str) -> None:
    strike, expected = DAMAGES[damage]
    await strike(scene)
    before = await scene.everything()
    repair = await scene.examine()
    assert repair.is_needed
    assert await scene.everything() == before, "examining writes nothing"
    await carry_out(scene.storage, repair, "then")
    after = await scene.everything()
    for name, body in before.items():
        assert after.get(name) == body or after[f"{SET_ASIDE}then/{name}"] == body
    assert await scene.state() == expected
    async with scene.open() as db:
        await db.put("k", "new")
        await db.compact()
    assert await scene.state() == {**expected, "k": "new"}
    assert not (await scene.examine()).is_needed
    assert (await verify(scene.storage, "main")).ok


async def test_a_sound_log_needs_nothing(scene: Scene) -> None:
    before = await scene.everything()
    repair = await scene.examine()
    assert not repair.is_needed
    assert (repair.log, repair.last, repair.keys) == (scene.log, 10, 3)
    await carry_out(scene.storage, repair, "then")
    assert await scene.everything() == before


@pytest.mark.parametrize("damage", ["strays after a hole", "two histories"])
async def test_it_says_which_writes_do_not_count(scene: Scene, damage: str) -> None:
    await DAMAGES[damage][0](scene)
    if damage == "two histories":
        with pytest.raises(Corrupt, match="rxmps3 repair"):
            await scene.state()
    [stray] = (await scene.examine()).strays
    assert (stray.keys, len(stray.writes)) == (("k1",), 1)


async def test_of_an_emptied_log_nothing_is_left_to_read(scene: Scene) -> None:
    [last] = scene.entries(10)
    body = (await scene.everything())[last]
    await scene.put_back({last: body})
    with pytest.raises(Corrupt, match="rxmps3 repair"):
        await scene.state()
    repair = await scene.examine()
    assert (repair.log, repair.head, [stray.name for stray in repair.strays]) == ("", None, [last])
    await carry_out(scene.storage, repair, "then")
    assert await scene.state() == {}
    assert (await scene.everything())[f"{SET_ASIDE}then/{last}"] == body


async def test_who_has_two_logs_says_which(scene: Scene) -> None:
    old, first = await scene.everything(), scene.log
    await scene.put_back({})
    await scene.fill(1, 2)
    await scene.drop("main/head")
    for name, body in old.items():
        if name != "main/head":
            await scene.storage.put(name, body)
    with pytest.raises(InvalidOption, match=f"{first} up to entry 10"):
        await scene.examine()
    with pytest.raises(InvalidOption, match="no readable log nosuch"):
        await scene.examine(log="nosuch")
    await carry_out(scene.storage, await scene.examine(log=first), "then")
    assert await scene.state() == TEN
    assert (await verify(scene.storage, "main")).ok


async def test_a_head_that_somebody_else_wrote_meanwhile_stays(scene: Scene) -> None:
    await _no_head(scene)
    repair = await scene.examine()
    await carry_out(scene.storage, repair, "then")
    head = (await scene.everything())["main/head"]
    with pytest.raises(rxmps3.Unavailable, match="meanwhile"):
        await carry_out(scene.storage, repair, "again")
    assert (await scene.everything())["main/head"] == head
