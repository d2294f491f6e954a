"""What a disk holds after a loss of power: what was synced, and of the rest whatever chance leaves.

A content is safe once its file was synced; a name, or its absence, once its directory was; nothing else is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

__all__ = ["Journal", "Wreck"]

_DIRECTORY = -1


@dataclass
class Wreck:
    """A disk as far as it is known: by path what is there (a directory, or a file by number), by number the content.

    Attributes:
        names: what is there for certain.
        changes: by directory what was done to its names since it was synced, oldest first.
        synced: contents that are there for certain.
        written: contents as the processes saw them.
    """

    names: dict[str, int] = field(default_factory=dict[str, int])
    changes: dict[str, list[tuple[str, int | None]]] = field(default_factory=dict[str, list[tuple[str, int | None]]])
    synced: dict[int, bytes] = field(default_factory=dict[int, bytes])
    written: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def changed(self, path: str, what: int | None) -> None:
        self.changes.setdefault(os.path.dirname(path), []).append((path, what))

    def synced_directory(self, path: str) -> None:
        for name, what in self.changes.pop(path, ()):
            _set(self.names, name, what)

    def left_over(self, names_kept: Callable[[], bool], contents_kept: Callable[[], bool]) -> Mapping[str, bytes]:
        """The files that are left, by path."""
        names = dict(self.names)
        for changes in self.changes.values():
            for name, what in changes:
                if not names_kept():
                    break  # the changes of a directory reach the disk in their order
                _set(names, name, what)
        files: dict[str, bytes] = {}
        for path, what in names.items():
            if what != _DIRECTORY and self._is_reachable(path, names):
                whole, safe = self.written[what], self.synced.get(what, b"")
                files[path] = safe if safe == whole or not contents_kept() else whole
        return files

    def _is_reachable(self, path: str, names: Mapping[str, int]) -> bool:
        above = os.path.dirname(path)
        return above == path or (names.get(above) == _DIRECTORY and self._is_reachable(above, names))


def _set(names: dict[str, int], path: str, what: int | None) -> None:
    if what is None:
        names.pop(path, None)
    else:
        names[path] = what


class Journal:
    """What is done to the files below a directory, in order, with notes in between.

    Args:
        root: the directory; it is there for certain, and so is all above it.
        patch: puts itself between the program and its ``os``, as long as that lasts.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = os.path.realpath(root)
        self.events: list[tuple[str, Any]] = []
        self._files: dict[int, tuple[str, int]] = {}  # by descriptor
        self._numbers: dict[tuple[int, int], int] = {}  # by device and inode
        self._count = 0
        for verb in ("mkdir", "open", "close", "write", "link", "replace", "unlink", "fsync"):
            patch.setattr(os, verb, self._wrapped(verb, getattr(os, verb)))

    def note(self, what: object) -> None:
        """Remember that something was promised by now."""
        self.events.append(("note", what))

    def wreck_after(self, count: int) -> tuple[Wreck, list[Any]]:
        """The disk after so many events, and what had been noted by then."""
        wreck, notes = Wreck(), []
        path = self.root
        while path not in wreck.names:
            wreck.names[path] = _DIRECTORY
            path = os.path.dirname(path)
        for verb, what in self.events[:count]:
            if verb == "note":
                notes.append(what)
            elif verb == "name":
                wreck.changed(*what)
            elif verb == "write":
                number, data = what
                wreck.written[number] = wreck.written.get(number, b"") + data
            elif verb == "sync file":
                wreck.synced[what] = wreck.written.setdefault(what, b"")
            else:
                wreck.synced_directory(what)
        return wreck, notes

    def _wrapped(self, verb: str, function: Callable[..., Any]) -> Callable[..., Any]:
        after = getattr(self, f"_{verb}")

        def call(*args: Any, **options: Any) -> Any:
            before = self._before(verb, *args)
            result = function(*args, **options)
            after(before, result, *args)
            return result

        return call

    def _before(self, verb: str, first: Any, *_: Any) -> Any:
        """What has to be asked before it is done: whether a path was there, and what it is."""
        if isinstance(first, int):
            return self._files.pop(first, None) if verb == "close" else None
        path = os.fspath(first)
        return self._number(path) if path.startswith(self.root) and os.path.lexists(path) else None

    def _number(self, path: str) -> int:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            return _DIRECTORY
        return self._numbers[status.st_dev, status.st_ino]

    def _name(self, path: Any, what: int | None) -> None:
        if os.fspath(path).startswith(self.root):
            self.events.append(("name", (os.fspath(path), what)))

    def _mkdir(self, before: Any, result: Any, path: Any, *_: Any) -> None:
        self._name(path, _DIRECTORY)

    def _open(self, before: int | None, file: int, path: Any, flags: int, *_: Any) -> None:
        path = os.fspath(path)
        if not isinstance(path, str) or not path.startswith(self.root):
            return
        if before is None:
            status = os.fstat(file)
            self._count += 1
            self._numbers[status.st_dev, status.st_ino] = before = self._count
            self.events.append(("write", (before, b"")))
            self._name(path, before)
        self._files[file] = path, before

    def _close(self, before: Any, result: Any, file: int) -> None:
        pass

    def _write(self, before: Any, written: int, file: int, data: Any) -> None:
        if file in self._files:
            self.events.append(("write", (self._files[file][1], bytes(data)[:written])))

    def _link(self, before: int, result: Any, source: Any, target: Any, **_: Any) -> None:
        self._name(target, before)

    def _replace(self, before: int, result: Any, source: Any, target: Any, **_: Any) -> None:
        self._name(target, before)
        self._name(source, None)

    def _unlink(self, before: Any, result: Any, path: Any, *_: Any) -> None:
        self._name(path, None)

    def _fsync(self, before: Any, result: Any, file: int) -> None:
        if file in self._files:
            path, number = self._files[file]
            self.events.append(("sync directory", path) if number == _DIRECTORY else ("sync file", number))


def whims(chance: Random) -> list[tuple[Callable[[], bool], Callable[[], bool]]]:
    """Ways in which a disk keeps what was not synced, names and contents: all, none, one without the other, some."""

    def never() -> bool:
        return False

    def always() -> bool:
        return True

    def perhaps() -> bool:
        return chance.random() < 0.5

    return [(never, never), (always, never), (never, always), (always, always), *[(perhaps, perhaps)] * 4]
