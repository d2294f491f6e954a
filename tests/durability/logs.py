"""What is in a log of any protocol, read straight from where it is stored and past the library's clients.

The two younger logs are read with nothing but boto3 and their specification.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any, NamedTuple

import boto3

from rxmps3.model.state import Entry, Inline
from rxmps3.storage import Found, Storage
from tests.conftest import Place
from tests.mps3.foreign import Foreign
from tests.processes.reading import entries, versions_in, with_storage, writes_in

__all__ = ["Logged", "logged"]


class Logged(NamedTuple):
    """A log.

    Attributes:
        puts: each key and value that a write sets, in the order of the log; a write counts once.
        state: each key and its value in the end.
        count: entries, versions of the manifest object, or operations.
        every_word: whether of several puts to one key that were committed together all are there; else the last.
    """

    puts: list[tuple[str, Any]]
    state: dict[str, Any]
    count: int
    every_word: bool = True

    @property
    def keys(self) -> list[str]:
        """The keys of the puts, in order."""
        return [key for key, _ in self.puts]

    def has(self, key: str, values: list[Any]) -> bool:
        """Whether exactly these values were put to a key, in this order."""
        found = [value for name, value in self.puts if name == key]
        return found == values if self.every_word else _is_part(found, values) and found[-1:] == values[-1:]


def _is_part(some: list[Any], of: list[Any]) -> bool:
    rest = iter(of)
    return all(one in rest for one in some)


def logged(place: Place) -> Logged:
    """The log of the default manifest of a place; what it promises of itself has been checked."""
    if place.protocol == "sequenced":
        return with_storage(place, _sequenced)
    bucket, _, prefix = place.url.removeprefix("s3://").partition("/")
    if place.protocol == "versioned":
        with closing(boto3.client("s3", **place.options)) as client:
            return _versioned(client, bucket, prefix)
    with Foreign(place.options, bucket, f"{prefix}/manifest.json") as client:
        return _mps3(client, f"{prefix}/")


async def _sequenced(storage: Storage) -> Logged:
    async def value_of(entry: Entry | None) -> Any:
        if entry is None or isinstance(entry.content, Inline):
            return None if entry is None else json.loads(entry.content.text)
        answer = await storage.get(f"main/{entry.content.name}")
        assert isinstance(answer, Found), f"missing: {entry.content.name}"
        return json.loads(answer.body)

    log = await entries(storage)
    assert len(versions_in(log)) == len(set(versions_in(log))), "a write is in the log twice"
    puts = [(key, await value_of(entry)) for write in writes_in(log) for key, entry in write.update.items()]
    return Logged(puts, dict(puts), len(log))


def _versioned(client: Any, bucket: str, prefix: str) -> Logged:
    """Fold the versions of the manifest object as section 5 of the specification says."""

    def read(name: str, version: str) -> Any:
        answer = client.get_object(Bucket=bucket, Key=f"{prefix}/{name}", VersionId=version)
        with closing(answer["Body"]) as body:
            return json.loads(body.read())

    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=f"{prefix}/main")
    listed = [one["VersionId"] for page in pages for one in page.get("Versions", []) if one["Key"] == f"{prefix}/main"]
    left = {id: read("main", id) for id in reversed(listed)}
    placed: list[Any] = []
    while left:
        first = next(id for id, body in left.items() if body["previous"] not in left and body["own"] not in left)
        placed.append(left.pop(first))
    counted: dict[tuple[str, int], str] = {}
    puts: list[tuple[str, Any]] = []
    for body in placed:
        for write in body["writes"]:
            id = (write.get("writer", body["writer"]), write["number"])
            if id in counted:
                assert counted[id] == write["nonce"], "two writes of one number"
            else:
                counted[id] = write["nonce"]
                puts += [(key, read(entry["object"], entry["at"])) for key, entry in write["update"].items()]
    return Logged(puts, dict(puts), len(placed))


def _mps3(client: Foreign, prefix: str) -> Logged:
    """The operations that count; what one of them names, no other one may."""
    puts: list[tuple[str, Any]] = []
    named: set[tuple[str, str]] = set()
    operations = client.operations()
    for operation in operations:
        for name, file in operation.update.items():
            key = name.partition("/")[2]
            assert (name, file["version"]) not in named, f"{name} was committed twice"
            named.add((name, file["version"]))
            puts.append((key.removeprefix(prefix), client.value(key, file)))
    state = {key.removeprefix(prefix): value for key, value in client.everything().items()}
    return Logged(puts, state, len(operations), every_word=False)
