"""A storage in a directory that several processes may use at once."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Error,
    InvalidKey,
    InvalidOption,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)
from rxmps3.model.names import Layout
from rxmps3.runtime.clock import Clock
from rxmps3.storage._common import MAX_NAME_BYTES, check_name, check_sha256, check_size, etag_of, page_size
from rxmps3.storage.base import Absent, Found, Listed, Matches, Missing, NotModified, Page, Precondition, Stored
from rxmps3.storage.paths import INTERNAL, Paths, goes_on

__all__ = ["DirectoryStorage", "make_directories"]

# reading this much is faster than a round trip to a thread
_INLINE_BYTES = 64 * 1024
_PATH_SLACK = 16  # slashes, and the marks of names that are split
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DirectoryStorage:
    """Objects as files: the object ``main/head`` is the file ``PATH/main/head`` (see `rxmps3.storage.paths`).

    Files appear whole or not at all: a put writes a temporary file, syncs it, and links it into place if it creates,
    or renames it over the old one. Replacements and deletions hold a lock, so an ETag is compared and the file
    replaced in one step, whichever process does it. An ETag is the quoted md5 of the content; listings carry none.
    ``date`` is this machine's clock. Reading creates nothing; a directory that does not exist is an empty storage.

    An object cannot stand beside objects below it (``a`` beside ``a/b``), and emptied directories stay.

    Args:
        path: the directory; the first put creates it.
        clock: the source of ``date`` and ``modified``, and of the names of temporary files.
        private: create files for this user only, instead of by the process's umask.

    Only regular files below real directories are objects: readers ignore symbolic links, pipes and devices, and writing
        a name whose path leads through a link is refused.

    Raises:
        InvalidOption: the path is neither text nor a `pathlib.Path`, or no file system takes it.

    Raises (from the verbs, beyond the usual):
        Unsupported: an object would stand beside objects below it, or the file system has no locks.
    """

    def __init__(self, path: Path | str, clock: Clock, *, private: bool = False) -> None:
        self._root = _checked_path(path)
        self._directory_mode, self._file_mode = (0o700, 0o600) if private else (0o777, 0o666)
        self._clock = clock
        self._internal = os.path.join(self._root, INTERNAL)
        self._temporary = os.path.join(self._internal, "tmp")
        self._known_paths: Paths | None = None
        self._swept = False
        self._uploads: dict[str, int] = {}

    @property
    def url(self) -> str:
        """``file:`` and the absolute path, links resolved."""
        return f"file:{self._root}"

    @property
    def place(self) -> str:
        """The same for every storage on this directory."""
        return self.url

    def watched(self, manifest: str) -> tuple[str, list[str]]:
        """The directory, and the components below it of a manifest's folder or file."""
        return self._root, self._paths().components(Layout(manifest).root.rstrip("/"))

    @property
    def name_limit(self) -> int:
        """1,024, or less where the file system takes only short paths."""
        longest = os.pathconf("/", "PC_PATH_MAX") - len(os.fsencode(self._root)) - _PATH_SLACK
        return min(MAX_NAME_BYTES, longest)

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """See `rxmps3.storage.Get`."""
        check_name(name, "get")
        self._refuse_version(version, "get")
        with self._translated("get", name):
            size = self._size(name)
            if size is None:
                return Missing(self._clock.now())
            if size > _INLINE_BYTES:
                return await asyncio.to_thread(self._get, name, unless, limit)
            return self._get(name, unless, limit)

    async def get_range(self, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
        """See `rxmps3.storage.GetRange`; the ETag of a part is empty, since it is made of the whole content."""
        check_name(name, "get")
        self._refuse_version(version, "get")
        return await asyncio.to_thread(self._get_range, name, start, stop)

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        """See `rxmps3.storage.Put`; the content type is not kept."""
        check_name(name, "put")
        check_sha256(body, sha256, self._where(name))
        return await asyncio.to_thread(self._put, name, body, when)

    async def begin_upload(self, name: str, *, content_type: str) -> str:
        """See `rxmps3.storage.Uploads`: a temporary file, whose name is the id; the content type is not kept."""
        check_name(name, "put")
        with self._translated("put", name):
            path, file = await asyncio.to_thread(self._first_temporary_file)
        self._uploads[os.path.basename(path)] = file
        return os.path.basename(path)

    async def put_part(self, name: str, upload: str, number: int, body: bytes, *, start: int) -> str:
        """See `rxmps3.storage.Uploads`; the ETag of a part is empty."""
        file = self._upload(name, upload)
        with self._translated("put", name):
            await asyncio.to_thread(_write_at, file, body, start)
        return ""

    async def finish_upload(self, name: str, upload: str, parts: Sequence[str]) -> Stored:
        """See `rxmps3.storage.Uploads`; the ETag is empty, since it is made of the whole content."""
        file = self._upload(name, upload)
        stored = await asyncio.to_thread(self._finish, name, upload, file)
        await self.abort_upload(name, upload)
        return stored

    async def abort_upload(self, name: str, upload: str) -> None:
        """See `rxmps3.storage.Uploads`."""
        file = self._uploads.pop(upload, None)
        if file is not None:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._temporary, upload))
            os.close(file)

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`."""
        check_name(name, "delete")
        self._refuse_version(version, "delete")
        await asyncio.to_thread(self._delete, name)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`."""
        return await asyncio.to_thread(self._list, prefix, max(after, cursor or ""), page_size(limit))

    async def close(self) -> None:
        """Drop the uploads that were not finished; nothing else is held open between calls."""
        for upload in list(self._uploads):
            await self.abort_upload("", upload)

    # Names and paths

    def _paths(self) -> Paths:
        if self._known_paths is not None:
            return self._known_paths
        paths = Paths(ignores_case=os.path.exists(self._case_mark))
        if os.path.exists(self._temporary):  # created last during setup
            self._known_paths = paths
        return paths

    @property
    def _case_mark(self) -> str:
        return os.path.join(self._internal, "ignores-case")

    def _path(self, name: str) -> str:
        return os.path.join(self._root, *self._paths().components(name))

    def _where(self, name: str) -> str:
        return f"{self.url} {name}"

    def _refuse_version(self, version: str | None, operation: str) -> None:
        if version is not None:
            raise Unsupported("a directory keeps no versions", operation=operation, object=self.url)

    # Reading

    def _size(self, name: str) -> int | None:
        path = self._path(name)
        try:
            status = os.lstat(path)
            return status.st_size if stat.S_ISREG(status.st_mode) and not self._leads_through_a_link(path) else None
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            self._check_root()
            return None

    def _get(self, name: str, unless: str | None, limit: int | None) -> Found | Missing | NotModified:
        loaded = self._load(name, limit)
        if loaded is None:
            return Missing(self._clock.now())
        body, modified = loaded
        etag = etag_of(body)
        if etag == unless:
            return NotModified(self._clock.now())
        return Found(body, etag, modified, self._clock.now())

    def _get_range(self, name: str, start: int, stop: int) -> Found | Missing:
        with self._translated("get", name):
            loaded = self._load(name, start=start, stop=stop)
        return Missing(self._clock.now()) if loaded is None else Found(loaded[0], "", loaded[1], self._clock.now())

    def _load(
        self, name: str, limit: int | None = None, *, start: int = 0, stop: int | None = None
    ) -> tuple[bytes, datetime] | None:
        """The body, or a part of it, and the modification time of an object; None if it does not exist."""
        path = self._path(name)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP or stat.S_ISSOCK(os.lstat(path).st_mode):
                return None
            raise
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or self._leads_through_a_link(path):
                return None
            check_size(status.st_size, limit, self._where(name))
            os.lseek(file, start, os.SEEK_SET)
            return _read(file, (status.st_size if stop is None else stop) - start), _modified(status)
        finally:
            os.close(file)

    def _leads_through_a_link(self, path: str) -> bool:
        """Whether a directory between the root and this path is a symbolic link."""
        directory = os.path.dirname(path)
        while len(directory) > len(self._root):
            if os.path.islink(directory):
                return True
            directory = os.path.dirname(directory)
        return False

    def _refuse_link(self, path: str, name: str, operation: str) -> None:
        if self._leads_through_a_link(path):
            raise Unsupported(
                "its path leads through a symbolic link",
                operation=operation,
                object=self._where(name),
                remedy="replace the link by a directory",
            )

    def _check_root(self) -> None:
        if os.path.exists(self._root) and not os.path.isdir(self._root):
            raise BucketNotFound("this is not a directory", object=self.url, remedy="name a directory or a free path")

    def _list(self, prefix: str, after: str, limit: int) -> Page:
        with self._translated("list", prefix):
            self._check_root()
            components, base = self._paths().directory(prefix)
            found = self._walk(os.path.join(self._root, *components), base, (), prefix, after)
            page = list(islice(found, limit))
            more = next(found, None) is not None
            objects: list[Listed] = []
            for name, path in page:
                with suppress(FileNotFoundError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        objects.append(Listed(name, status.st_size, _modified(status)))
        return Page(objects, page[-1][0] if more else None, self._clock.now())

    def _walk(
        self, directory: str, base: str, begun: tuple[str, ...], prefix: str, after: str
    ) -> Iterator[tuple[str, str]]:
        """Names (ascending) and paths below one directory.

        Args:
            directory: its path.
            base: what the names below it start with, but for ``begun``.
            begun: the components so far of a segment that goes on here.
            prefix: only names that start with this.
            after: only names greater than this.
        """
        paths = self._paths()
        found: list[tuple[str, str, tuple[str, ...] | None]] = []
        split = False
        try:
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if goes_on(entry.name):
                    split = True
                    found.append((base, entry.path, (*begun, entry.name)))
                    continue
                segment = paths.segment(entry.name, begun)
                if segment is None:
                    continue
                name = base + segment
                if entry.is_dir(follow_symlinks=False):
                    name += "/"
                    if (name.startswith(prefix) or prefix.startswith(name)) and (
                        name > after or after.startswith(name)
                    ):
                        found.append((name, entry.path, ()))
                elif name > after and name.startswith(prefix):
                    found.append((name, entry.path, None))
        if split:  # the names in such a directory mingle with those beside it
            mingled: list[tuple[str, str]] = []
            for name, path, below in found:
                if below is None:
                    mingled.append((name, path))
                else:
                    mingled.extend(self._walk(path, name, below, prefix, after))
            yield from sorted(mingled)
            return
        for name, path, below in sorted(found):
            if below is None:
                yield name, path
            else:
                yield from self._walk(path, name, below, prefix, after)

    # Writing

    def _put(self, name: str, body: bytes, when: Precondition | None) -> Stored:
        with self._translated("put", name):
            now = self._clock.now()
            with self._temporary_file(body, now) as temporary:
                self._install_at(temporary, name, when)
        return Stored(etag_of(body), now)

    def _install_at(self, temporary: str, name: str, when: Precondition | None) -> None:
        target = self._path(name)
        self._refuse_link(target, name, "put")
        try:
            self._install(temporary, target, name, when)
        except FileNotFoundError:
            make_directories(os.path.dirname(target), self._directory_mode)
            self._install(temporary, target, name, when)
        _sync_directory(os.path.dirname(target))

    def _upload(self, name: str, upload: str) -> int:
        file = self._uploads.get(upload)
        if file is None:
            raise Unavailable("this upload no longer exists", operation="put", object=self._where(name))
        return file

    def _first_temporary_file(self) -> tuple[str, int]:
        self._sweep_once()
        return self._new_temporary_file()

    def _finish(self, name: str, upload: str, file: int) -> Stored:
        with self._translated("put", name):
            now = self._clock.now()
            _date_and_sync(file, now)
            self._install_at(os.path.join(self._temporary, upload), name, None)
        return Stored("", now)

    def _install(self, temporary: str, target: str, name: str, when: Precondition | None) -> None:
        if isinstance(when, Absent):
            try:
                os.link(temporary, target)
                return
            except FileExistsError:
                self._refuse_existing(target, name)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        with self._lock():
            if isinstance(when, Absent) and os.path.lexists(target):
                self._refuse_existing(target, name)
            if isinstance(when, Matches) and (found := self._etag(name)) != when.etag:
                raise PreconditionFailed(
                    "its ETag differs" if found else "it does not exist",
                    operation="put",
                    object=self._where(name),
                    date=self._clock.now(),
                )
            os.replace(temporary, target)

    def _refuse_existing(self, target: str, name: str) -> None:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        raise PreconditionFailed("it already exists", operation="put", object=self._where(name), date=self._clock.now())

    def _etag(self, name: str) -> str | None:
        loaded = self._load(name)
        return loaded and etag_of(loaded[0])

    def _delete(self, name: str) -> None:
        with self._translated("delete", name):
            target = self._path(name)
            if not os.path.lexists(target):
                return
            self._refuse_link(target, name, "delete")
            with self._lock():
                try:
                    os.unlink(target)
                except (FileNotFoundError, NotADirectoryError):
                    return
                except (IsADirectoryError, PermissionError):
                    if os.path.isdir(target):
                        return
                    raise
            _sync_directory(os.path.dirname(target))

    # Internal files

    def _set_up(self) -> None:
        make_directories(self._internal, self._directory_mode)
        if _ignores_case(self._internal):
            with open(self._case_mark, "ab"):
                pass
        make_directories(self._temporary, self._directory_mode)
        self._known_paths = None

    def _open_internal(self, path: str, flags: int) -> int:
        """Open an internal file, creating its directory if necessary; returns the descriptor."""
        try:
            return os.open(path, flags, self._file_mode)
        except FileNotFoundError:
            self._set_up()
            return os.open(path, flags, self._file_mode)

    @contextmanager
    def _temporary_file(self, body: bytes, now: datetime) -> Generator[str]:
        """A new file with this body, synced to disk; yields its path. It is removed afterwards unless installed."""
        self._sweep_once()
        path, file = self._new_temporary_file()
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(file, rest) :]
            _date_and_sync(file, now)
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(file)

    def _sweep_once(self) -> None:
        if not self._swept:
            self._sweep()
            self._swept = True

    def _new_temporary_file(self) -> tuple[str, int]:
        """The path and the descriptor of a new empty file, locked."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            path = os.path.join(self._temporary, self._clock.new_id(20))
            file = self._open_internal(path, flags)
            try:
                _flock(file)  # tells `_sweep` that this process is alive
                if os.path.lexists(path):
                    return path, file
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                os.close(file)
                raise
            os.close(file)  # another process's `_sweep` removed it

    def _sweep(self) -> None:
        """Remove the temporary files of dead processes: those that are not locked.

        This may remove one that a live process has not locked yet; that process then creates another.
        """
        if not os.path.isdir(self._temporary):
            return
        if _ignores_case(self._internal) and not os.path.exists(self._case_mark):
            raise Unsupported(
                "this file system ignores case, and the directory was made on one that does not", object=self.url
            )
        for entry in os.scandir(self._temporary):
            with suppress(FileNotFoundError, PermissionError, BlockingIOError):
                file = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    _flock(file, wait=False)
                    os.unlink(entry.path)
                finally:
                    os.close(file)

    @contextmanager
    def _lock(self) -> Generator[None]:
        path = os.path.join(self._internal, "lock")
        file = self._open_internal(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            _flock(file)
            yield
        finally:
            os.close(file)

    # Errors

    @contextmanager
    def _translated(self, operation: str, name: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error, operation, self._where(name)) from error

    def _failure(self, error: OSError, operation: str, where: str) -> Error:
        what = error.strerror or str(error)
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return AccessDenied(
                what,
                operation=operation,
                object=where,
                remedy=f"let this user {'read' if operation in ('get', 'list') else 'write'} below {self._root}",
            )
        if isinstance(error, (IsADirectoryError, NotADirectoryError)):
            self._check_root()
            return Unsupported(
                "a directory cannot hold an object beside objects whose names go on with a slash",
                operation=operation,
                object=where,
            )
        if error.errno == errno.ENAMETOOLONG:
            return InvalidKey("the path is too long for this file system", operation=operation, object=where)
        if error.errno in _NO_LOCKS:
            return Unsupported(
                f"this file system has no file locks ({what})",
                operation=operation,
                object=where,
                remedy="use a directory on a local disk, or mount this one with locks",
            )
        return Unavailable(
            what,
            operation=operation,
            object=where,
            remedy="make room on the disk" if error.errno in _FULL else "look after the disk",
        )


def _read(file: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.read(file, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_at(file: int, body: bytes, start: int) -> None:
    rest = memoryview(body)
    while rest:
        written = os.pwrite(file, rest, start)
        rest, start = rest[written:], start + written


def _date_and_sync(file: int, now: datetime) -> None:
    stamp = round(now.timestamp() * 1e6) * 1000
    os.utime(file, ns=(stamp, stamp))
    os.fsync(file)


def _checked_path(path: Path | str) -> str:
    """The absolute path, links resolved. Raises `InvalidOption`."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    with suppress(ValueError):  # no file system takes it
        if isinstance(text, str) and b"\0" not in os.fsencode(text):  # pyright: ignore[reportUnnecessaryIsInstance]
            return os.path.realpath(text)
    raise InvalidOption(f"path is the path of a directory, as text, not {text!r:.80}", operation="DirectoryStorage")


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)


def _ignores_case(path: str) -> bool:
    return os.path.exists(os.path.join(os.path.dirname(path), os.path.basename(path).swapcase()))


def make_directories(path: str, mode: int = 0o777, *, again: bool = True) -> None:
    """Create a directory and its missing parents, synced to disk on return."""
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        if not again:
            raise  # the parent was just removed, or cannot contain directories
        make_directories(os.path.dirname(path), mode)  # another process may have created it meanwhile
        make_directories(path, mode, again=False)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    else:
        _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot do this and do not need it
            raise
    finally:
        os.close(directory)


def _flock(file: int, *, wait: bool = True) -> None:
    try:
        import fcntl
    except ImportError:
        raise Unsupported("a file: storage needs POSIX file locks", remedy="use Linux, macOS or WSL") from None
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
