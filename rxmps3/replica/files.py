"""Files as the source and the target of values."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from rxmps3.errors import InvalidValue, Rejected
from rxmps3.model.valuetext import ANY_BYTES, FileRef, check_content_type
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Put
from rxmps3.storage.transfer import Sent, upload

__all__ = ["file_ref", "read_file", "send_file", "write_file"]


def file_ref(path: str | os.PathLike[str], content_type: str | None) -> FileRef:
    """A reference to a file as it is now; its content type is guessed from its name unless it is given.

    Raises:
        InvalidValue: it is not a file that can be read, or this is no content type.
    """
    absolute = os.path.abspath(Path(path).expanduser())
    known = content_type or mimetypes.guess_type(absolute)[0] or ANY_BYTES
    try:
        status = os.stat(absolute)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidValue("not a file", operation="put_file", object=f"file {absolute!r}")
        with open(absolute, "rb"):
            return FileRef(absolute, status.st_size, status.st_mtime_ns, check_content_type(known))
    except OSError as error:
        raise InvalidValue(
            f"it cannot be read: {error.strerror or error}", operation="put_file", object=f"file {absolute!r}"
        ) from error


async def send_file(storage: Put, name: str, ref: FileRef) -> Sent:
    """Upload a file, with a few parts of it in memory.

    Raises:
        Rejected: the file is gone, or is not what it was when it was put.
    """
    file = await asyncio.to_thread(_opened, ref)
    try:

        async def read(start: int, stop: int) -> bytes:
            body = await asyncio.to_thread(os.pread, file, stop - start, start)
            if len(body) < stop - start:
                raise _changed(ref)
            return body

        sent = await upload(storage, name, ref.size, read, ref.content_type)
        _check_unchanged(file, ref)
        return sent
    finally:
        os.close(file)


async def read_file(ref: FileRef) -> bytes:
    """The whole content of a file. Raises as `send_file`."""

    def read() -> bytes:
        file = _opened(ref)
        with open(file, "rb") as opened:
            return opened.read(ref.size)

    return await asyncio.to_thread(read)


async def write_file(
    path: str | os.PathLike[str],
    id: str,
    parts: AsyncIterator[bytes],
    check: Callable[[str], None] | None = None,
    size: int = 0,
) -> None:
    """Replace a file by these bytes, once all of them are there; ``id`` makes the name of the file until then. Who may
    read and write it stays as it is.

    ``check`` is called with their hex SHA-256 before that. ``size`` is how many bytes they are, if known: a file that
    has its length from the beginning is written faster.

    Raises: as ``parts`` and ``check``, then the file is as it was before; OSError if it cannot be written.
    """
    digest = hashlib.sha256()
    target = _expanded(path)
    spare = target.with_name(f".{target.name[:100]}.{id}.part")
    try:
        file = await asyncio.to_thread(open, spare, "xb")
        takers: list[Callable[[bytes], object]] = [file.write] if check is None else [file.write, digest.update]
        try:
            await asyncio.to_thread(_take_mode, file.fileno(), target)
            await asyncio.to_thread(file.truncate, size)
            async for part in parts:
                await all_of(asyncio.to_thread(take, part) for take in takers)
        finally:
            await asyncio.to_thread(file.close)
        if check is not None:
            check(digest.hexdigest())
        await asyncio.to_thread(os.replace, spare, target)
    finally:
        with suppress(FileNotFoundError):
            spare.unlink()


def _take_mode(file: int, target: Path) -> None:
    with suppress(FileNotFoundError):
        os.fchmod(file, stat.S_IMODE(target.stat().st_mode))


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser()


def _opened(ref: FileRef) -> int:
    try:
        file = os.open(ref.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Rejected(
            f"the file cannot be read any more: {error.strerror or error}",
            operation="upload",
            object=f"file {ref.path!r}",
            remedy="put it again",
        ) from error
    try:
        _check_unchanged(file, ref)
    except BaseException:
        os.close(file)
        raise
    return file


def _check_unchanged(file: int, ref: FileRef) -> None:
    status = os.fstat(file)
    if (status.st_size, status.st_mtime_ns) != (ref.size, ref.modified):
        raise _changed(ref)


def _changed(ref: FileRef) -> Rejected:
    return Rejected(
        "the file has changed since it was put", operation="upload", object=f"file {ref.path!r}", remedy="put it again"
    )
