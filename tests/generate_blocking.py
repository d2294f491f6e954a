"""Writes the part of the blocking face that only delegates: ``python -m tests.generate_blocking [--check]``.

From each async class below comes a class with the same members without ``await``: what is awaited there is called
through the portal and takes a ``timeout``; everything else is passed on as it is. A method or property that the class
under ``rxmps3/blocking`` defines by hand is left to it.

``--check`` writes nothing. It names each member of the async face that is missing on the blocking one, or out of date
there; each one written by hand that takes other arguments; and each one that cannot be generated, since it takes a
coroutine or gives something that has to be awaited. It exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import AsyncIterable, Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reactivex import Observable

ROOT = Path(__file__).parents[1]
COMMAND = "python -m tests.generate_blocking"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Face:
    """An async class and its blocking counterpart.

    Attributes:
        source: the module of the async class, and its name.
        target: the module of the class written by hand, and its name.
        generated: the module that is written here, and the name of the class in it, which the one by hand inherits.
        inner: the property of the class by hand that gives the async object.
        operation: what errors of the portal call it; "" takes each member's own name.
        timeout: whether what is awaited takes a timeout.
        left_out: members that the blocking face does not have, and why.
    """

    source: tuple[str, str]
    target: tuple[str, str]
    generated: tuple[str, str]
    inner: str
    operation: str = ""
    timeout: bool = True
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


FACES = (
    Face(
        source=("rxmps3.database.database", "Database"),
        target=("rxmps3.blocking.database", "Database"),
        generated=("rxmps3.blocking.generated.database", "DatabaseDelegation"),
        inner="_database",
    ),
    Face(
        source=("rxmps3.database.past.past", "Past"),
        target=("rxmps3.blocking.past", "BlockingPast"),
        generated=("rxmps3.blocking.generated.past", "PastDelegation"),
        inner="past",
        left_out={"point": "for diff, restore and replay, which take it from the async one"},
    ),
    Face(
        source=("rxmps3.database.transaction", "Transaction"),
        target=("rxmps3.blocking.transaction", "Transaction"),
        generated=("rxmps3.blocking.generated.transaction", "TransactionDelegation"),
        inner="inner",
        operation="transact",
        timeout=False,
        left_out={
            "entries": "for restore, which is generated from the async one",
            "end": "for who commits it",
            "abandon": "for who commits it",
            "claim_changes": "for who commits it",
            "running": "for who runs it",
        },
    ),
)

INHERITED = ((("rxmps3.streams.key", "Key"), ("rxmps3.blocking.key", "BlockingKey")),)
"""Blocking classes that inherit the async one: they override all of it that is awaited."""

COUNTERPARTS = {
    "Past": ("rxmps3.blocking.past", "BlockingPast"),
    "Recorded": ("rxmps3.blocking.past", "BlockingRecorded"),
}
"""Async classes whose blocking counterpart is made of the portal and the async object."""
UNWRAPPED = {"Past": ("rxmps3.blocking.past", "past_of")}
"""What makes an argument of the counterpart that of the async class."""
ON_BOTH = {"Receipt", "Receipts"}
"""Can be awaited, and have a ``wait`` that blocks."""

WITHOUT_AWAIT = (
    ("await `get` first", "call `get` first"),
    ("Awaiting the receipt waits for the", "``wait`` of the receipt waits for the"),
    ("It is also an async iterable, and awaiting it gives a list.", "It is also an iterable."),
)
"""Phrases of the docstrings, and what replaces them in the blocking interface."""
TIMEOUT = "TimeoutError: it was not done within ``timeout`` seconds."


class CannotBeGenerated(Exception):
    """A member has to be written by hand, or left out with a reason."""


# -- what is there -----------------------------------------------------------------------------------------------


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def class_in(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def members_of(node: ast.ClassDef) -> dict[str, list[Function]]:
    """The public methods and properties of a class, each with its overloads first."""
    found: dict[str, list[Function]] = {}
    for one in node.body:
        if isinstance(one, Function) and not one.name.startswith("_"):
            found.setdefault(one.name, []).append(one)
    return found


def attributes_of(node: ast.ClassDef) -> set[str]:
    """The public attributes that ``__init__`` sets."""
    return {
        target.attr
        for one in node.body
        if isinstance(one, Function) and one.name == "__init__"
        for statement in ast.walk(one)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Attribute) and not target.attr.startswith("_")
    }


def imports_of(module: str, tree: ast.Module) -> dict[str, str]:
    """Each name that a module has, and the statement that brings it elsewhere."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"from {node.module} import {alias.name}{renamed}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name] = ast.unparse(ast.Import([alias]))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = f"from {module} import {node.name}"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    is_variable = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar"
                    found[target.id] = ast.unparse(node) if is_variable else f"from {module} import {target.id}"
    return found


