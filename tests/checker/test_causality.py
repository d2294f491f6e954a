"""Each of the five patterns is found where it is planted, and none in histories that have the property."""

from __future__ import annotations

from tests.checker.causality import Step, find_patterns


def w(id: str, *keys: str) -> Step:
    """A write of some keys."""
    return Step(wrote=dict.fromkeys(keys or ("x",), id), id=id)


def d(id: str, key: str = "x") -> Step:
    """A delete, with a tag of its own."""
    return Step(wrote={key: None, f"tag {id}": id}, id=id)


def r(id: str | None, key: str = "x") -> Step:
    """A read."""
    return Step(saw={key: id})


def names(**sessions: list[Step]) -> set[str]:
    return {pattern.name for pattern in find_patterns(sessions)}


def test_what_converges_has_none() -> None:
    assert names(a=[w("1"), w("2")], b=[r(None), r("1"), r("2"), w("3", "x", "y")], c=[r("3", "y"), r("3")]) == set()
    assert names(a=[w("1")], b=[w("2")], c=[r("1"), r("2")], d=[r("2")]) == set(), "concurrent, in one order"
    assert names(a=[w("1"), d("2")], b=[r("1"), r(None)]) == set()


def test_thin_air() -> None:
    assert names(a=[r("1")]) == {"ThinAirRead"}
    assert names(a=[w("1", "y"), r("1", "x")]) == {"ThinAirRead"}, "that write does not write this key"


def test_cyclic_co() -> None:
    assert names(a=[r("2", "y"), w("1", "x")], b=[r("1", "x"), w("2", "y")]) == {"CyclicCO"}


def test_write_co_init_read() -> None:
    assert names(a=[w("1"), r(None)]) == {"WriteCOInitRead"}
    assert names(a=[w("1", "x", "y")], b=[r("1", "y"), r(None)]) == {"WriteCOInitRead"}
    assert names(a=[d("1"), w("2")], b=[r("2"), r(None)]) == {"WriteCOInitRead"}, "the only delete is overwritten"


def test_write_co_read() -> None:
    assert names(a=[w("1"), w("2")], b=[r("2"), r("1")]) >= {"WriteCORead"}
    assert names(a=[w("1")], b=[r("1"), w("2"), w("3", "z")], c=[r("3", "z"), r("1")]) >= {"WriteCORead"}


def test_cyclic_cf() -> None:
    found = names(a=[w("1")], b=[w("2")], c=[r("1"), r("2")], d=[r("2"), r("1")])
    assert found == {"CyclicCF"}, "two who see concurrent writes in another order"
    assert names(a=[w("1"), r("2")], b=[w("2"), r("1")]) == {"CyclicCF"}
