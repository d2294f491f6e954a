"""The lifetime of what a notebook cell creates: until the cell runs again.

In marimo, which is no IPython, it is also until the page is closed, where many pages have one process; in an
application of Panel until the session ends.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, NamedTuple

from reactivex.abc import DisposableBase

__all__ = ["Run", "belongs_to_this_cell", "in_a_subshell", "is_no_output", "this_run"]

logger = logging.getLogger("rxmps3")


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


def in_a_subshell() -> bool:
    """Whether the kernel handles a message that a page has sent to a subshell."""
    shell = _shell()
    parent: dict[str, Any] = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return parent.get("header", {}).get("subshell_id") is not None


def belongs_to_this_cell(thing: DisposableBase) -> None:
    """Dispose a resource when the current cell runs again or the notebook reports that it was deleted."""
    document = _document_of_panel()
    if document is not None:
        things = [thing]  # Panel may keep the document, which keeps what is called, for as long as its server runs

        def ended(_: object) -> None:
            while things:
                things.pop().dispose()

        document.on_session_destroyed(ended)
        return
    cells = _cells_of_marimo()
    if cells is not None:
        ends = _EndsWithMarimosCell(thing)
        cells.add(ends)
        _end_with_session(ends)
        return
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


# -- marimo and Panel ----------------------------------------------------------------------------------------------

_sessions: dict[threading.Thread, set[_EndsWithMarimosCell]] = {}


class _EndsWithMarimosCell:
    """An item of marimo's `CellLifecycleRegistry`."""

    def __init__(self, thing: DisposableBase) -> None:
        self._thing = thing
        self._session = threading.current_thread()

    def create(self, context: object) -> None:
        """The cell is running."""

    def dispose(self, context: object, deletion: bool) -> bool:
        """The cell is about to run again, or was deleted."""
        _sessions.get(self._session, set()).discard(self)
        self._thing.dispose()
        return True  # it is done with


def is_no_output() -> bool:
    """Whether what is made here is not shown as output of a cell that outlives it, as in marimo and in Panel."""
    return _cells_of_marimo() is not None or _document_of_panel() is not None


def _cells_of_marimo() -> Any:
    """The registry of what ends with a cell, of the session that this thread belongs to; None if there is none."""
    contexts: Any = sys.modules.get("marimo._runtime.context.types")
    context_here = getattr(contexts, "safe_get_context", None)  # none of this is public
    return None if context_here is None else getattr(context_here(), "cell_lifecycle_registry", None)


def _end_with_session(ends: _EndsWithMarimosCell) -> None:
    """Dispose it when the current thread has ended: that is how a session ends if it is not a process of its own."""
    session = threading.current_thread()
    if session is threading.main_thread():
        return
    known = session in _sessions
    _sessions.setdefault(session, set()).add(ends)
    if known:
        return

    def wait() -> None:
        session.join()
        for one in list(_sessions.pop(session)):
            try:
                one.dispose(None, deletion=True)
            except Exception as error:  # its page and its loop are gone
                logger.debug("what a session of marimo had made: %r", error)

    threading.Thread(target=wait, name="rxmps3 marimo session", daemon=True).start()


def _document_of_panel() -> Any:
    """The document of the session whose code runs in this thread; None if there is none."""
    panel: Any = sys.modules.get("panel")
    return None if panel is None else panel.state.curdoc


# -- IPython -------------------------------------------------------------------------------------------------------


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