def decorators_of(node: Function) -> set[str]:
    return {ast.unparse(one) for one in node.decorator_list}


# -- what cannot be generated ------------------------------------------------------------------------------------


def classes_in(hint: Any) -> Iterator[type]:
    origin = typing.get_origin(hint)
    if isinstance(origin, type):
        yield origin
    elif isinstance(hint, type):
        yield hint
    for inner in typing.get_args(hint):
        for one in inner if isinstance(inner, list) else [inner]:
            yield from classes_in(one)


def is_awaited(kind: type) -> bool:
    """Whether something of this class is of no use without ``await``; an Observable is, though it can be awaited."""
    if kind.__name__ in {*ON_BOTH, *COUNTERPARTS}:
        return False
    if issubclass(kind, Awaitable | AsyncIterable) and not issubclass(kind, Observable):
        return True
    return any(
        name in ("__aenter__", "__aiter__") or (not name.startswith("_") and inspect.iscoroutinefunction(value))
        for base in kind.__mro__
        if base is not Observable
        for name, value in vars(base).items()
    )


def check_types(kind: type, name: str) -> None:
    member = inspect.getattr_static(kind, name)
    function = member.fget if isinstance(member, property) else member
    for what, hint in typing.get_type_hints(function).items():
        for one in classes_in(hint):
            if is_awaited(one):
                role = "it gives" if what == "return" else f"its argument {what} takes"
                raise CannotBeGenerated(f"{role} {one.__name__}, which is awaited")


# -- generating --------------------------------------------------------------------------------------------------


class _Renamed(ast.NodeTransformer):
    """Names of async classes become those of their counterparts."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(COUNTERPARTS[node.id][1]) if node.id in COUNTERPARTS else node


def renamed(node: Any) -> Any:
    return _Renamed().visit(copy.deepcopy(node))


def names_in(node: ast.AST | None) -> set[str]:
    return set() if node is None else {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def signature(node: Function, *, timeout: bool) -> str:
    arguments: ast.arguments = renamed(node.args)
    if timeout:
        arguments.kwonlyargs.append(ast.arg("timeout", ast.parse("float | None", mode="eval").body))
        arguments.kw_defaults.append(ast.Constant(None))
    returns = "" if node.returns is None else f" -> {ast.unparse(renamed(node.returns))}"
    return f"def {node.name}({ast.unparse(arguments)}){returns}:"


def passed_on(node: Function) -> str:
    """The arguments of the call."""
    given: list[str] = []
    for one in (*node.args.posonlyargs, *node.args.args)[1:]:
        unwrap = next((UNWRAPPED[name][1] for name in sorted(names_in(one.annotation)) if name in UNWRAPPED), None)
        given.append(one.arg if unwrap is None else f"{unwrap}({one.arg})")
    if node.args.vararg is not None:
        given.append(f"*{node.args.vararg.arg}")
    given += [f"{one.arg}={one.arg}" for one in node.args.kwonlyargs]
    if node.args.kwarg is not None:
        given.append(f"**{node.args.kwarg.arg}")
    return ", ".join(given)


def without_await(paragraph: str) -> str:
    said = paragraph
    for old, new in WITHOUT_AWAIT:
        said = re.sub(re.escape(old).replace(r"\ ", r"\s+"), new, said)
    return said if said == paragraph or "\n    " in said else textwrap.fill(said, 112)


def docstring(node: Function, *, timeout: bool) -> str:
    text = ast.get_docstring(node)
    if text is None:
        raise CannotBeGenerated("it has no docstring")
    text = "\n\n".join(without_await(paragraph) for paragraph in text.split("\n\n"))
    if left := re.search(r"\bawait\w*|\basync\b", text):
        raise CannotBeGenerated(f"its docstring says {left[0]!r}: add to WITHOUT_AWAIT what it is to say")
    if timeout:
        text += (
            f"\n    {TIMEOUT}"
            if re.search(r"^Raises:\n(    .*(\n|$))+\Z", text, re.M)
            else f"\n\nRaises:\n    {TIMEOUT}"
        )
    one_line = '"""' if "\n" not in text else '\n        """'
    return f'"""{text.replace(chr(92), chr(92) * 2)}'.replace("\n", "\n        ") + one_line


