"""Shared by the storage probes of the protocols."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["place_of"]


def place_of(url: str) -> str:
    """The scope of a probe's verdict: endpoint and bucket, without the prefix."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="")) if parts.scheme == "s3" else url
