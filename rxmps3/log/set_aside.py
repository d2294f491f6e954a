"""What is in the way of a log is moved to a folder of its own, never just deleted."""

from __future__ import annotations

import shlex

from rxmps3.storage.base import Found, Storage

__all__ = ["SET_ASIDE", "copy_aside", "how_to_repair", "set_aside"]

SET_ASIDE = ".rxmps3-set-aside/"
"""The folder, beside all manifests, that objects are moved to."""


def how_to_repair(url: str, manifest: str) -> str:
    """What to run where entries are left that nobody can read: the command, as a shell takes it."""
    named = "" if manifest == "main" else f" --manifest {shlex.quote(manifest)}"
    return (
        f"`rxmps3 repair {shlex.quote(url)}{named}` says what can be read of it, and what is in the way; "
        "with --yes it moves that aside"
    )


async def set_aside(storage: Storage, name: str, folder: str) -> None:
    """Move an object into the folder."""
    if await copy_aside(storage, name, folder):
        await storage.delete(name)


async def copy_aside(storage: Storage, name: str, folder: str, version: str | None = None) -> bool:
    """Copy an object, or a version of it, into the folder; False if it is not there any more."""
    answer = await storage.get(name, version=version)
    if not isinstance(answer, Found):
        return False
    suffix = "" if version is None else f"@{version}"
    await storage.put(f"{SET_ASIDE}{folder}/{name}{suffix}", answer.body)
    return True