def generated_member(face: Face, nodes: list[Function]) -> str:
    node = nodes[-1]
    if decorators_of(node) - {"property"}:
        raise CannotBeGenerated(f"it is decorated with {', '.join(sorted(decorators_of(node)))}")
    awaited = isinstance(node, ast.AsyncFunctionDef)
    timeout = awaited and face.timeout and "timeout" not in {one.arg for one in node.args.kwonlyargs + node.args.args}
    lines = [f"    @overload\n    {signature(one, timeout=timeout)} ...\n" for one in nodes[:-1]]
    if "property" in decorators_of(node):
        lines.append("    @property")
    lines += [f"    {signature(node, timeout=timeout)}", f"        {docstring(node, timeout=timeout)}"]
    value = f"self.{face.inner}.{node.name}"
    if "property" not in decorators_of(node):
        call = f"{value}({passed_on(node)})"
        if awaited:
            for one in (*node.args.args, *node.args.kwonlyargs):
                if "Iterable" in names_in(one.annotation):
                    lines.append(
                        f"        {one.arg} = tuple(several({one.arg}, {node.name!r}))  # here: a generator may block"
                    )
            what = f"lambda: {call}" if passed_on(node) else value
            until = ", timeout" if timeout else ""
            value = f"self._portal.call({face.operation or node.name!r}, {what}{until})"
        else:
            value = call
    kind = node.returns.value if isinstance(node.returns, ast.Subscript) else node.returns
    if isinstance(kind, ast.Name) and kind.id in COUNTERPARTS:
        value = f"{COUNTERPARTS[kind.id][1]}(self._portal, {value})"
    gives_nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
    lines.append(f"        {value}" if gives_nothing else f"        return {value}")
    return "\n".join(lines) + "\n"


def generated(face: Face) -> tuple[str, list[str]]:
    """The text of the generated module, and what is wrong with the face."""
    module, name = face.source
    tree = ast.parse(path_of(module).read_text())
    source, members = class_in(tree, name), members_of(class_in(tree, name))
    by_hand = members_of(class_in(ast.parse(path_of(face.target[0]).read_text()), face.target[1]))
    kind: type = getattr(importlib.import_module(module), name)
    problems: list[str] = []
    bodies: list[str] = []
    used: set[str] = set()
    for member, nodes in members.items():
        if member in by_hand:
            problems += other_arguments(name, nodes[-1], by_hand[member][-1])
        elif member not in face.left_out:
            try:
                check_types(kind, member)
                bodies.append(generated_member(face, nodes))
                used |= {"several"} if "several(" in bodies[-1] else set()
            except CannotBeGenerated as error:
                problems.append(f"{name}.{member}: {error}: write it by hand in {face.target[0]}")
            for node in nodes:
                used |= names_in(node.args) | names_in(node.returns) | ({"overload"} if len(nodes) > 1 else set())
    for member in sorted(attributes_of(source) - by_hand.keys()):
        problems.append(f"{name}.{member}: it is an attribute: write it by hand in {face.target[0]}")
    known = imports_of(module, tree)
    statements = {known[one] for one in used if one in known and one not in COUNTERPARTS}
    for table in (COUNTERPARTS, UNWRAPPED):
        statements |= {f"from {place} import {one}" for name, (place, one) in table.items() if name in used}
        statements -= {s for s in statements if "past_of" in s and not any("past_of(" in body for body in bodies)}
    variables = sorted(one for one in statements if not one.startswith(("from ", "import ")))
    statements |= {"from typing import TypeVar"} if variables else set()
    statements |= {
        "from abc import abstractmethod",
        "from rxmps3.blocking.portal import Portal",
        f"from {module} import {name}",
    }
    imports = "\n".join(sorted(statements - set(variables)))
    text = f'''"""`{module}.{name}` without ``await``, as far as that only delegates.

Written by ``{COMMAND}``: change the async class and run it again.
"""

from __future__ import annotations

{imports}

__all__ = ["{face.generated[1]}"]

{chr(10).join(variables)}

class {face.generated[1]}:
    """What a blocking `{name}` hands on to the async one."""

    _portal: Portal

    @property
    @abstractmethod
    def {face.inner}(self) -> {name}:
        """The async one."""

{chr(10).join(bodies)}'''
    return text, problems


