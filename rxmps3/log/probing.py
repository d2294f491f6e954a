"""What the probes of the protocols share."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["place_of"]


def place_of(url: str) -> str:
    """What a verdict holds for: an endpoint and bucket, whatever the prefix."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="")) if parts.scheme == "s3" else url
