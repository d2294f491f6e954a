"""Policies: each role can do all that it does, and no more; nobody can break the log."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import pytest

from rxmps3 import AccessDenied, InvalidOption, connect
from rxmps3.cli.policies import ROLES, Place, Role, bucket_policy, lifecycle, role_policy, unsafe_rules
from rxmps3.log.protocol import ProtocolName
from rxmps3.storage import ABSENT, MemoryStorage, list_all
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.cli.commands import several
from tests.cli.policies import Ask, GuardedStorage, is_allowed

PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)
BUCKET, PREFIX = "bucket", "app/"


class Rig:
    """One bucket in virtual time, and clients of each role in it."""

    def __init__(self, protocol: ProtocolName, name: str, *, every: bool) -> None:
        self.clock = SimClock(protocol)
        self.memory = MemoryStorage(clock=self.clock, versioning=protocol == "versioned")
        self.place = Place(BUCKET, PREFIX, protocol, ["*" if every else name])
        self.name = name
        self.protocol = protocol

    def guarded(self, role: Role) -> GuardedStorage:
        return GuardedStorage(self.memory, BUCKET, PREFIX, role_policy(self.place, role), bucket_policy(self.place))

    def open(self, storage: Any, **options: Any) -> Any:
        return connect(
            storage, manifest=self.name, shared=False, clock=self.clock, poll=1000, protocol=self.protocol, **options
        )


@pytest.mark.parametrize(
    ("protocol", "name", "every"),
    [
        ("sequenced", "main", False),
        ("sequenced", "a/b c", False),
        ("sequenced", "..", True),
        ("versioned", "a/b c", False),
        ("mps3", "main", False),
    ],
)
def test_each_role_may_do_all_that_it_does(protocol: ProtocolName, name: str, every: bool) -> None:
    async def main() -> None:
        rig = Rig(protocol, name, every=every)
        writing, keeping, reading = (rig.guarded(role) for role in ("writer", "upkeep", "reader"))
        errors: list[Any] = []
        async with rig.open(writing) as writer:
            await writer.put("k", 0)
            async with rig.open(keeping) as keeper, rig.open(reading, read_only=True) as reader:
                for db in (writer, keeper, reader):
                    db.errors.subscribe(errors.append)
                seen: list[Any] = []
                reader.observe("k").subscribe(seen.append)
                here = reader.presence(ttl=5000, poll=1000)
                here.subscribe()
                slow = {"every": 1000, "ttl": 5000, "poll": 1000}
                with writer.presence("writer", **slow), keeper.presence("keeper", **slow):
                    for number in range(60):
                        db = (writer, keeper)[number % 2]
                        db.put(f"k/log/{number % 7}", "L" * 6000 if number % 5 == 0 else number)
                        await db.put("k", number)
                        if number % 9 == 0:
                            await db.delete(f"k/log/{number % 7}")
                    for _ in range(3):
                        await rig.clock.sleep(26 * 3600)
                        for number in range(20):
                            await keeper.put("k", 1000 + number)
                        await keeper.compact()
                    await rig.clock.sleep(2000)
                    assert sorted(one.me for one in here.value.values()) == ["keeper", "writer"]
                    assert (await reader.get("k/log/3"), seen[-1]) == (await writer.get("k/log/3"), 1019)
            assert errors == []
        assert keeping.refused == reading.refused == []
        # what a writer may not do is to collect, and it does not try: these logs are too short for it
        assert {ask.action for ask in writing.refused} <= {"s3:DeleteObject", "s3:DeleteObjectVersion"}
        assert any(ask.action.startswith("s3:Delete") for ask in keeping.allowed)
        assert not any(ask.action.startswith(("s3:Put", "s3:Delete")) for ask in reading.allowed)

    run_virtually(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_not_its_part_is_refused(protocol: ProtocolName) -> None:
    async def main() -> None:
        rig = Rig(protocol, "main", every=False)
        async with rig.open(rig.guarded("writer")) as writer:
            await writer.put("k", 0)
        reading = rig.guarded("reader")
        for verb in (reading.put("main/head", b"x"), reading.delete("main/head"), reading.put("main", b"x")):
            with pytest.raises(AccessDenied):
                await verb
        outside = Ask("s3:GetObject", "arn:aws:s3:::bucket/other/main/head")
        listing = Ask("s3:ListBucket", "arn:aws:s3:::bucket", {"s3:prefix": "other/"})
        for role in ROLES:
            for ask in (outside, listing, Ask("s3:PutObject", outside.resource), Ask("s3:PutBucketPolicy", "*")):
                assert not is_allowed(ask, role_policy(rig.place, role), bucket_policy(rig.place)), (role, ask)

    run_virtually(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("odd", ["a*", "a?", "${aws:username}", "a$b"])
def test_signs_in_a_name_are_no_patterns(protocol: ProtocolName, odd: str) -> None:
    """In the prefix or in the name of a manifest."""

    def allowed(place: Place, action: str, resource: str, **keys: str) -> set[bool]:
        ask = Ask(action, resource, keys)
        return {is_allowed(ask, role_policy(place, role), {"Statement": []}) for role in ROLES}

    place, own, other = (
        Place(BUCKET, f"{odd}/", protocol),
        f"arn:aws:s3:::bucket/{odd}/main",
        "arn:aws:s3:::bucket/ab/main",
    )
    assert allowed(place, "s3:GetObject", own) == {True}
    assert allowed(place, "s3:GetObject", other) == {False}
    assert allowed(place, "s3:ListBucket", "arn:aws:s3:::bucket", **{"s3:prefix": f"{odd}/main"}) == {True}
    assert allowed(place, "s3:ListBucket", "arn:aws:s3:::bucket", **{"s3:prefix": "ab/main"}) == {False}
    if protocol == "sequenced":  # the others need everything below the prefix
        named = Place(BUCKET, PREFIX, protocol, [odd])
        assert allowed(named, "s3:GetObject", f"arn:aws:s3:::bucket/app/{odd}") == {True}
        assert allowed(named, "s3:GetObject", "arn:aws:s3:::bucket/app/ab") == {False}


ADMIN = {"Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": "*"}]}


def test_no_program_breaks_the_sequenced_log_whatever_its_rights() -> None:
    async def main() -> None:
        rig = Rig("sequenced", "main", every=False)
        async with rig.open(rig.memory) as db:
            await db.put("k", 0)
            await db.put("abcde/log/x", "L" * 6000)
        foreign = GuardedStorage(rig.memory, BUCKET, PREFIX, ADMIN, bucket_policy(rig.place))
        entries = [one.name for one in await list_all(rig.memory, "main/") if "/log/0" in one.name]
        assert len(entries) == 2
        for name in (*entries, "main/head"):
            with pytest.raises(AccessDenied):
                await foreign.put(name, b"mine")
        with pytest.raises(AccessDenied):
            await foreign.delete("main/head")
        async with rig.open(GuardedStorage(rig.memory, BUCKET, PREFIX, _both(), bucket_policy(rig.place))) as db:
            assert await db.get("k") == 0
            await db.put("k", 1)
            await db.put("abcde/log/y", "L" * 6000)  # a value is no entry, whatever its key
        # what it may do: create the next entry, as every client does
        await foreign.put(entries[-1][:-1] + "9", b"{}", when=ABSENT)

    def _both() -> dict[str, Any]:
        read = ["s3:GetObject", "s3:ListBucket"]
        return {"Statement": [*ADMIN["Statement"], {"Effect": "Allow", "Action": read, "Resource": "*"}]}

    run_virtually(main())


def test_the_versioned_manifest_is_not_hidden_by_a_marker() -> None:
    place = Place(BUCKET, PREFIX, "versioned", ["main"])
    manifest, key = (Ask("s3:DeleteObject", f"arn:aws:s3:::bucket/app/{name}") for name in ("main", "k"))
    assert not is_allowed(manifest, ADMIN, bucket_policy(place))
    assert is_allowed(key, ADMIN, bucket_policy(place))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lifecycle_rules_that_are_safe_touch_nothing_that_is_needed(protocol: ProtocolName) -> None:
    rules = lifecycle(Place(BUCKET, PREFIX, protocol))["Rules"]
    assert {"AbortIncompleteMultipartUpload"} <= {key for rule in rules for key in rule}
    for rule in rules:
        if "Days" in rule.get("Expiration", {}):
            assert rule["Filter"]["Prefix"].startswith("app/.rxmps3-p")
        if "NoncurrentVersionExpiration" in rule:
            assert protocol == "sequenced"
    assert any("Noncurrent" in line for line in unsafe_rules(protocol)) is (protocol != "sequenced")


def test_places() -> None:
    access_point = Place("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", "app/", "sequenced")
    assert access_point.objects("x") == ["arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/object/app/x"]
    with pytest.raises(InvalidOption, match="CreateSession"):
        Place("b--use1-az4--x-s3", "", "sequenced")
    with pytest.raises(InvalidOption):
        Place("b", "", "sequenced", [".rxmps3"])


async def test_the_command() -> None:
    url = "s3://bucket/app"
    whole, role, part, versioned, wrong, both, empty = await asyncio.to_thread(
        several,
        ("policy", url),
        ("policy", url, "--role", "writer", "-m", "main", "-m", "other"),
        ("policy", url, "--part", "bucket"),
        ("policy", url, "--protocol", "versioned", "--part", "lifecycle"),
        ("policy", "file:x"),
        ("policy", url, "--role", "reader", "--part", "bucket"),
        ("policy", url, "--protocol", "mps3", "--part", "bucket"),
    )
    place = Place("bucket", "app/", "sequenced")
    document: Any = json.loads(whole.out)
    assert document["roles"] == {role: role_policy(place, role) for role in ROLES}
    assert json.loads(part.out) == document["bucket"] == bucket_policy(place)
    assert json.loads(role.out) == role_policy(Place("bucket", "app/", "sequenced", ["main", "other"]), "writer")
    assert json.loads(versioned.out) == lifecycle(Place("bucket", "app/", "versioned"))
    assert (wrong.code, both.code, empty.code) == (2, 2, 2)
    assert "mps3" in empty.err
    assert empty.out == ""
    for one in document["roles"].values():
        assert len(json.dumps(one)) < 6144  # what an identity policy may have
