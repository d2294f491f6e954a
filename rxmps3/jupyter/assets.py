"""The front-end sources, also bundled into one module per view.

The files in ``static`` are ES modules. A web page imports them as they are; anywidget takes a single module per widget,
so the modules that a view imports are placed before it, each wrapped in a function. There is no build step and no
generated file. The modules therefore write each import as ``import { a, b } from "./file.js"`` on one line, and export
either before a declaration or as ``export { a };``.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["module", "source", "style"]

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w/]+)\.js";$', re.MULTILINE)
_DECLARED = re.compile(r"^export (?=(?:async )?(?:function\*?|const|class) (\w+))", re.MULTILINE)
_LISTED = re.compile(r"^export \{ ([\w, ]+) \};$", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


@cache
def source(name: str) -> str:
    """The text of a file in ``static``, such as ``"table.js"``."""
    return files("rxmps3.jupyter").joinpath("static", *name.split("/")).read_text("utf-8")


@cache
def module(view: str, carrier: str = "anywidget") -> str:
    """The ES module of one view, with everything that it imports.

    Args:
        view: the name of the file that exports ``render(model, el)``.
        carrier: the name of the file that exports ``rendering(render)``, what is called to draw.
    """
    parts: dict[str, str] = {}
    _collect(view, parts)
    _collect(carrier, parts)
    entry = f"export default {{ render: $carrier.rendering($['{view}'].render) }};"
    return "\n".join(["const $ = {};", *parts.values(), f"const $carrier = $['{carrier}'];", entry])


def style() -> str:
    """The style sheet shared by all views."""
    return source("vendor/uplot.css") + source("rxmps3.css")


def _collect(name: str, parts: dict[str, str]) -> None:
    if name in parts:
        return
    text = source(f"{name}.js")
    for _, imported in _IMPORT.findall(text):
        _collect(imported, parts)
    exported = [*_DECLARED.findall(text), *(one for names in _LISTED.findall(text) for one in names.split(", "))]
    body = _IMPORT.sub(lambda found: f"const {found[1]} = $['{found[2]}'];", text)
    body = _LISTED.sub("", _DECLARED.sub("", body))
    if left := _LEFT.search(body):
        raise SyntaxError(f"{name}.js: {left[0]!r} cannot be put into one module")
    parts[name] = f"$['{name}'] = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
