"""Each recipe of the cookbook stands for itself, and what it emits is shown and true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, PageRun, blocks_of

PAGE = ROOT / "docs/cookbook.md"
LINES = PAGE.read_text().split("\n")


def recipe_of(block: Block) -> str:
    """The heading that a block is under."""
    return next(line for line in reversed(LINES[: block.line]) if line.startswith("## ")).removeprefix("## ")


RECIPES = {recipe_of(block): block for block in blocks_of(PAGE)}


def test_every_recipe_is_one_block_with_what_it_prints() -> None:
    headings = [line.removeprefix("## ") for line in LINES if line.startswith("## ")]
    assert [recipe_of(block) for block in blocks_of(PAGE)] == headings
    assert len(headings) >= 15
    assert [name for name, block in RECIPES.items() if block.language != "python" or not block.output.strip()] == []


MARKED = [pytest.param(name, marks=[pytest.mark.heavy] * ("100_000" in block.text)) for name, block in RECIPES.items()]


@pytest.mark.parametrize("name", MARKED)
def test_a_recipe_prints_what_it_shows_without_the_others(name: str, tmp_path: Path) -> None:
    PageRun(tmp_path, prepared=True).run([RECIPES[name]])
