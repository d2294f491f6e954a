"""Which rights a client needs in a bucket, and which requests nobody may make there, as policies of AWS. Pure.

Sources, read 2026-11-29: the condition keys ``s3:if-none-match``, ``s3:if-match`` and ``s3:ObjectCreationOperation``
are from https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html; that a get of a missing
object is answered with 403 without ``s3:ListBucket`` from
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from rxmps3.errors import InvalidOption
from rxmps3.log.protocol import ProtocolName
from rxmps3.model.names import PRESENCE_PREFIX, PROBE_PREFIX, VALUES, Layout

__all__ = ["EVERY", "ROLES", "Place", "Role", "bucket_policy", "lifecycle", "role_policy", "unsafe_rules"]

Role = Literal["reader", "writer", "upkeep"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
EVERY: Final = "*"
"""Instead of a manifest's name: all manifests."""

_INCARNATION: Final = "?" * 12
_ENTRY: Final = "0" * 11 + "?" * 9
"""An entry's number has twenty digits. Eleven zeros tell entries from values whose key has ``/log/`` in it, as a ``?``
matches any character; entries from number 10⁹ on are not covered."""


@dataclass(frozen=True)
class Place:
    """What a policy is about.

    Attributes:
        bucket: its name, or the ARN of an access point.
        prefix: of the database, with its slash.
        protocol: of the manifests.
        manifests: their names, or `EVERY`.

    Raises:
        InvalidOption: it is a directory bucket, whose objects have no rights of their own, or a name is not valid.
    """

    bucket: str
    prefix: str
    protocol: ProtocolName
    manifests: Sequence[str] = ("main",)

    def __post_init__(self) -> None:
        if self.bucket.endswith("--x-s3"):
            raise InvalidOption(
                "in a directory bucket only s3express:CreateSession can be granted, for all objects alike",
                object=self.bucket,
                remedy="grant that, with s3express:SessionMode ReadOnly for readers",
            )
        _ = self.folders

    @property
    def folders(self) -> list[str]:
        """The manifests' names as they are in object names, as patterns."""
        return [name if name == EVERY else _literal(Layout(name).root.rstrip("/")) for name in self.manifests]

    @property
    def bucket_arn(self) -> str:
        return self.bucket if self.bucket.startswith("arn:") else f"arn:aws:s3:::{self.bucket}"

    def objects(self, *names: str) -> list[str]:
        """The ARNs of objects below the prefix, by patterns."""
        below = "/object/" if self.bucket.startswith("arn:") else "/"
        return [f"{self.bucket_arn}{below}{_literal(self.prefix)}{name}" for name in names]

    def of_each(self, *patterns: str) -> list[str]:
        """The ARNs for each manifest; ``{}`` stands for its folder."""
        return self.objects(*(pattern.replace("{}", folder) for folder in self.folders for pattern in patterns))


def role_policy(place: Place, role: Role) -> dict[str, Any]:
    """An identity policy with the least rights for a role.

    A reader opens with ``read_only=True`` and sees who is here; a writer writes and is here; upkeep also collects, as
    at least one client should that writes.
    """
    presence, probe = f"{PRESENCE_PREFIX}{{}}/*", f"{PROBE_PREFIX}*"
    versioned = place.protocol == "versioned"
    whole = ["*"] if place.protocol != "sequenced" else []  # values are at their keys, next to the manifest
    # the manifest's own object, by both names, to notice one that is kept in another protocol
    plain = [name if name == EVERY else _literal(name) for name in place.manifests]
    elsewhere = dict.fromkeys([*place.of_each("{}"), *place.objects(*plain)])
    objects = place.objects(*whole) or [*elsewhere, *place.of_each("{}/*", presence)]
    statements = [
        _allow("Read", ["s3:GetObject", *(["s3:GetObjectVersion"] if whole else [])], objects),
        # also to be told 404 rather than 403; that question has no s3:prefix
        _allow("List", ["s3:ListBucket"], [place.bucket_arn])
        | {"Condition": {"StringLikeIfExists": {"s3:prefix": f"{_literal(place.prefix)}*"}}},
    ]
    if whole:
        statements.append(
            _allow("ListVersions", ["s3:ListBucketVersions"], [place.bucket_arn])
            | {"Condition": {"StringLike": {"s3:prefix": f"{_literal(place.prefix)}*"}}}
        )
    if role == "reader":
        return _policy(statements)
    own = [*place.objects(probe), *place.of_each(presence)]
    statements += [
        _allow("Write", ["s3:PutObject"], place.objects(*whole) or [*place.of_each("{}/*"), *own]),
        _allow("OwnObjects", ["s3:DeleteObject", *(["s3:DeleteObjectVersion"] if whole else [])], own),
    ]
    if not whole:
        statements.append(_allow("Probe", ["s3:GetObject"], place.objects(probe)))
    if versioned:
        statements.append(_allow("DeleteKeys", ["s3:DeleteObject"], place.objects("*")))  # by delete markers
    if role == "upkeep":
        collected = place.objects(*whole) or place.of_each(
            f"{{}}/{_INCARNATION}/log/*", f"{{}}/{_INCARNATION}/checkpoint/*", f"{{}}/{VALUES}*", "{}/clock/*"
        )
        statements.append(
            _allow("Collect", ["s3:DeleteObject", *(["s3:DeleteObjectVersion"] if whole else [])], collected)
        )
    return _policy(statements)


