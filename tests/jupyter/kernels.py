"""A real IPython kernel, cell by cell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nbformat
from nbclient import NotebookClient


class Kernel:
    """Runs cells; a cell may be run again."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.messages: list[dict[str, Any]] = []

    def cell(self, source: str) -> Any:
        """A new cell at the end of the notebook."""
        self._client.nb.cells.append(nbformat.v4.new_code_cell(source))
        return self._client.nb.cells[-1]

    async def run(self, cell: Any) -> str:
        """Run a cell; the text of its result and of what it printed."""
        if isinstance(cell, str):
            cell = self.cell(cell)
        done = await self._client.async_execute_cell(cell, self._client.nb.cells.index(cell))
        texts: list[str] = []
        for output in done["outputs"]:
            if output["output_type"] == "stream":
                texts.append(output["text"])
            elif "data" in output:
                texts.append(output["data"].get("text/plain", ""))
        return "".join(texts).strip()


@asynccontextmanager
async def kernel() -> AsyncIterator[Kernel]:
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=60, kernel_name="python3")
    async with client.async_setup_kernel():
        yield Kernel(client)
