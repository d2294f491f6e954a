"""The helper that replaces parts of the code notices a replacement that changes nothing; all tests go through it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.mutating import Mutant, NothingMutated

HOME = """
from datetime import timedelta
GRACE = timedelta(hours=1)
UNREAD = timedelta(hours=2)

def double(number):
    return 2 * number

class Machine:
    @property
    def name(self):
        return "machine"

    @classmethod
    def made(cls):
        return cls()

    def run(self):
        return self.step() + double(1)

    def step(self):
        return 1

    async def walk(self):
        return self.step()
"""
USER = """
from rxmps3.example_home import GRACE, UNREAD, Machine, double

def use():
    return [double(one) for one in range(3)]

def wait():
    return GRACE

def count():
    return list(enumerate("ab"))

def build():
    return Machine().run()
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A module, and another one that has imported all that is in it."""
    made: list[Any] = []
    for name, source in (("rxmps3.example_home", HOME), ("rxmps3.example_user", USER)):
        made.append(ModuleType(name))
        monkeypatch.setitem(sys.modules, name, made[-1])
        exec(source, made[-1].__dict__)
    return made


def test_a_method_is_replaced_where_it_is_defined(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = modules
    mutant = Mutant(monkeypatch)
    mutant.replace(home.Machine.step, lambda self: 10)
    with pytest.raises(NothingMutated, match=r"example_home\.Machine\.step was replaced, and nothing called it"):
        mutant.verify()
    assert user.build() == 12
    mutant.verify()
    monkeypatch.undo()
    assert user.build() == 3


def test_a_function_is_replaced_wherever_it_has_been_imported(
    modules: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, user = modules
    mutant = Mutant(monkeypatch)
    mutant.replace(home.double, lambda number: 0)
    assert user.use() == [0, 0, 0]
    mutant.verify()
    assert home.Machine().run() == 1


def test_within_a_module_it_is_replaced_there_alone(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = modules
    mutant = Mutant(monkeypatch)
    mutant.replace(home.double, lambda number: 0, within=user)
    assert (user.use(), home.Machine().run()) == ([0, 0, 0], 3)
    mutant.verify()


async def test_a_coroutine_a_property_and_a_class_method(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = modules
    mutant = Mutant(monkeypatch)

    async def walk(self: Any) -> int:
        return 7

    mutant.replace(home.Machine.walk, walk)
    mutant.replace(home.Machine.name, lambda self: "mutant")
    machine = home.Machine()
    assert await machine.walk() == 7
    with pytest.raises(NothingMutated, match=r"Machine\.name was replaced"):
        mutant.verify()
    assert machine.name == "mutant"
    mutant.verify()
    mutant.replace(home.Machine.made, lambda cls: "made")
    assert home.Machine.made() == "made"
    mutant.verify()


def test_what_replaces_is_replaced_in_its_turn(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = modules
    mutant = Mutant(monkeypatch)
    mutant.replace(home.Machine.step, lambda self: 10)
    before = home.Machine.step
    mutant.replace(home.Machine.step, lambda self: before(self) + 1)
    assert home.Machine().step() == 11
    mutant.verify()


def test_a_value_a_class_and_a_builtin_within_a_module(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = modules
    mutant = Mutant(monkeypatch)
    mutant.replace(home.GRACE, "no grace", within=user)
    assert (user.wait(), home.GRACE) != ("no grace", "no grace")
    mutant.replace(enumerate, lambda items: [(0, one) for one in items], within=user)
    assert user.count() == [(0, "a"), (0, "b")]

    class Other(home.Machine):  # pyright: ignore
        def step(self) -> int:
            return 20

    mutant.replace(home.Machine, Other, within=user)
    with pytest.raises(NothingMutated, match=r"Machine was replaced, and nothing called it"):
        mutant.verify()
    assert user.build() == 22
    mutant.verify()


def test_what_is_not_there_or_not_read_cannot_be_replaced(modules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = modules
    mutant = Mutant(monkeypatch)
    with pytest.raises(NothingMutated, match="has the name UNREAD, and no function there reads it"):
        mutant.replace(home.UNREAD, None, within=user)
    with pytest.raises(NothingMutated, match=r"has no names in rxmps3\.example_user"):
        mutant.replace(home.Machine.step, None, within=user)
    with pytest.raises(NothingMutated, match="too common"):
        mutant.replace(None, 1, within=user)
    with pytest.raises(NothingMutated, match="say within which module"):
        mutant.replace(home.GRACE, None)
    user.again = user.GRACE
    with pytest.raises(NothingMutated, match="has 2 names"):
        mutant.replace(home.GRACE, None, within=user)
    step = home.Machine.step
    del home.Machine.step
    with pytest.raises(NothingMutated, match="is not what was to be replaced"):
        mutant.replace(step, lambda self: 0)
    with pytest.raises(NothingMutated, match="nothing was replaced"):
        mutant.verify()


def test_a_replacement_that_the_code_has_outgrown_is_no_mutation(
    modules: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = modules
    for outgrown in (lambda self: self.renamed, lambda: 0):
        with monkeypatch.context() as patch:
            mutant = Mutant(patch)
            mutant.replace(home.Machine.step, outgrown)
            with pytest.raises((AttributeError, TypeError)):
                home.Machine().run()
            with pytest.raises(NothingMutated, match=r"what replaces .*Machine\.step does not fit"):
                mutant.verify()


# -- all tests go through it ---------------------------------------------------------------------------------

NOT_OURS = ("os", "loop", "'fcntl.flock'", "running", "session", "Session", "type(chart)")
"""What tests may replace without it: the standard library, parts of the simulator, which is no code of the package, and
other libraries."""


def replacings(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls of ``setattr`` of a monkeypatch, and of ``mock.patch.object``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, verb = ast.unparse(node.func.value), node.func.attr
            if verb == "setattr" or (verb == "object" and owner.endswith("patch")):
                yield node


def test_no_test_replaces_code_without_it(repository: Path) -> None:
    found: list[str] = []
    for path in sorted((repository / "tests").rglob("*.py")):
        if path.name != "mutating.py":
            for call in replacings(ast.parse(path.read_text())):
                if ast.unparse(call.args[0]) not in NOT_OURS:
                    found.append(f"{path.relative_to(repository)}:{call.lineno}: {ast.unparse(call)}")
    assert not found, "\n".join(["use the fixture mutant instead:", *found])
