"""The bell of ``file:``: the file system tells when an entry of the log appears.

One directory is watched at a time: that of the log's entries, or while there is none, the nearest one above it. The
operating system's notifications come through watchdog (inotify, FSEvents, ReadDirectoryChangesW), in one thread for
all watches of the process; nothing is polled.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from threading import Lock
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
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

__all__ = ["FileBell", "is_local"]

_NEWS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
"""Not the opening and closing of files: looking would ring."""
_LOCAL = frozenset(
    {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)


class FileBell:
    """Hears the commits of every process on this machine, whatever the topic. Nobody has to ring it.

    Args:
        root: the directory of the storage.
        folder: the components, below it, of the manifest's folder or file.
    """

    def __init__(self, root: str, folder: list[str]) -> None:
        self._root = root
        self._manifest = os.path.join(root, *folder)

    @property
    def is_reliable(self) -> bool:
        """Whether whoever writes there does so on this machine, as far as the file system's type tells."""
        return is_local(self._root)

    def ring(self, topic: str) -> None:
        """The file system rings."""

    def rings(self, topic: str) -> Observable[Any]:
        """See `Bell.rings`. The items come from a thread of watchdog's."""

        def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None) -> DisposableBase:
            watching = _Watching(self._root, self._manifest, observer)
            try:
                watching.start()
            except OSError as error:
                watching.stop()
                observer.on_error(_silent(error, self._root))
            return Disposable(watching.stop)

        return Observable(subscribe)


class _Watching(FileSystemEventHandler):
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
            self._observer.on_error(_silent(error, self._root))
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


def _silent(error: OSError, root: str) -> Unavailable:
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


def is_local(path: str) -> bool:
    """Whether a directory is on a file system that only this machine writes to; False if that cannot be told.

    Linux tells the type of each mount; elsewhere nothing is known.
    """
    if sys.platform != "linux":
        return False
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            lines = [line.split(" - ") for line in mounts]
    except OSError:
        return False
    deepest, kind = "", ""
    for mount, described in (line for line in lines if len(line) == 2):
        where = mount.split()[4].replace("\\040", " ")
        if (path == where or path.startswith(where.rstrip("/") + "/")) and len(where) >= len(deepest):
            deepest, kind = where, described.split()[0]
    return kind in _LOCAL
