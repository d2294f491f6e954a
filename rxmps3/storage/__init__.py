"""Storages: one interface, implemented in memory, in a directory and on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxmps3.storage.base import (
    ABSENT,
    Absent,
    Delete,
    Found,
    Get,
    List,
    Listed,
    ListedVersion,
    ListVersions,
    Matches,
    Missing,
    NotModified,
    Page,
    Precondition,
    Put,
    Storage,
    Stored,
    VersionedStorage,
    VersionPage,
    list_all,
    pages,
)
from rxmps3.storage.directory import DirectoryStorage
from rxmps3.storage.memory import MemoryStorage
from rxmps3.storage.urls import open_storage

if TYPE_CHECKING:
    from rxmps3.storage.s3 import S3Storage

__all__ = [
    "ABSENT",
    "Absent",
    "Delete",
    "DirectoryStorage",
    "Found",
    "Get",
    "List",
    "ListVersions",
    "Listed",
    "ListedVersion",
    "Matches",
    "MemoryStorage",
    "Missing",
    "NotModified",
    "Page",
    "Precondition",
    "Put",
    "S3Storage",
    "Storage",
    "Stored",
    "VersionPage",
    "VersionedStorage",
    "list_all",
    "open_storage",
    "pages",
]


def __getattr__(name: str) -> Any:
    """Only a program that uses S3 imports it."""
    if name == "S3Storage":
        from rxmps3.storage.s3 import S3Storage

        return S3Storage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
