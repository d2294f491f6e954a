"""The command about rights in a bucket: policy."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from rxmps3.cli.commands import CODES, app
from rxmps3.cli.policies import ROLES, Place, bucket_policy, lifecycle, role_policy, unsafe_rules
from rxmps3.cli.run import Run, Target
from rxmps3.errors import InvalidOption
from rxmps3.log.protocol import ProtocolName
from rxmps3.storage.urls import bucket_and_prefix


class _Role(StrEnum):
    READER = "reader"
    WRITER = "writer"
    UPKEEP = "upkeep"


class _Protocol(StrEnum):
    SEQUENCED = "sequenced"
    VERSIONED = "versioned"
    MPS3 = "mps3"


class _Part(StrEnum):
    BUCKET = "bucket"
    LIFECYCLE = "lifecycle"


Url = Annotated[str, typer.Argument(metavar="URL", help="s3://BUCKET/PREFIX", show_default=False)]


@app.command(epilog=CODES)
def policy(
    url: Url,
    role: Annotated[
        _Role | None, typer.Option("--role", help="Only the identity policy of this role.", show_default=False)
    ] = None,
    part: Annotated[
        _Part | None, typer.Option("--part", help="Only the bucket policy, or the lifecycle rules.", show_default=False)
    ] = None,
    protocol: Annotated[_Protocol, typer.Option("--protocol", help="The manifests' protocol.")] = _Protocol.SEQUENCED,
    manifest: Annotated[
        list[str] | None,
        typer.Option("--manifest", "-m", metavar="NAME", help="Repeat for several; * for all. [default: main]"),
    ] = None,
) -> int:
    """Print policies for a bucket as JSON: the least rights for each role, and what nobody may do there.

    Nothing is requested. The bucket policy denies, to everybody, requests that would break a log: on the sequenced one
    an entry put without If-None-Match, and a head put without a condition. Without --role and --part all of it is
    printed, with the lifecycle rules that are safe, and those that are not in words.
    """
    at = Target(url, "", None, None, None, None, False)
    return Run("policy", at).perform(lambda run: _policy(run, role, part, protocol.value, manifest or ["main"]))


async def _policy(
    run: Run, role: _Role | None, part: _Part | None, protocol: ProtocolName, manifests: list[str]
) -> None:
    bucket, prefix = bucket_and_prefix(run.at.url)
    place = Place(bucket, prefix, protocol, manifests)
    match role, part:
        case None, None:
            _print(
                run,
                {
                    "roles": {one: role_policy(place, one) for one in ROLES},
                    "bucket": bucket_policy(place),
                    "lifecycle": lifecycle(place),
                    "unsafe": unsafe_rules(protocol),
                },
            )
        case _Role(), None:
            _print(run, role_policy(place, role.value))
        case None, _Part.BUCKET:
            guard = bucket_policy(place)
            if not guard["Statement"]:
                raise InvalidOption(
                    "a bucket policy of no statements is not valid, and there is nothing that one could deny",
                    object=f"the {protocol} log of manifest {', '.join(map(repr, manifests))}",
                    remedy="see --role for who may write",
                )
            _print(run, guard)
        case None, _Part.LIFECYCLE:
            _print(run, lifecycle(place))
        case _:
            raise InvalidOption("--role and --part cannot be combined", remedy="give one of them")


def _print(run: Run, document: dict[str, Any]) -> None:
    run.terminal.write(json.dumps(document, indent=2) + "\n")
