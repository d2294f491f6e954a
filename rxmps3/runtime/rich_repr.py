"""The notebook display of an object: its `repr`, and a few facts as a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MOST_CHARACTERS", "bundle"]

MOST_CHARACTERS = 300
"""Of one fact."""


def bundle(text: str, title: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """The representations by media type that a notebook chooses from. All facts are escaped.

    Args:
        text: for consoles and wherever HTML cannot be shown.
        title: the heading of the table.
        facts: values by name; a value that is not a str is shown by its `repr`.
    """
    from html import escape  # its table of all entities takes longer to import than most of this package

    rows = "".join(
        f'<tr><th style="text-align:left;font-weight:500">{escape(name)}</th>'
        f'<td style="text-align:left;unicode-bidi:isolate">{escape(_short(fact))}</td></tr>'
        for name, fact in facts.items()
    )
    html = f'<table class="rxmps3-facts"><caption style="text-align:left">{escape(title)}</caption>{rows}</table>'
    return {"text/plain": text, "text/html": html}


def _short(fact: Any) -> str:
    text = fact if isinstance(fact, str) else repr(fact)
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"
