"""The CORS rules of an S3 bucket: which web pages may use it from a browser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rxmps3.errors import Error, InvalidOption
from rxmps3.storage.s3 import S3Storage
from rxmps3.storage.s3_errors import Refusal

__all__ = [
    "EXPOSED",
    "HEADERS",
    "MAX_AGE",
    "METHODS",
    "RULE_ID",
    "Rule",
    "allowing",
    "origins_of",
    "read",
    "without",
    "write",
]

Rule = Mapping[str, Any]
"""One rule with S3's names: ID, AllowedOrigins, AllowedMethods, AllowedHeaders, ExposeHeaders, MaxAgeSeconds."""

RULE_ID: Final = "rxmps3"
METHODS: Final = ("GET", "HEAD", "PUT", "DELETE")
HEADERS: Final = ("*",)
EXPOSED: Final = ("ETag", "x-amz-version-id", "Date")
MAX_AGE: Final = 3600
"""Seconds for which a browser remembers the answer to a preflight."""

_HOST = r"[^/?#@\s*]"
_ORIGIN = re.compile(rf"\*|[a-z][a-z0-9+.-]*://(?:{_HOST}+\*?{_HOST}*|\*{_HOST}*)")


async def read(storage: S3Storage) -> list[Rule]:
    """The rules of the bucket, in the order in which the server tries them; none if none were ever set."""
    try:
        answer = await storage.request("read CORS rules", "get_bucket_cors")
    except Error as error:
        refusal = Refusal.of(error.__cause__) if error.__cause__ is not None else None
        if refusal is not None and refusal.code == "NoSuchCORSConfiguration":
            return []
        raise
    return list(answer.get("CORSRules", ()))


async def write(storage: S3Storage, rules: Sequence[Rule]) -> None:
    """Replace the rules of the bucket. S3 has no condition for this: the last one to write wins."""
    if rules:
        await storage.request("write CORS rules", "put_bucket_cors", CORSConfiguration={"CORSRules": list(rules)})
    else:
        await storage.request("delete CORS rules", "delete_bucket_cors")


def origins_of(rules: Sequence[Rule]) -> list[str]:
    """The origins in our rule."""
    return [origin for rule in rules if _is_ours(rule) for origin in rule["AllowedOrigins"]]


def allowing(rules: Sequence[Rule], origins: Iterable[str]) -> list[Rule]:
    """The rules with ours extended by these origins.

    Ours goes first, since a server takes the first matching rule; the others stay unchanged.

    Raises:
        InvalidOption: not a valid origin.
    """
    allowed = list(dict.fromkeys([*origins_of(rules), *map(_checked, origins)]))
    return _with_ours(rules, allowed)


def without(rules: Sequence[Rule], origins: Iterable[str]) -> list[Rule]:
    """The rules without these origins in ours, and without ours if none remains; the others stay as they are.

    Raises:
        InvalidOption: our rule does not allow one of them.
    """
    gone = set(origins)
    allowed = origins_of(rules)
    if unknown := sorted(gone - set(allowed)):
        raise InvalidOption(
            f"rxmps3's CORS rule does not allow {', '.join(unknown)}",
            remedy="it allows " + (", ".join(allowed) or "nobody") + "; rules of others are not touched",
        )
    return _with_ours(rules, [origin for origin in allowed if origin not in gone])


def _with_ours(rules: Sequence[Rule], origins: list[str]) -> list[Rule]:
    others = [rule for rule in rules if not _is_ours(rule)]
    if not origins:
        return others
    ours = {
        "ID": RULE_ID,
        "AllowedOrigins": origins,
        "AllowedMethods": list(METHODS),
        "AllowedHeaders": list(HEADERS),
        "ExposeHeaders": list(EXPOSED),
        "MaxAgeSeconds": MAX_AGE,
    }
    return [ours, *others]


def _is_ours(rule: Rule) -> bool:
    """Whether the rule is ours: by its ID, or by its content if the server does not keep IDs."""
    if "ID" in rule:
        return rule["ID"] == RULE_ID
    return sorted(rule.get("ExposeHeaders", ())) == sorted(EXPOSED) and sorted(rule["AllowedMethods"]) == sorted(
        METHODS
    )


def _checked(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise InvalidOption(
            f"{origin!r} is not an origin",
            remedy="write SCHEME://HOST or SCHEME://HOST:PORT without a path, such as https://app.example.com;"
            " it may have one *",
        )
    return origin
