"""Nothing is said of a watch that ends while its thread looks."""

from __future__ import annotations

import logging

import pytest
from watchdog.observers.api import ObservedWatch

import rxmps3.bells.watching  # noqa: F401

inotify = pytest.importorskip("watchdog.observers.inotify", exc_type=Exception)


def test_an_emitter_that_looks_after_its_end_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    emitter = inotify.InotifyEmitter(None, ObservedWatch("/", recursive=False))
    with caplog.at_level(logging.DEBUG):
        emitter.queue_events(1)
    assert caplog.records == []
