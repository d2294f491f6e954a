"""An empty manifest is looked for in every protocol before it is made in one of them."""

from __future__ import annotations

from rxmps3 import AccessDenied
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import Switch, eventually, player
from tests.durability.strikes import FastClock


async def test_who_has_slept_looks_again_in_which_protocol_a_manifest_was_made() -> None:
    memory, clock = MemoryStorage(), FastClock()
    switch = Switch(memory, verbs=("put",))
    switch.error = lambda: AccessDenied("no", operation="put")
    async with player(switch, manifest="notes", clock=clock) as db:
        receipt = db.put("k", 1)
        await eventually(lambda: db.status.value.last_error is not None)  # nothing was there, and so it was to be made
        async with player(memory, manifest="notes", protocol="mps3") as other:
            await other.put("other", 2)
        clock.slept += 3600
        switch.error = None
        await receipt
        assert db.protocol == "mps3"
        assert await db.get_prefix() == {"k": 1, "other": 2}
