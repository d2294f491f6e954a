"""The storage contract in a project that is not this one."""

from __future__ import annotations

import gzip
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from rxmps3.storage import Found, MemoryStorage, Missing, NotModified, Stored
from rxmps3.testing import StorageContract, StorageWrapper

IMPORTS = """\
import pytest, pytest_asyncio
from rxmps3.storage import MemoryStorage as MyStorage
from rxmps3.testing import StorageContract

"""


def test_the_example_of_the_contract_runs_as_it_stands(tmp_path: Path) -> None:
    """In a folder without this project's configuration, so in pytest-asyncio's strict mode."""
    documented = inspect.getdoc(StorageContract) or ""
    example = dedent(documented.split("::\n", 1)[1])
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(IMPORTS + example)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


class LineEnds(StorageWrapper):
    """Takes bodies for text."""

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        return replace(answer, body=answer.body.replace(b"\r\n", b"\n")) if isinstance(answer, Found) else answer


class Unpacks(StorageWrapper):
    """As a client of HTTP that trusts what it takes for a Content-Encoding."""

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        if isinstance(answer, Found) and answer.body.startswith(b"\x1f\x8b"):
            return replace(answer, body=gzip.decompress(answer.body))
        return answer


class KeepsTheTail(StorageWrapper):
    """Writes over what is there and does not truncate it."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        there = await self.inner.get(name)
        rest = there.body[len(body) :] if isinstance(there, Found) and not options else b""
        return await super().put(name, body + rest, **options)


class DeletesByPrefix(StorageWrapper):
    async def delete(self, name: str, *, version: str | None = None) -> None:
        for one in (await self.inner.list(name)).objects:
            await super().delete(one.name)


@pytest.mark.parametrize("broken", [LineEnds, Unpacks, KeepsTheTail, DeletesByPrefix])
async def test_a_storage_that_changes_what_is_stored_is_found(broken: type[StorageWrapper]) -> None:
    """Each fails in some test of the contract, which a sound storage passes."""
    names = (
        "a_body_is_not_taken_for_text_or_for_packed",
        "a_body_replaces_a_longer_one_whole",
        "delete_leaves_every_other_name",
    )
    assert [name for name in names if await fails(name, broken)] != []


async def fails(name: str, broken: type[StorageWrapper]) -> bool:
    test = getattr(StorageContract(), f"test_{name}")
    await test(MemoryStorage())
    try:
        await test(broken(MemoryStorage()))
    except AssertionError:
        return True
    return False
