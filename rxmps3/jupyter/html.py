"""Values as HTML. Pure; whatever comes from the database is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, cast

from rxmps3.jupyter.text import MOST_ROWS, short

__all__ = ["Render", "note", "to_html"]

Render = Callable[[Any], str]
"""Makes HTML of a value; it escapes what it does not trust."""


def to_html(value: Any) -> str:
    """A table for a mapping, the object's own HTML if it has one, else its text."""
    own: Any = getattr(value, "_repr_html_", None)
    if own is not None and not isinstance(value, type):
        made = own()
        if made is not None:
            return str(made)
    if isinstance(value, Mapping):
        return _table(cast("Mapping[Any, Any]", value))
    return f"<pre>{_text(value)}</pre>"


def note(text: str, *, wrong: bool = False) -> str:
    """A remark under the value."""
    color = "#b00020" if wrong else "#777"
    return f'<div style="color:{color};font-size:smaller">{escape(text)}</div>'


def _table(mapping: Mapping[Any, Any]) -> str:
    rows = [
        f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in list(mapping.items())[:MOST_ROWS]
    ]
    more = len(mapping) - MOST_ROWS
    rest = note(f"and {more:,} more") if more > 0 else ""
    return f'<table class="rxmps3-values">{"".join(rows)}</table>{rest}'


def _text(value: Any) -> str:
    return escape(short(value))
