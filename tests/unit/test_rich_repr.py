"""What notebooks show of a database and what comes from it."""

from __future__ import annotations

from typing import Any

import rxmps3

EVIL = "<img src=x onerror=alert(1)> \u202e\x1b[31m"


async def test_each_has_a_text_and_a_table_in_which_nothing_is_markup() -> None:
    async with rxmps3.connect("memory:rich", by=EVIL) as db:
        receipt = db.put(EVIL, EVIL)
        await receipt
        key = db.key(EVIL)
        for thing in (db, key, db.status, db.states.value, receipt, db.pending):
            shown: Any = thing
            bundle = shown._repr_mimebundle_()
            assert set(bundle) == {"text/plain", "text/html"}
            assert "<img" not in bundle["text/html"]
            assert "\u202e" not in bundle["text/html"]
            assert "\x1b" not in bundle["text/html"]
            assert len(bundle["text/plain"]) < 500
        assert "&lt;img src=x" in key._repr_mimebundle_()["text/html"]
        assert "committed" in receipt._repr_mimebundle_()["text/html"]
        assert db.states.value._repr_mimebundle_()["text/plain"] == "<View of version 1: 1 keys, 0 pending writes>"
    assert "closed" in db._repr_mimebundle_()["text/html"]


async def test_what_is_not_at_hand_and_what_was_refused_say_so() -> None:
    async with rxmps3.connect("memory:rich-refused", shared=False, inline_limit=10) as db:
        await db.put("k", "x" * 100)
        receipt = db.create("k", 1)
        try:
            await receipt
        except rxmps3.Conflict:
            pass
        assert "rejected" in receipt._repr_mimebundle_()["text/html"]
        assert ">why<" in receipt._repr_mimebundle_()["text/html"]
    async with rxmps3.connect("memory:rich-refused", shared=False, inline_limit=10) as db:
        assert "observe it" in db.key("k")._repr_mimebundle_()["text/html"] or "not in memory" in str(
            db.key("k")._repr_mimebundle_()
        )
