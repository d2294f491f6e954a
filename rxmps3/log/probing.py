"""Shared by the storage probes of the protocols."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from rxmps3.errors import Unavailable
from rxmps3.storage.base import Storage

__all__ = ["place_of", "read_damaged"]


def place_of(url: str) -> str:
    """The scope of a probe's verdict: endpoint and bucket, without the prefix."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="")) if parts.scheme == "s3" else url


def read_damaged(storage: Storage) -> Unavailable:
    """The error for a probe's object that is nothing that was stored: it tells nothing of the storage's promises."""
    return Unavailable("its object was read damaged", operation="probe", object=storage.url)
