"""Which file a path that was given stands for."""

from __future__ import annotations

import os
import stat
from errno import ENOENT, ENOTDIR
from pathlib import Path

from rxmps3.errors import InvalidValue

__all__ = ["file_target", "given_path"]


def given_path(path: object, operation: str) -> Path:
    """A path with its ``~`` expanded. Raises `InvalidValue` if it cannot be one."""
    try:
        given = Path(os.fsdecode(path)).expanduser()  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InvalidValue(f"a path is text or a Path, not {path!r:.80}", operation=operation) from None
    except RuntimeError as error:
        raise InvalidValue(str(error), operation=operation, object=f"file {path!r}") from None
    if "\0" in str(given):
        raise InvalidValue("a path has no null character", operation=operation, object=f"file {path!r:.80}")
    try:
        os.fsencode(given)
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"not a path: a lone surrogate at position {error.start}", operation=operation, object=f"file {path!r:.80}"
        ) from None
    return given


def file_target(path: str | os.PathLike[str], operation: str) -> Path:
    """The file to replace: what a path leads to, links followed, or the free name that it is.

    Raises:
        InvalidValue: it cannot be a path; or a directory, a device or a pipe is there, which no file may replace.
        OSError: there is no folder to write it to.
    """
    given = given_path(path, operation)
    target = given.resolve()
    if not target.parent.is_dir():
        code = ENOTDIR if os.path.lexists(target.parent) else ENOENT
        raise OSError(code, os.strerror(code), str(target.parent))
    if given.exists() and not stat.S_ISREG(given.stat().st_mode):
        raise InvalidValue(
            "not a file, and nothing else is replaced by one", operation=operation, object=f"file {str(given)!r}"
        )
    return target
