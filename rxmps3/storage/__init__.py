"""Storages: one interface, implemented in memory, in a directory and on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxmps3.storage.base import (
    ABSENT,
    Absent,
    Delete,
    Found,
    Get,
    GetRange,
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
    Uploads,
    VersionedStorage,
    VersionPage,
    list_all,
    pages,
    read_range,
    uploads_of,
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
    "GetRange",
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
    "Uploads",
    "VersionPage",
    "VersionedStorage",
    "list_all",
    "open_storage",
    "pages",
    "read_range",
    "uploads_of",
]


def __getattr__(name: str) -> Any:
    """Only a program that uses S3 imports it."""
    if name == "S3Storage":
        from rxmps3.storage.s3 import S3Storage

        return S3Storage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
