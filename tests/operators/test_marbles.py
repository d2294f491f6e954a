"""The marble diagrams in the docstrings of the operators, played."""

from __future__ import annotations

import pytest

from rxmps3 import operators
from rxmps3.testing import marbles
from rxmps3.testing.marbles import Diagram, diagrams_of, expected, play

NAMES = {name: getattr(operators, name) for name in operators.__all__} | marbles.names
DIAGRAMS = [
    pytest.param(diagram, id=f"{name}-{diagram}")
    for name in operators.__all__
    for diagram in diagrams_of(getattr(operators, name).__doc__ or "")
]


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_a_diagram_is_what_happens(diagram: Diagram) -> None:
    assert play(diagram, NAMES) == expected(diagram)


@pytest.mark.parametrize("name", operators.__all__)
def test_every_operator_has_a_diagram(name: str) -> None:
    assert diagrams_of(getattr(operators, name).__doc__ or "")


class TestThePlayerItself:
    def test_a_diagram_is_read(self) -> None:
        text = "Words::\n\n    source  -a\n    op(1)\n    result  --b|\n\n    op(2)\n    one  x\n    two  ^\n\nWords.\n\n    no\n"
        assert diagrams_of(text) == [
            Diagram(("-a",), "op(1)", (("result", "--b|"),)),
            Diagram((), "op(2)", (("one", "x"), ("two", "^"))),
        ]

    def test_a_diagram_without_a_result_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="expression"):
            diagrams_of("Words::\n\n    source  -a\n    op(1)\n\nWords.\n")

    @pytest.mark.parametrize("wrong", ["-a-b|", "-a--b-|", "-a--c|", "-a--b#", "-a--|", "-a--b"])
    def test_another_result_is_noticed(self, wrong: str) -> None:
        diagram = Diagram(("-a--b|",), "share_latest()", (("result", wrong),))
        assert play(diagram, NAMES) != expected(diagram)

    def test_a_task_that_is_left_is_noticed(self) -> None:
        async def forever(_: str) -> None:
            import asyncio

            while True:
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    pass

        diagram = Diagram(("-a-|",), "map_async(forever)", (("result", "---"),))
        with pytest.raises(RuntimeError, match="tasks are left over"):
            play(diagram, NAMES | {"forever": forever})
