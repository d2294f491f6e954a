"""What the log tells of writes that were put on top of others unseen."""

from __future__ import annotations

from typing import Any

import pytest

from rxmps3.model import jsontext
from rxmps3.model.collisions import Collisions
from rxmps3.model.missing import MISSING
from rxmps3.model.state import ContentObject, Entry, Inline, ManifestVersion, Write, WriteId


def version(id: int, writer: str, values: dict[str, Any], based: str | None = None, number: int = 0) -> ManifestVersion:
    name = f"{writer}-{number or id}"
    update = {
        key: None if value is MISSING else Entry(name, Inline(jsontext.encode(value))) for key, value in values.items()
    }
    write = Write(WriteId(writer, number or id), "n", update, based=based)
    return ManifestVersion(str(id), writer, writer.upper(), None, (write,))


def collisions(*versions: ManifestVersion) -> list[tuple[str, int, int, int, int, str]]:
    reads = Collisions()
    found = [one for each in versions for one in reads.read(each)]
    return [(one.key, one.first.id, one.then.id, one.based, one.unseen, one.outcome) for one in found]


def test_only_what_was_not_seen_collides() -> None:
    assert collisions(
        version(1, "a", {"k": 1, "other": 1}),
        version(2, "b", {"k": 2}),  # had read 1
        version(3, "a", {"k": 3}, based="2"),
        version(4, "b", {"k": 4}, based="2"),  # without 3
        version(5, "a", {"k": 5, "other": 2}, based="3"),  # without 4; its own 'other' is known to it
        version(6, "c", {"k": 6}, based=""),  # without any
    ) == [("k", 3, 4, 2, 1, "overwritten"), ("k", 4, 5, 3, 1, "overwritten"), ("k", 5, 6, 0, 5, "overwritten")]


@pytest.mark.parametrize(
    ("base", "first", "then", "outcome"),
    [
        ({"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 2, "y": 3}, "merged"),
        ({"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 1, "y": 3}, "overwritten"),
        ({"x": {"deep": 1}}, {"x": {"deep": 2}}, {"x": {"deep": 2, "more": 1}}, "merged"),
        ({"x": 1, "y": 1}, {"y": 1}, {"y": 2}, "merged"),
        ({"x": 1}, {}, {"x": 1, "y": 2}, "overwritten"),
        (MISSING, {"x": 1}, {"x": 1, "y": 2}, "merged"),
        (MISSING, 1, True, "overwritten"),
        ([1], [1, 2], [1, 2], "same"),
        (1, MISSING, 2, "overwritten"),
        (1, 2, MISSING, "overwritten"),
        (1, MISSING, MISSING, "same"),
    ],
)
def test_what_became_of_the_first_write(base: Any, first: Any, then: Any, outcome: str) -> None:
    found = collisions(version(1, "c", {"k": base}), version(2, "a", {"k": first}), version(3, "b", {"k": then}, "1"))
    assert [one[-1] for one in found] == [outcome]


def test_values_in_objects_are_not_compared() -> None:
    large = Entry("b-3", ContentObject("values/k@b-3", "0" * 64, 9))
    write = Write(WriteId("b", 3), "n", {"k": large}, based="1")
    found = collisions(
        version(1, "c", {"k": 1}), version(2, "a", {"k": 2}), ManifestVersion("3", "b", "B", None, (write,))
    )
    assert [one[-1] for one in found] == ["unknown"]


def test_a_write_that_was_sent_twice_counts_once() -> None:
    again = version(4, "b", {"k": 3}, based="1", number=3)
    assert len(collisions(version(2, "a", {"k": 2}), version(3, "b", {"k": 3}, based="1"), again)) == 1


@pytest.mark.parametrize("based", ["x", "-1", "9" * 30, "99", "1_0"])
def test_nonsense_counts_as_not_said(based: str) -> None:
    assert collisions(version(2, "a", {"k": 2}), version(3, "b", {"k": 3}, based=based)) == []
