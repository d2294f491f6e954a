"""Values that one call puts into several manifests, for protocols where manifests can share an object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from rxmps3.log.protocol import Planned
from rxmps3.model.state import WriteId
from rxmps3.replica.pending import Moment
from rxmps3.replica.values import Uploaded

__all__ = ["SharedValues"]

Answer = tuple[Moment, list[Uploaded | None]]


class SharedValues:
    """The values of a call: planned for the first manifest, and uploaded by whichever needs them first.

    Args:
        planned: the plan for the first manifest.

    Attributes:
        tried: when they were first sent; None until then.
    """

    tried: Moment | None = None

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._answer: Answer | None = None
        self._uploading = asyncio.Lock()

    def planned_for(self, id: WriteId) -> Planned:
        """The same values, as a write to another manifest."""
        update = {
            key: None if entry is None else replace(entry, version=id.version)
            for key, entry in self._planned.update.items()
        }
        return Planned(update, self._planned.contents)

    async def upload(self, upload: Callable[[], Awaitable[Answer]]) -> Answer:
        """Upload them, or wait for the upload that is already running; returns when it began, and its answers."""
        async with self._uploading:
            if self._answer is None:
                self._answer = await upload()
            return self._answer
