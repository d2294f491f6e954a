"""Storages: one interface, implemented in memory, in a directory and on S3."""

from __future__ import annotations

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
from rxmps3.storage.s3 import S3Storage
from rxmps3.storage.urls import open_storage

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