def other_arguments(name: str, awaited: Function, blocking: Function) -> list[str]:
    """What a member by hand takes otherwise; a timeout more is fine."""

    def taken(node: Function) -> list[str]:
        arguments = [*node.args.posonlyargs, *node.args.args]
        defaults = [None] * (len(arguments) - len(node.args.defaults)) + node.args.defaults
        pairs = [*zip(arguments, defaults, strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
        return [
            one.arg if default is None else f"{one.arg}=…"
            for one, default in pairs
            if one.arg not in ("self", "timeout")
        ]

    if taken(awaited) == taken(blocking):
        return []
    return [
        f"{name}.{awaited.name}: takes ({', '.join(taken(awaited))}), and by hand ({', '.join(taken(blocking))}) without await"
    ]


def not_overridden() -> list[str]:
    """What is awaited in a class that a blocking one inherits and does not override."""
    problems: list[str] = []
    for (module, name), (blocking, other) in INHERITED:
        members = members_of(class_in(ast.parse(path_of(module).read_text()), name))
        overridden = members_of(class_in(ast.parse(path_of(blocking).read_text()), other))
        problems += [
            f"{name}.{member}: it is awaited: override it in {blocking}.{other}"
            for member, nodes in members.items()
            if isinstance(nodes[-1], ast.AsyncFunctionDef) and member not in overridden
        ]
    return problems


# -- writing and checking ----------------------------------------------------------------------------------------


def formatted(text: str, path: Path) -> str:
    for command in (["check", "--quiet", "--fix", "--select", "I,F401,UP"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


def meaning(text: str, name: str) -> dict[str, str]:
    """Each member of a generated class with its overloads, however it is laid out."""
    members = members_of(class_in(ast.parse(text), name))
    for node in (node for nodes in members.values() for node in nodes):
        if (said := ast.get_docstring(node)) is not None:
            node.body[0] = ast.Expr(ast.Constant(said))
    return {member: "\n".join(ast.unparse(node) for node in nodes) for member, nodes in members.items()}


def differences(face: Face, text: str) -> list[str]:
    path, name = path_of(face.generated[0]), face.generated[1]
    new = meaning(text, name)
    old = meaning(path.read_text(), name) if path.exists() else {}
    return [
        f"{face.source[1]}.{member}: {what} in {path.relative_to(ROOT)}: run {COMMAND}"
        for what, members in (
            ("missing", new.keys() - old.keys()),
            ("left over", old.keys() - new.keys()),
            ("old", {member for member in new.keys() & old.keys() if new[member] != old[member]}),
        )
        for member in sorted(members)
    ]


def check() -> list[str]:
    """Everything that is wrong with the blocking face, a line each."""
    found = not_overridden()
    for face in FACES:
        text, problems = generated(face)
        found += problems + differences(face, text)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if the blocking face is not up to date"
    )
    if parser.parse_args().check:
        found = check()
    else:
        found = not_overridden()
        for face in FACES:
            text, problems = generated(face)
            found += problems
            path = path_of(face.generated[0])
            path.write_text(formatted(text, path))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
