"""Records of simulated histories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.model.recording import RecordingStorage, Tape
from tests.simulator import Plan, Report, session
from tests.simulator.running import play
from tests.simulator.session import Session

__all__ = ["played"]


def played(plan: Plan) -> tuple[Tape, Report, list[str]]:
    """The record of a history, what became of it, and the writes that several processes may have sent."""
    tape = Tape()
    copied: list[str] = []
    with _recording(tape, copied):
        report = play(plan)
    return tape, report, copied


@contextmanager
def _recording(tape: Tape, copied: list[str]) -> Iterator[None]:
    storage, settled = session.SimStorage, Session._settled  # pyright: ignore[reportPrivateUsage]

    def recorded(bucket: Any, network: Any, life: Any) -> RecordingStorage:
        return RecordingStorage(storage(bucket, network, life), tape, str(life))

    def tell(self: Any, record: Any, receipt: Any) -> None:
        settled(self, record, receipt)
        copied[:] = [write.version for write in self._recorder.writes if write.copied]
        if self._alive() and record.error is None:
            tape.told(str(self.life), record.version)

    with patch.object(session, "SimStorage", recorded), patch.object(Session, "_settled", tell):
        yield
