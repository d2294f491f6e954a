"""The bytes that the protocol page shows are bytes that the code writes."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from datetime import UTC, datetime

import pytest

import rxmps3
from rxmps3.log import checkpoint_codec, codec
from rxmps3.model.names import Layout
from rxmps3.storage import Found, MemoryStorage, list_all
from rxmps3.testing import ManualClock
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs/protocol.md"
_EXAMPLE = re.compile(r"^`([^`\n]+)`\n\n```json\n(.*?)```$", re.M | re.S)


def examples() -> dict[str, bytes]:
    """What the page shows, by object name, without the blanks that it is spread out with."""
    return {
        name: json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")).encode()
        for name, text in _EXAMPLE.findall(PAGE.read_text())
    }


async def written() -> dict[str, bytes]:
    """What the code writes when it does what the page tells."""
    clock = ManualClock("protocol", start=datetime(2026, 11, 22, 10, tzinfo=UTC))
    storage = MemoryStorage(clock=clock)
    async with rxmps3.connect(storage, by="alice", clock=clock, inline_limit=64) as db:
        await db.put("old", True)
        await clock.advance(5)
        photo = {"pixels": "x" * 80}
        await db.put_all({"todo/1": {"title": "milk"}, "photo": photo, "old": rxmps3.MISSING})
        await db.compact()
    bodies: dict[str, bytes] = {}
    for listed in await list_all(storage, ""):
        answer = await storage.get(listed.name)
        assert isinstance(answer, Found)
        bodies[listed.name] = gzip.decompress(answer.body) if "/checkpoint/" in listed.name else answer.body
    return bodies


def renamed(bodies: dict[str, bytes]) -> str:
    """All names and bodies, with ids and hashes numbered in the order of their appearance, since chance makes them."""
    text = "\n".join(f"{name} {body.decode()}" for name, body in bodies.items())
    numbers: dict[str, str] = {}
    return re.sub(
        r"\b([0-9a-f]{64}|[0-9a-v]{12})\b", lambda found: numbers.setdefault(found[0], f"<{len(numbers)}>"), text
    )


async def test_the_examples_are_what_the_code_writes() -> None:
    bodies = await written()
    shown = examples()
    order = sorted(shown, key=lambda name: (name.count("/"), "checkpoint" in name, name))
    assert len(order) == 4
    found = sorted(
        (name for name in bodies if "/values/" not in name),
        key=lambda name: (name.count("/"), "checkpoint" in name, name),
    )
    assert renamed({name: shown[name] for name in order}) == renamed({name: bodies[name] for name in found})


def test_the_hashes_of_the_examples_are_true() -> None:
    shown = examples()
    layout = Layout("main")
    head = codec.decode_head(shown[layout.head], "head")
    first = shown[layout.entry(head.incarnation, 1)]
    second = shown[layout.entry(head.incarnation, 2)]
    assert codec.decode_entry(first, "").previous == hashlib.sha256(head.incarnation.encode()).hexdigest()
    assert codec.decode_entry(second, "").previous == hashlib.sha256(first).hexdigest()
    assert head.checkpoint is not None
    packed = shown[layout.root + head.checkpoint.name]
    assert (head.checkpoint.sha256, head.checkpoint.size) == (hashlib.sha256(packed).hexdigest(), len(packed))
    checkpoint = checkpoint_codec.decode_state(packed, "")
    assert checkpoint.chain == hashlib.sha256(second).hexdigest()
    assert checkpoint_codec.encode_state(checkpoint.state, head.incarnation, 2, checkpoint.chain) == packed
    assert codec.encode_head(head) == shown[layout.head]


@pytest.mark.parametrize("what", ["seq", "by"])
def test_a_changed_example_would_be_noticed(what: str) -> None:
    shown = examples()
    entry = json.loads(next(body for name, body in shown.items() if name.endswith("/log/00000000000000000002")))
    changed = {**entry, what: 7}
    assert renamed({"x": json.dumps(changed).encode()}) != renamed({"x": json.dumps(entry).encode()})
