"""Replaces a part of the code while a test runs, and fails where that changes nothing.

What is replaced is the thing itself, not its name in a string: a test whose target is renamed, moved or deleted breaks
where it mentions it. A replacement that nobody calls, and one that fails because the code around it has changed, fail
the test too.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest

__all__ = ["Mutant", "NothingMutated"]


class NothingMutated(AssertionError):
    """What was to be replaced is not there, nothing uses it, or the replacement does not fit the code any more."""


@dataclass
class _Replacement:
    what: str
    calls: int = 0
    broken: Exception | None = None


class Mutant:
    """The code with some parts replaced, until the patch is undone."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._made: list[_Replacement] = []

    def replace(self, what: Any, by: Any, *, within: ModuleType | None = None) -> None:
        """Let the code use something else.

        Args:
            what: a function, a method or a property: it is replaced where it is defined, and a function in each module
                of the package that has imported it. With ``within`` anything that the module calls by a name of its
                own: a constant, a class, a module, what it has imported, a built-in function.
            by: what comes in its place; for a property, a function that takes the instance.
            within: the one module in which it is replaced.

        Raises:
            NothingMutated: it is not found there, or no code of that module reads it.
        """
        places = [self._in_module(what, within)] if within is not None else list(_homes(what))
        for place, name in places:
            made = _Replacement(f"{_called(place)}.{name}")
            put: Any = by
            if isinstance(what, property):
                put = property(_recorded(by, by, made))
            elif inspect.isclass(by):
                put = _recorded_class(by, made)
            elif callable(by):
                put = _recorded(by, what, made)
            else:
                made.calls = 1  # a value; that some code reads it has been looked up
            if name in vars(place) and isinstance(kept := vars(place)[name], (staticmethod, classmethod)):
                put = type(kept)(put)
            if len(places) == 1 or place is places[0][0]:
                self._made.append(made)
            else:  # the same function under the name by which another module has imported it
                put = getattr(*places[0])
            self._patch.setattr(place, name, put, raising=False)

    def _in_module(self, what: Any, module: ModuleType) -> tuple[ModuleType, str]:
        if what is None or isinstance(what, bool):
            raise NothingMutated(f"{what!r} is too common to be found in {module.__name__}")
        names = [name for name, value in vars(module).items() if value is what and not name.startswith("__")]
        if not names and getattr(builtins, getattr(what, "__name__", ""), None) is what:
            names = [what.__name__]
        if len(names) != 1:
            raise NothingMutated(f"{what!r} has {len(names) or 'no'} names in {module.__name__}: {names}")
        if not any(names[0] in _globals_read(code) for code in _codes(module)):
            raise NothingMutated(f"{module.__name__} has the name {names[0]}, and no function there reads it")
        return module, names[0]

    def undo(self) -> None:
        """Put everything back before the end."""
        self._patch.undo()

    def verify(self) -> None:
        """To be called once the code has run.

        Raises:
            NothingMutated: a replacement was never called, or failed since the code that it was written for is gone.
        """
        if not self._made:
            raise NothingMutated("nothing was replaced")
        for made in self._made:
            if made.broken is not None:
                raise NothingMutated(f"what replaces {made.what} does not fit: {made.broken!r}") from made.broken
            if not made.calls:
                raise NothingMutated(f"{made.what} was replaced, and nothing called it")


def _homes(what: Any) -> Iterator[tuple[Any, str]]:
    """Where a function, method or property is defined, then where else in the package it has been imported to."""
    if isinstance(what, MethodType) and not inspect.isclass(what.__self__):
        yield what.__self__, what.__name__
        return
    function = what.fget if isinstance(what, property) else getattr(what, "__func__", what)
    if not isinstance(function, FunctionType):
        raise NothingMutated(f"{what!r} is no function, method or property: say within which module it is replaced")
    *path, name = function.__qualname__.split(".")
    home: Any = sys.modules[function.__module__]
    for part in path:
        home = getattr(home, part, None)
    found = inspect.getattr_static(home, name, None)
    if found is not what and getattr(found, "__func__", found) is not function:
        raise NothingMutated(f"{function.__module__}.{function.__qualname__} is not what was to be replaced")
    yield home, name
    if not path:
        for module in [one for called, one in sys.modules.items() if called.partition(".")[0] == "rxmps3"]:
            for other, value in list(vars(module).items()):
                if value is what and module is not home:
                    yield module, other


def _recorded(by: Callable[..., Any], what: Any, made: _Replacement) -> Callable[..., Any]:
    """What does the same, counts its calls, and keeps the error of a replacement that misses what it was written for."""
    own = {__file__, *([by.__code__.co_filename] if isinstance(by, FunctionType) else [])}

    def look_at(error: Exception) -> None:
        end = error.__traceback__
        while end is not None and end.tb_next is not None:
            end = end.tb_next
        if end is not None and end.tb_frame.f_code.co_filename in own:
            made.broken = made.broken or error

    if inspect.iscoroutinefunction(by):

        async def waits(*args: Any, **options: Any) -> Any:
            made.calls += 1
            try:
                return await by(*args, **options)
            except (AttributeError, NameError, TypeError) as error:
                look_at(error)
                raise

        return _named_like(waits, what)

    def answers(*args: Any, **options: Any) -> Any:
        made.calls += 1
        try:
            return by(*args, **options)
        except (AttributeError, NameError, TypeError) as error:
            look_at(error)
            raise

    return _named_like(answers, what)


def _named_like(function: Callable[..., Any], what: Any) -> Callable[..., Any]:
    """With the name of what it replaces, so that it can be replaced in its turn."""
    return functools.update_wrapper(function, what, updated=()) if isinstance(what, FunctionType) else function


def _recorded_class(by: type[Any], made: _Replacement) -> type[Any]:
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        made.calls += 1
        by.__init__(self, *args, **options)

    return type(by.__name__, (by,), {"__init__": __init__, "__module__": by.__module__})


def _called(place: Any) -> str:
    if isinstance(place, ModuleType):
        return place.__name__
    kind: Any = place if inspect.isclass(place) else type(place)
    return f"{kind.__module__}.{kind.__qualname__}"


def _codes(module: ModuleType) -> Iterator[CodeType]:
    """The code of all that is defined in a module."""
    waiting: list[Any] = [value for value in vars(module).values() if _is_of(value, module)]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if inspect.isclass(one):
            waiting.extend(vars(one).values())
        elif isinstance(one, property):
            waiting.extend(part for part in (one.fget, one.fset, one.fdel) if part is not None)
        elif isinstance(one, CodeType):
            yield one
            waiting.extend(const for const in one.co_consts if isinstance(const, CodeType))
        elif isinstance(one, FunctionType) or hasattr(one, "__wrapped__") or hasattr(one, "__func__"):
            inner = getattr(one, "__wrapped__", None) or getattr(one, "__func__", None)
            waiting.extend(part for part in (inner, getattr(one, "__code__", None)) if part is not None)


def _is_of(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def _globals_read(code: CodeType) -> set[str]:
    return {
        one.argval
        for one in dis.get_instructions(code)
        if one.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
    }
