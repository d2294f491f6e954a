"""The bell of ``file:``: the file system tells when an entry of the log appears.

One directory is watched at a time: that of the log's entries, or while there is none, the nearest one above it. The
operating system's notifications come through watchdog (inotify, FSEvents, ReadDirectoryChangesW), in one thread for
all watches of the process; nothing is polled.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

__all__ = ["FileBell", "is_local"]

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
        """Whether only this machine writes there, as far as the type of the file system tells."""
        return is_local(self._root)

    def ring(self, topic: str) -> None:
        """The file system rings."""

    def rings(self, topic: str) -> Observable[Any]:
        """See `Bell.rings`. The items come from a thread of watchdog's."""

        def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None) -> DisposableBase:
            from rxmps3.bells.watching import Watching, silent

            watching = Watching(self._root, self._manifest, observer)
            try:
                watching.start()
            except OSError as error:
                watching.stop()
                observer.on_error(silent(error, self._root))
            return Disposable(watching.stop)

        return Observable(subscribe)


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
