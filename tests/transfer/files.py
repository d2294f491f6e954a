"""Databases with awkward contents to move, and ways to break the moving off."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

from reactivex import Subject

import rxmps3
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Storage

ODD: dict[str, Any] = {
    "a": 1,
    "a/": 1.0,
    "a//b": True,
    "./..": None,
    "/": [],
    "ä ö/ü?&=#%41": {"": {"nested": [1, 1.0, True, None, {"z": 0, "a": -0.0}]}},
    "emoji 👋\u2028\n\t": "line\u2028separators\r\nand\u0085more",
    '"quoted" \\': '"}\n{"keys": 0}',
    "key" * 80: 1e300,
    "large": "L" * 9000,
    "large unicode": ["ü" * 3000, None],
    "number": 12345678901234567890,
    "float": 0.1,
    "empty": "",
    "none": None,
}
"""Keys and values that are easily damaged on the way."""


async def opened(storage: Storage, clock: Clock | None = None, **options: Any) -> rxmps3.Database:
    """A database of its own on a storage; it looks only when asked to."""
    return await rxmps3.connect(storage, shared=False, poll=Subject[None](), clock=clock, **options)


async def texts(db: rxmps3.Database) -> dict[str, str]:
    """All contents, as texts in which 1, 1.0 and true differ."""
    await db.refresh()
    return {key: json.dumps(value) for key, value in (await db.get_prefix("")).items()}


def expected(values: dict[str, Any]) -> dict[str, str]:
    """The same of a plain dict."""
    return {key: json.dumps(values[key], sort_keys=True) for key in sorted(values)}


def a_file(*lines: dict[str, Any] | str, header: dict[str, Any] | None = None) -> io.StringIO:
    """An export with any lines and a footer that fits."""
    first = {"rxmps3": "export", "format": 1, "manifest": "main", "version": "1", "prefix": ""} | (header or {})
    body = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    footer = {"keys": len(lines), "sha256": hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()}
    return io.StringIO(f"{json.dumps(first)}\n{body}{json.dumps(footer)}\n")
