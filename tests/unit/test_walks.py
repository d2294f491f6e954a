"""The walks through the package stay as short as they are, and can be traced."""

from __future__ import annotations

import pytest

from tests.walks import WALKS, Walk

LONGEST = {
    "a put to its observer": (32, 75),
    "a commit to its receipt": (50, 215),
    "a foreign version to its observer": (51, 185),
}
"""Rooms and moves that each walk may have. Whoever makes a walk shorter lowers them."""


def test_a_walk_is_counted() -> None:
    walk = Walk(["a", "b", "a", "c", "b"])
    assert (walk.rooms, walk.moves, walk.returns) == (3, 4, 2)
    assert (Walk().rooms, Walk().moves, Walk().returns) == (0, 0, 0)


@pytest.mark.parametrize("name", WALKS)
async def test_a_walk_is_no_longer_than_it_was(name: str) -> None:
    walk = await WALKS[name]()
    rooms, moves = LONGEST[name]
    assert 5 < walk.rooms <= rooms, " → ".join(walk.steps)
    assert 5 < walk.moves <= moves, " → ".join(walk.steps)
