"""The page on operators tells of each of them, with diagrams that are played."""

from __future__ import annotations

import inspect

import pytest

from rxmps3 import operators
from rxmps3.testing.marbles import Diagram, diagrams_of
from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/operators.md"


def section(name: str) -> str:
    return PAGE.read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", operators.__all__)
def test_an_operator_has_a_section_with_an_example(name: str) -> None:
    assert f"from rxmps3.operators import {name}" in section(name)


@pytest.mark.parametrize("name", operators.__all__)
def test_every_option_is_named(name: str) -> None:
    options = [*inspect.signature(getattr(operators, name)).parameters]
    told = section(name) + PAGE.read_text().partition("\n## ")[0]
    assert [one for one in options if one not in ("fn", "iterable") and f"`{one}" not in told] == []


def test_the_diagrams_are_those_of_the_docstrings_which_are_played() -> None:
    played = [one for name in operators.__all__ for one in diagrams_of(getattr(operators, name).__doc__ or "")]
    shown: list[Diagram] = []
    for block in blocks_of(PAGE):
        if block.language == "":
            indented = "\n".join(f"    {line}".rstrip() for line in block.text.split("\n"))
            shown += diagrams_of(f"Shown::\n\n{indented}\n\nEnd.\n")
    assert len(shown) >= len(operators.__all__)
    assert [one for one in shown if one not in played] == []
