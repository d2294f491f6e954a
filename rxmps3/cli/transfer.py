"""Export to a file, import from one, and copy between databases. Each can be interrupted and resumed.

The file is JSON lines: a header, one line per key in sorted order, and a footer that distinguishes a complete file from
a truncated one::

    {"rxmps3": "export", "format": 1, "manifest": "main", "version": "42", "prefix": ""}
    {"key": "todo/1", "value": {"title": "milk"}}
    {"key": "photo", "bytes": "/9j/4AAQSkZJRg==", "type": "image/jpeg"}
    {"keys": 2, "sha256": "<of the lines between>"}

The present keys and values are transferred, not the history. They are written by `put_all` in batches, so a reader of
the target sees each batch as a whole; a key that has the same value there already is skipped, so a second run continues
where the first one stopped.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from rxmps3.database.database import Database
from rxmps3.errors import Corrupt, InvalidInput, Unsupported
from rxmps3.model import jsontext, valuetext
from rxmps3.model.missing import MISSING
from rxmps3.model.names import check_key
from rxmps3.model.valuetext import Blob

__all__ = ["Moved", "add", "copy", "export_to", "import_from"]

FORMAT = 1
BATCH_KEYS = 200
BATCH_CHARACTERS = 1 << 20
Progress = Callable[[int, int], None]


@dataclass
class Moved:
    """The result of a transfer.

    Attributes:
        keys: the number of keys read.
        written: of these, written to the target.
        same: of these, skipped because the target had the same value.
    """

    keys: int = 0
    written: int = 0
    same: int = 0


async def export_to(db: Database, file: IO[str], *, prefix: str = "", progress: Progress | None = None) -> Moved:
    """Write the keys under a prefix to a text file, as of one version.

    Raises:
        Unavailable, AccessDenied: interrupted; the file has no footer, and `import_from` refuses it.
        Corrupt: a value does not match the log.
    """
    await db.refresh()
    moved = Moved()
    version = db.states.value.confirmed.version
    header = {"rxmps3": "export", "format": FORMAT, "manifest": db.name, "version": version, "prefix": prefix}
    file.write(jsontext.encode(header) + "\n")
    digest = hashlib.sha256()
    async for batch in _read(db, prefix, progress):
        for key, text in batch.items():
            line = f'{{"key":{jsontext.encode(key)},{_member(text)}}}\n'
            digest.update(line.encode())
            file.write(line)
            moved.keys += 1
    file.write(jsontext.encode({"keys": moved.keys, "sha256": digest.hexdigest()}) + "\n")
    moved.written = moved.keys
    return moved


async def import_from(db: Database, file: IO[str], *, progress: Progress | None = None) -> Moved:
    """Write the content of an exported file. The whole file is checked before anything is written.

    Raises:
        Corrupt: the file is truncated or altered; nothing was written.
        Unsupported: the file has a newer format.
        Rejected, Unavailable, …: interrupted; run it again to continue.
    """
    total = _check_file(file, db.key_limit)
    file.seek(0)
    next(file)
    return await _write(db, _lines(file, total), total, progress)


async def copy(source: Database, target: Database, *, prefix: str = "", progress: Progress | None = None) -> Moved:
    """Copy the keys under a prefix from one database to another, as of one version. Raises as both of the above."""
    await source.refresh()
    await target.refresh()
    total = len(source.keys(prefix))
    moved = Moved()
    async for batch in _read(source, prefix, None):
        part = await _write(target, batch.items(), total, None)
        moved = Moved(moved.keys + part.keys, moved.written + part.written, moved.same + part.same)
        if progress is not None:
            progress(moved.keys, total)
    return moved


async def add(
    db: Database, keys: Iterable[str], read: Callable[[str], Awaitable[str | None]], *, progress: Progress | None = None
) -> Moved:
    """Write the keys that are not there yet; those that are stay as they are.

    Args:
        db: the target.
        keys: what to write.
        read: returns the text of a key's value, None if it has none.
        progress: told how many keys were looked at, and of how many.
    """
    await db.refresh()
    total = list(keys)
    there = set(db.keys())
    moved = Moved(len(total), same=sum(key in there for key in total))
    batch: dict[str, str] = {}
    for done, key in enumerate(total, 1):
        text = None if key in there else await read(key)
        if text is not None:
            batch[key] = text
        if done == len(total) or len(batch) == BATCH_KEYS or sum(map(len, batch.values())) >= BATCH_CHARACTERS:
            if batch:
                await db.put_all({key: valuetext.decode(text) for key, text in batch.items()})
            moved.written += len(batch)
            batch = {}
            if progress is not None:
                progress(done, len(total))
    return moved


async def _read(db: Database, prefix: str, progress: Progress | None) -> AsyncIterator[dict[str, str]]:
    """The texts of the keys under a prefix, in batches."""
    view = db.states.value
    keys = sorted(key for key in view if key.startswith(prefix))
    for start in range(0, len(keys), BATCH_KEYS):
        batch = keys[start : start + BATCH_KEYS]
        yield await db.read_texts({key: view[key] for key in batch})
        if progress is not None:
            progress(min(start + BATCH_KEYS, len(keys)), len(keys))


async def _write(db: Database, items: Iterable[tuple[str, str]], total: int, progress: Progress | None) -> Moved:
    await db.refresh()
    moved = Moved()
    for batch in _batches(items):
        there = await db.get_many(batch, MISSING)
        new = {
            key: valuetext.decode(text)
            for key, text in batch.items()
            if there[key] is MISSING or valuetext.encode(there[key]) != text
        }
        if new:
            await db.put_all(new)
        moved.keys += len(batch)
        moved.written += len(new)
        moved.same += len(batch) - len(new)
        if progress is not None:
            progress(moved.keys, total)
    return moved


def _batches(items: Iterable[tuple[str, str]]) -> Iterator[dict[str, str]]:
    batch: dict[str, str] = {}
    size = 0
    for key, text in items:
        batch[key] = text
        size += len(text)
        if len(batch) == BATCH_KEYS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _check_file(file: IO[str], key_limit: int) -> int:
    """The number of keys in a complete file. Raises `Corrupt` or `Unsupported`."""
    path = getattr(file, "name", "")
    name = f"file {path!r}" if isinstance(path, str) and path != "<stdin>" else "standard input"  # a pipe has a number
    header = _object(next(iter(file), ""), name)
    if header.get("rxmps3") != "export":
        raise Corrupt("not an export of this program", object=name)
    if type(header.get("format")) is not int or header["format"] != FORMAT:
        raise Unsupported(f"format {header.get('format')!r}", object=name, remedy="upgrade rxmps3")
    digest = hashlib.sha256()
    keys = 0
    last = ""
    for line in file:
        if last:
            digest.update(last.encode())
            keys += 1
            _entry(last, f"{name}, line {keys + 1}", key_limit)
        last = line
    footer = _object(last, name)
    if footer.get("keys") != keys or footer.get("sha256") != digest.hexdigest():
        raise Corrupt("truncated or altered: its footer does not match", object=name, remedy="export again")
    return keys


def _lines(file: IO[str], total: int) -> Iterator[tuple[str, str]]:
    for number, line in zip(range(total), file, strict=False):
        yield _entry(line, f"line {number + 2}", None)


def _entry(line: str, what: str, key_limit: int | None) -> tuple[str, str]:
    """The key and the value's text of one line."""
    members = _object(line, what)
    key = members.get("key")
    if not isinstance(key, str) or ("value" not in members and "bytes" not in members):
        raise Corrupt("not a key and its value", object=what)
    try:
        if key_limit is not None:
            check_key(key, key_limit)
        if "value" in members:
            return key, jsontext.encode(members["value"])
        return key, valuetext.encode(Blob(b64decode(members["bytes"], validate=True), members["type"]))
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise Corrupt(str(error), object=what) from None


def _member(text: str) -> str:
    """The part of a line that has the value."""
    media = valuetext.media_of(text)
    if media is None:
        return f'"value":{text}'
    data = b64encode(valuetext.body_of(text)).decode()
    return f'"bytes":"{data}","type":{jsontext.encode(media)}'


def _object(line: str, what: str) -> dict[str, Any]:
    value = jsontext.decode(line, what) if line.strip() else None
    if not isinstance(value, dict):
        raise Corrupt("truncated or not an export", object=what)
    return cast("dict[str, Any]", value)
