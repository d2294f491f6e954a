"""What the wheel and the sdist lack is named; that they lack nothing is looked at where they are built."""

from __future__ import annotations

from tests.packages import lacking

TRACKED = ["rxmps3/py.typed", "rxmps3/__init__.py", "notebooks/a.ipynb"]


def test_what_is_lacking_is_named() -> None:
    whole = [f"rxmps3-0.1.0/{name}" for name in TRACKED]
    wheel = ["rxmps3/py.typed", "rxmps3/__init__.py", "rxmps3-0.1.0.dist-info/METADATA"]
    assert lacking(TRACKED, wheel, whole) == []
    assert lacking(TRACKED, wheel[1:], whole) == ["the wheel lacks rxmps3/py.typed"]
    assert lacking(TRACKED, [*wheel, "tests/a.py"], whole) == ["the wheel holds tests/a.py"]
    assert lacking(TRACKED, wheel, whole[:2]) == ["the sdist lacks notebooks/a.ipynb"]
