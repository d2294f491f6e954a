"""The documentation as a site has every page and every public name. (CI builds it, and checks its links.)"""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

import rxmps3
from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
REFERENCES = set(re.findall(r"^::: (\S+)$", "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md")), re.M))
MODULES = ["blocking", "jupyter", "operators", "reducers", "storage", "testing"]


@pytest.mark.parametrize("module", [rxmps3, *(importlib.import_module(f"rxmps3.{name}") for name in MODULES)])
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    names = {f"{module.__name__}.{name}" for name in module.__all__} - {"rxmps3.reducers"}
    assert names <= REFERENCES


def test_the_reference_has_no_name_that_is_not_public() -> None:
    for reference in REFERENCES:
        module, _, name = reference.rpartition(".")
        assert name in importlib.import_module(module).__all__


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS / "mkdocs/mkdocs.yml").read_text()
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    pages += [f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")]
    pages += [f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")]
    missing = [page for page in pages if f"- {page}\n" not in navigation and not page.startswith("decisions/0")]
    assert missing == []


def test_the_start_page_leads_to_every_page_that_is_not_reference() -> None:
    start = (DOCS / "README.md").read_text()
    pages = [path.name for path in DOCS.glob("*.md") if path.name != "README.md"]
    assert [page for page in pages if f"({page})" not in start] == []
