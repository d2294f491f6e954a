"""Values as HTML; whatever comes from the database is escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, cast

from IPython.core.formatters import DisplayFormatter
from IPython.core.getipython import get_ipython

from rxmps3.jupyter.text import MOST_IN_A_ROW, MOST_ROWS, short

__all__ = ["Render", "note", "to_html"]

Render = Callable[[Any], str]
"""Makes HTML of a value; it escapes what it does not trust."""


def to_html(value: Any) -> str:
    """What an object draws for notebooks (HTML, else a picture), a table for a mapping, else its text."""
    drawn = None if type(value) in _PLAIN or isinstance(value, type) else _drawn(value)
    if drawn is not None:
        return drawn
    if isinstance(value, Mapping):
        return _table(cast("Mapping[Any, Any]", value))
    return f"<pre>{escape(short(value))}</pre>"


def note(text: str, *, wrong: bool = False) -> str:
    """A remark under the value."""
    color = "#b00020" if wrong else "#777"
    return f'<div style="color:{color};font-size:smaller">{escape(text)}</div>'


def _table(mapping: Mapping[Any, Any]) -> str:
    rows = [
        f"<tr><th>{_cell(key)}</th><td>{_cell(value)}</td></tr>" for key, value in list(mapping.items())[:MOST_ROWS]
    ]
    more = len(mapping) - MOST_ROWS
    rest = note(f"and {more:,} more") if more > 0 else ""
    return f'<table class="rxmps3-values">{"".join(rows)}</table>{rest}'


def _cell(value: Any) -> str:
    return escape(short(value, MOST_IN_A_ROW))


_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict)
"""What has nothing of its own to draw."""

_DRAWN = {
    "text/html": "_repr_html_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
}
"""What can be put into a page, the best first, and the method of an object that makes it."""


def _drawn(value: Any) -> str | None:
    bundle: dict[str, Any] = _made(value, "_repr_mimebundle_", include=set(_DRAWN)) or {}
    for mime, method in _DRAWN.items():
        made: Any = bundle.get(mime) or _made(value, method) or _registered(value, mime)
        if made is not None:
            return _element(mime, made)
    return None


def _made(value: Any, method: str, **arguments: Any) -> Any:
    """What a method makes, without the metadata that may go with it; None if there is no such method."""
    own: Any = getattr(value, method, None)
    made: Any = own(**arguments) if callable(own) else None
    return cast(Any, made)[0] if isinstance(made, tuple) else made


def _registered(value: Any, mime: str) -> Any:
    """What the kernel was told to make of the type, as plotting libraries do for their figures."""
    shell: Any = get_ipython()
    formatter: Any = shell.display_formatter if shell is not None else DisplayFormatter()
    try:
        printer: Any = formatter.formatters[mime].lookup_by_type(type(value))
    except KeyError:
        return None
    made: Any = printer(value)
    return cast(Any, made)[0] if isinstance(made, tuple) else made


def _element(mime: str, made: Any) -> str:
    if not mime.startswith("image/") or mime == "image/svg+xml":
        return str(made)
    encoded = base64.b64encode(made).decode() if isinstance(made, bytes) else "".join(str(made).split())
    return f'<img src="data:{mime};base64,{escape(encoded)}" alt="">'
