"""The arguments and options that several commands share, as typer reads them."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from rxmps3.cli.run import PATIENCE

__all__ = ["AsJson", "At", "Endpoint", "Profile", "Region", "shared_parameters"]

Endpoint = Annotated[str | None, typer.Option("--endpoint-url", metavar="URL", help="The S3 server's address.")]
Region = Annotated[str | None, typer.Option("--region", help="The bucket's region.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS configuration files.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="VERSION", help="As of then: a version id, a log version, a tag, a time."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Output JSON: one document, or one per line.")]


def _target(
    url: Annotated[str, typer.Argument(metavar="URL", help="file:PATH or s3://BUCKET/PREFIX", show_default=False)],
    manifest: Annotated[str, typer.Option("--manifest", "-m", metavar="NAME", help="The group of keys.")] = "main",
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help=f"Give up after this time; {PATIENCE:g} by default where it reads or writes once.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """The arguments of `rxmps3.cli.run.Target`."""


def shared_parameters() -> list[inspect.Parameter]:
    """The parameters that each command on a database has: the URL, then options."""
    return list(inspect.signature(_target, eval_str=True).parameters.values())
