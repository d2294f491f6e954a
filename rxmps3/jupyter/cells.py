"""What a notebook cell has made lives until the cell runs again."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from reactivex.abc import DisposableBase

__all__ = ["Run", "belongs_to_this_cell", "this_run"]


class Run(NamedTuple):
    """One execution of one cell."""

    cell: str
    execution: str

    def is_again(self, earlier: Run) -> bool:
        """Whether it runs a cell anew, so that what the earlier run has put out is gone."""
        return self.cell == earlier.cell and self.execution != earlier.execution


_latest: dict[str, tuple[str, list[DisposableBase]]] = {}


def this_run() -> Run | None:
    """The execution that is going on; None outside a kernel.

    Front ends send the id of the cell along; where one does not, the compiled name of the cell stands for it, which
    is made from its text.
    """
    ipython: Any = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    parent: Any = getattr(shell, "get_parent", dict[str, Any])() if shell is not None else {}
    execution = parent.get("header", {}).get("msg_id")
    if not execution:
        return None
    return Run(parent.get("metadata", {}).get("cellId") or _compiled_name(), execution)


def _compiled_name() -> str:
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        name = frame.f_code.co_filename
        if "ipykernel_" in name or name.startswith("<ipython-input"):
            return name
        frame = frame.f_back
    return ""


def belongs_to_this_cell(thing: DisposableBase, run: Run | None = None) -> None:
    """Dispose it when the cell that is running now runs again."""
    run = run or this_run()
    if run is None:
        return
    execution, things = _latest.get(run.cell, ("", []))
    if execution != run.execution:
        for old in things:
            old.dispose()
        things = []
    things.append(thing)
    _latest[run.cell] = (run.execution, things)
