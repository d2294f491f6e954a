"""The fenced blocks of the documentation, and how they are run.

Conventions, for whoever writes a page:

* ``python`` blocks of a page run from top to bottom, on one event loop and with one set of names, as at the prompt of
  ``python -m asyncio``: a page imports what it uses, and opens its own databases. In the recipes of the cookbook there
  are ``asyncio``, ``rxmps3``, ``rx`` (reactivex), ``ops`` (its operators) and ``db``, a fresh database in memory. The
  working directory is empty at the start of a page.
* A block that calls ``asyncio.run`` is a whole program and runs by itself.
* ``expression  # → text`` must have that ``repr``; ``statement  # raises Name`` must raise that. ``…`` stands for
  anything.
* What a block prints is the ``text`` block right after it, and nothing if there is none.
* ``console`` blocks are shell sessions: ``$ command`` and what it prints, standard error included. ``rxmps3`` and
  ``python`` are those of the tests. Each begins in an empty directory.
* ``py`` blocks are scripts for Streamlit, and run by ``tests/examples/test_board.py``.
* ``py-app`` blocks are parts of programs for a framework, and only parsed; what they import from rxmps3 exists.
* ``python3`` blocks are cells of a notebook, and run by ``tests/docs/test_jupyter.py``.
* No other block is run. On pages that name an ``s3:`` URL, the environment points to a server with ``my-bucket``.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reactivex
from reactivex import operators

import rxmps3

__all__ = ["Block", "PageRun", "blocks_of", "differs", "pages", "run_session"]

ROOT = Path(__file__).parent.parent.parent
_FENCE = re.compile(r"^```([\w-]*)\s*$")
_EXPECTED = re.compile(r"#\s*(→|raises)\s*(.+?)\s*$")


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the file.
        line: the number of its first line within the file.
        language: what follows the fence.
        text: what is between the fences.
        output: the ``text`` block right after it, if there is one.
    """

    page: Path
    line: int
    language: str
    text: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_program(self) -> bool:
        """Whether it brings its own event loop."""
        return "asyncio.run(" in self.text


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text().split("\n")
    number, last_end = 0, -2
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        start = number
        while number < len(lines) and lines[number].rstrip() != "```":
            number += 1
        assert number < len(lines), f"{page}:{start}: a fence is not closed"
        text = "\n".join(lines[start:number]) + "\n"
        before = found[-1] if found else None
        between = "".join(lines[last_end + 1 : start - 1]).strip()
        if opening[1] == "text" and before is not None and before.language == "python" and not between:
            found[-1] = Block(before.page, before.line, before.language, before.text, text)
        else:
            found.append(Block(page, start + 1, opening[1], text))
        last_end = number
        number += 1
    return found


def differs(found: str, shown: str) -> bool:
    """Whether a text is not the one that a page shows, in which … stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, found.strip(), re.DOTALL) is None


class PageRun:
    """Runs the blocks of one page, one after the other.

    Args:
        directory: the working directory.
        prepared: whether the names of a recipe are there from the start.
    """

    def __init__(self, directory: Path, *, prepared: bool = False) -> None:
        self.directory = directory
        self._prepared = prepared
        self._names: dict[str, Any] = {"__name__": "__page__", "_same": _same, "_raised": _raised}
        if prepared:
            self._names |= {"asyncio": asyncio, "rxmps3": rxmps3, "rx": reactivex, "ops": operators}

    def run(self, blocks: Sequence[Block]) -> None:
        """Run them. Raises what they raise, and AssertionError where a page shows something else than happens."""
        with contextlib.chdir(self.directory), asyncio.Runner() as runner:
            try:
                for block in blocks:
                    printed = io.StringIO()
                    with contextlib.redirect_stdout(printed):
                        self._run_one(block, runner)
                    assert not differs(printed.getvalue(), block.output), (
                        f"{block} printed\n{printed.getvalue()}and the page shows\n{block.output}"
                    )
            finally:
                if (db := self._names.get("db")) is not None:
                    closing = db.close(timeout=0)
                    if inspect.iscoroutine(closing):
                        runner.run(closing)

    def _run_one(self, block: Block, runner: asyncio.Runner) -> None:
        tree = _Expectations(block).visit(ast.parse(block.text))
        ast.increment_lineno(ast.fix_missing_locations(tree), block.line - 1)
        code = compile(tree, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if block.is_program:
            exec(code, {"__name__": "__main__", "_same": _same, "_raised": _raised})
        else:
            runner.run(self._perform(code))

    async def _perform(self, code: Any) -> None:
        if self._prepared and "db" not in self._names:
            self._names["db"] = await rxmps3.connect("memory:")
        done = eval(code, self._names)
        if inspect.iscoroutine(done):
            await done
        await asyncio.sleep(0.01)  # what was handed over to the loop


class _Expectations(ast.NodeTransformer):
    """Turns the comments ``# → text`` and ``# raises Name`` into checks."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._lines = block.text.split("\n")

    def _expected(self, node: ast.stmt) -> tuple[str, str] | None:
        found = _EXPECTED.search(self._lines[(node.end_lineno or 0) - 1])
        return (found[1], found[2]) if found else None

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.Expr, ast.Assign)) and (expected := self._expected(node)) is not None:
            kind, text = expected
            where = f"{self._block.page.name}:{self._block.line + node.lineno - 1}"
            if kind == "raises":
                with_ = ast.parse(f"with _raised({text!r}, {where!r}): pass").body[0]
                assert isinstance(with_, ast.With)
                with_.body = [node]
                return ast.copy_location(with_, node)
            assert isinstance(node, ast.Expr), f"{where}: only an expression has a value"
            check = ast.parse(f"_same(None, {text!r}, {where!r})").body[0]
            assert isinstance(check, ast.Expr)
            assert isinstance(check.value, ast.Call)
            check.value.args[0] = node.value
            return ast.copy_location(check, node)
        return super().generic_visit(node)


def _same(value: object, text: str, where: str) -> None:
    assert not differs(repr(value), text), f"{where}: it is {value!r}, and the page shows {text}"


@contextlib.contextmanager
def _raised(name: str, where: str) -> Iterator[None]:
    raised: Exception | None = None
    try:
        yield
    except Exception as error:
        raised = error
    assert type(raised).__name__ == name, f"{where}: it raises {raised!r}, and the page says {name}"


def run_session(block: Block, directory: Path) -> None:
    """Run a ``console`` block. Raises AssertionError where it shows something else than is printed."""
    environment = os.environ | {
        "COLUMNS": "80",
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "TZ": "UTC",
    }
    for part in block.text.removeprefix("$ ").split("\n$ "):
        command, _, shown = part.partition("\n")
        done = subprocess.run(
            command,
            shell=True,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert not differs(done.stdout, shown), f"{block}: {command}\nprinted\n{done.stdout}and the page shows\n{shown}"
