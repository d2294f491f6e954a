"""A real IPython kernel, cell by cell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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

    async def run_in_lab(self, cell_id: str, source: str, deleted: Sequence[str] = ()) -> None:
        """Run a cell as JupyterLab does, which tells its id and those of the cells deleted since the last time."""
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        await self._ask("execute_request", content, {"cellId": cell_id, "deletedCells": list(deleted)})

    async def click(self, button_id: str) -> None:
        """Press a button, as the page does."""
        await self.tell(button_id, {"event": "click"})

    async def tell(self, widget_id: str, message: dict[str, Any], subshell: str | None = None) -> None:
        """Send a message to a widget as a page does, which has a subshell of its own."""
        await self.to_comm(widget_id, {"method": "custom", "content": message}, subshell)

    async def to_comm(self, widget_id: str, data: dict[str, Any], subshell: str | None = None) -> None:
        """Send what a page sends to a widget's comm."""
        await self._ask("comm_msg", {"comm_id": widget_id, "data": data}, {}, subshell)

    async def subshell(self) -> str:
        """Make a subshell, as each page of JupyterLab does for its widgets."""
        return (await self._control("create_subshell_request", {}))["subshell_id"]

    async def delete_subshell(self, subshell: str) -> None:
        """As a page does when it is closed."""
        await self._control("delete_subshell_request", {"subshell_id": subshell})

    async def _control(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        client: Any = self._client.kc
        client.control_channel.send(client.session.msg(kind, content))
        return (await client.get_control_msg(timeout=60))["content"]

    async def _ask(
        self, kind: str, content: dict[str, Any], metadata: dict[str, Any], subshell: str | None = None
    ) -> None:
        client: Any = self._client.kc
        message = client.session.msg(kind, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        client.shell_channel.send(message)
        while True:
            heard = await client.get_iopub_msg(timeout=60)
            if heard["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert heard["msg_type"] != "error", heard["content"]
                if heard["content"].get("execution_state") == "idle":
                    break
        if kind == "execute_request":
            await asyncio.wait_for(client.get_shell_msg(), 60)


@asynccontextmanager
async def kernel() -> AsyncIterator[Kernel]:
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=60, kernel_name="python3")
    async with client.async_setup_kernel():
        yield Kernel(client)
