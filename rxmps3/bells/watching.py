"""Watches directories for `rxmps3.bells.files`, through watchdog.

It is imported when somebody listens, not when a database is opened.

One thread serves all watches of the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from threading import Lock
from typing import Any

from reactivex.abc import ObserverBase
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from rxmps3.bells.protocol import Rung
from rxmps3.errors import Unavailable

__all__ = ["Watching", "silent"]

_NEWS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
"""Not the opening and closing of files: looking would ring."""


def _tells_of_more_than_an_end(record: logging.LogRecord) -> bool:
    return "when the thread is inactive" not in record.getMessage()


logging.getLogger("watchdog.observers.inotify").addFilter(_tells_of_more_than_an_end)
"""Watchdog reports as an error that a watch was ended while its thread looked once more."""


class Watching(FileSystemEventHandler):
    """One subscriber. Directories are changed on its event loop, since watchdog holds a lock while it tells."""

    def __init__(self, root: str, manifest: str, observer: ObserverBase[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._root = root
        self._manifest = manifest
        self._observer = observer
        self._path = ""
        self._stopped = False

    def start(self) -> None:
        self._follow()
        self._observer.on_next(Rung())

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._leave()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog, on its thread."""
        path = os.fsdecode(event.dest_path or event.src_path)
        name = os.path.basename(path)
        if os.path.basename(self._path) == "log" and not event.is_directory:
            if name.isdigit():
                self._observer.on_next(Rung(str(int(name))))
        elif (path + os.sep).startswith(self._manifest) or (self._manifest + os.sep).startswith(path + os.sep):
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._follow_again)

    def _follow_again(self) -> None:
        if self._stopped:
            return
        try:
            self._follow()
        except OSError as error:
            self.stop()
            self._observer.on_error(silent(error, self._root))
        else:
            self._observer.on_next(Rung())

    def _follow(self) -> None:
        """Watch the log's directory, or the nearest one that is there. Once it is watched, it may not be any more."""
        while (path := _nearest(self._root, self._manifest)) != self._path:
            self._leave()
            _watch(self, path)
            self._path = path

    def _leave(self) -> None:
        path, self._path = self._path, ""
        if path:
            _unwatch(self, path)


def silent(error: OSError, root: str) -> Unavailable:
    return Unavailable(f"the file system does not tell: {error}", operation="listen", object=f"file:{root}")


def _nearest(root: str, manifest: str) -> str:
    """The newest directory of log entries, or else the deepest directory above it that exists."""
    logs: list[tuple[int, str]] = []
    if os.path.isdir(manifest):
        deepest = manifest
        for entry in os.scandir(manifest):
            log = os.path.join(entry.path, "log")
            if entry.name != "values" and os.path.isdir(log):
                logs.append((os.stat(log).st_mtime_ns, log))
            elif entry.name != "values" and entry.is_dir():
                deepest = entry.path
        return max(logs)[1] if logs else deepest
    path = os.path.dirname(manifest)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


_lock = Lock()
_observer: Any = None
_watches: dict[str, tuple[Any, int]] = {}
"""What is watched, and by how many."""


def _watch(handler: FileSystemEventHandler, path: str) -> None:
    """Watch one directory. The first watch starts the thread."""
    global _observer
    with _lock:
        if _observer is None:
            _observer = Observer()
            _observer.daemon = True
            _observer.start()
        try:
            watch = _observer.schedule(handler, path, recursive=False, event_filter=_NEWS)
        except OSError:
            _end_thread_if_idle()
            raise
        _watches[path] = watch, _watches.get(path, (watch, 0))[1] + 1


def _unwatch(handler: FileSystemEventHandler, path: str) -> None:
    """Watch it no longer. The last to leave ends the thread."""
    with _lock:
        watch, count = _watches.pop(path)
        if count > 1:
            _watches[path] = watch, count - 1
            _observer.remove_handler_for_watch(handler, watch)
        elif _watches:
            _observer.unschedule(watch)
        _end_thread_if_idle()


def _end_thread_if_idle() -> None:
    global _observer
    if not _watches:
        _observer.stop()
        _observer = None


def _forget() -> None:
    """In a forked child: it has no such threads."""
    global _lock, _observer
    _lock, _observer = Lock(), None
    _watches.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
