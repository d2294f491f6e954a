"""The lifetime of what a notebook cell creates: until the cell runs again."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from reactivex.abc import DisposableBase

__all__ = ["Run", "belongs_to_this_cell", "this_run"]


class Run(NamedTuple):
    """One execution of one cell."""

    cell: str
    execution: str

    def is_again(self, earlier: Run | None) -> bool:
        """Whether this run replaces the output of an earlier run of the same cell."""
        return earlier is not None and self.cell == earlier.cell and self.execution != earlier.execution


_latest: dict[str, tuple[str, list[DisposableBase]]] = {}
_watched: list[Any] = []


def this_run() -> Run | None:
    """The current cell execution; None outside a kernel, and while the kernel handles another message, such as a click.

    A cell is identified by the id that the front end sends, or else by its compiled name, which depends on its text. A
    cell whose code has ended is known only if it created something.
    """
    parent = _request(_shell())
    if not parent:
        return None
    execution = parent["header"]["msg_id"]
    made = (cell for cell, (latest, _) in _latest.items() if latest == execution)
    cell = _cell_id(parent) or _compiled_name() or next(made, "")
    return Run(cell, execution) if cell else None


def belongs_to_this_cell(thing: DisposableBase) -> None:
    """Dispose a resource when the current cell runs again or JupyterLab reports that it was deleted."""
    run = this_run()
    if run is None:
        return
    _watch(_shell())
    _begin(run)
    _, things = _latest.setdefault(run.cell, (run.execution, []))
    things.append(thing)


def _watch(shell: Any) -> None:
    """Dispose, before each execution, what the cell created the last time."""
    if shell not in _watched:
        _watched.append(shell)
        shell.events.register("pre_run_cell", _before_a_cell)


def _before_a_cell(_info: Any) -> None:
    parent = _request(_shell())
    for deleted in parent.get("metadata", {}).get("deletedCells") or ():
        _end(deleted)
    if cell := _cell_id(parent):
        _begin(Run(cell, parent["header"]["msg_id"]))


def _begin(run: Run) -> None:
    execution, _ = _latest.get(run.cell, (run.execution, []))
    if execution != run.execution:
        _end(run.cell)


def _end(cell: str) -> None:
    _, things = _latest.pop(cell, ("", []))
    for thing in things:
        thing.dispose()


def _shell() -> Any:
    ipython: Any = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _request(shell: Any) -> dict[str, Any]:
    """The front end's request for the cell being executed; empty otherwise."""
    parent: dict[str, Any] = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return parent if parent.get("header", {}).get("msg_type") == "execute_request" else {}


def _cell_id(parent: dict[str, Any]) -> str:
    return parent.get("metadata", {}).get("cellId") or ""


def _compiled_name() -> str:
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        name = frame.f_code.co_filename
        if "ipykernel_" in name or name.startswith("<ipython-input"):
            return name
        frame = frame.f_back
    return ""
