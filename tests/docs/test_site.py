"""The documentation as a site has every page and every public name. (CI builds it, and checks its links.)"""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
REFERENCES = set(re.findall(r"^::: (\S+)$", "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md")), re.M))
HOMES = [f"homes.{path.stem}" for path in (ROOT / "rxmps3/homes").glob("[!_]*.py")]
MODULES = ["", "bells", "blocking", "jupyter", "operators", "reducers", "storage", "testing", *HOMES]


def public(module: str) -> set[str]:
    """The full names in a module's ``__all__``, read without importing it: it may need a package that is not here."""
    path = ROOT.joinpath("rxmps3", *module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    [names] = [
        ast.literal_eval(node.value)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return {".".join(filter(None, ("rxmps3", module, name))) for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    assert public(module) - {"rxmps3.bells", "rxmps3.reducers"} <= REFERENCES


def test_the_reference_has_no_name_that_is_not_public() -> None:
    assert {name for module in MODULES for name in public(module)} >= REFERENCES


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


SECTIONS = ("Args:", "Attributes:", "Raises:")
INNER = ("local", "log", "model", "replica")


def outdented(docstring: str) -> list[str]:
    """The entries of a section that the reference would show as running text: they are not indented."""
    found, in_section, before = list[str](), False, ""
    for line in docstring.splitlines():
        if line in SECTIONS:
            in_section = True
        elif in_section and line and not line.startswith(" "):
            in_section = False
            if before:
                found.append(line)
        before = line
    return found


def test_entries_of_docstrings_are_indented() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    files = [path for path in (ROOT / "rxmps3").rglob("*.py") if path.relative_to(ROOT).parts[1] not in INNER]
    wrong = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, documented)
        for line in outdented(ast.get_docstring(node) or "")
    ]
    assert wrong == []