def bucket_policy(place: Place) -> dict[str, Any]:
    """A bucket policy that keeps everybody, whatever their rights, from breaking a log.

    Sequenced: an entry is only created, never replaced; the head is only created, or replaced with If-Match, and not
    deleted. Versioned: the manifest is not deleted by a marker. The mps3 log has nothing that a condition could guard.
    """
    statements: list[dict[str, Any]] = []
    if place.protocol == "sequenced":
        statements = [
            _deny("EntriesAreOnlyCreated", "s3:PutObject", place.of_each(f"{{}}/{_INCARNATION}/log/{_ENTRY}"))
            | _without("s3:if-none-match"),
            _deny("TheHeadIsCompared", "s3:PutObject", place.of_each("{}/head"))
            | _without("s3:if-none-match", "s3:if-match"),
            _deny("TheHeadStays", "s3:DeleteObject", place.of_each("{}/head")),
        ]
    elif place.protocol == "versioned" and EVERY not in place.manifests:
        statements = [_deny("TheManifestStays", "s3:DeleteObject", place.of_each("{}"))]
    return _policy(statements)


def lifecycle(place: Place) -> dict[str, Any]:
    """Lifecycle rules that are safe."""
    rules: list[dict[str, Any]] = [
        {
            "ID": "rxmps3: incomplete uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": place.prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
        *(
            {
                "ID": f"rxmps3: {what}",
                "Status": "Enabled",
                "Filter": {"Prefix": f"{place.prefix}{folder}"},
                "Expiration": {"Days": 2},
            }
            for what, folder in (("probes", PROBE_PREFIX), ("presence", PRESENCE_PREFIX))
        ),
    ]
    if place.protocol == "sequenced":
        rules.append(
            {
                "ID": "rxmps3: versions of what was collected",
                "Status": "Enabled",
                "Filter": {"Prefix": place.prefix},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
            }
        )
    return {"Rules": rules}


def unsafe_rules(protocol: ProtocolName) -> list[str]:
    """Lifecycle rules that would lose data or make the log unreadable, in words."""
    return [
        "Expiration of current objects under the prefix: entries, checkpoints and values are needed until collected",
        "Transition to GLACIER or DEEP_ARCHIVE: what is there cannot be read without restoring it first",
        "Transition to an infrequent access class: it works, and each object is charged as 128 KB for 30 days",
        *(
            ["NoncurrentVersionExpiration under the prefix: noncurrent versions are the log and the values"]
            if protocol == "versioned"
            else ["NoncurrentVersionExpiration under the prefix, if versioning=True: versions are the values"]
            if protocol == "mps3"
            else []
        ),
    ]


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else. Source: "Policy variables" in the IAM user guide."""
    return re.sub(r"[*?$]", r"${\g<0>}", name)


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(name: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": f"Rxmps3{name}", "Effect": "Allow", "Action": actions, "Resource": resources}


def _deny(name: str, action: str, resources: list[str]) -> dict[str, Any]:
    return {"Sid": f"Rxmps3{name}", "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resources}


def _without(*keys: str) -> dict[str, Any]:
    """If none of these headers is sent. Parts of a multipart upload take none; its completion does."""
    return {
        "Condition": {
            "Null": dict.fromkeys(keys, "true"),
            "Bool": {"s3:ObjectCreationOperation": "true"},
        }
    }
