"""Live display of the last expression of a cell, registered when this package is imported."""

from __future__ import annotations

from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display  # pyright: ignore[reportUnknownVariableType]

from rxmps3.database.presence import Presence
from rxmps3.errors import Error
from rxmps3.jupyter.people import presence
from rxmps3.jupyter.showing import live
from rxmps3.streams.collection import Collection
from rxmps3.streams.stream import Live

__all__ = ["register"]


def register() -> None:
    """Make the kernel show keys, other `Live` streams and collections as `live` does. Does nothing outside a kernel."""
    shell: Any = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    formatter = shell.display_formatter.ipython_display_formatter
    formatter.for_type(Live, _show)
    formatter.for_type(Collection, _show)
    formatter.for_type(Presence, _show)


def _show(stream: Live[Any] | Collection[Any, Any] | Presence) -> None:
    try:
        display(presence(stream) if isinstance(stream, Presence) else live(stream))
    except Error:  # as where no event loop runs: what it is, then
        own = getattr(stream, "_repr_mimebundle_", None)
        display({"text/plain": repr(stream)} if own is None else own(), raw=True)
