"""The bytes of log entries and of the head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from rxmps3 import Blob, Corrupt, Unsupported
from rxmps3.log import checkpoint_codec, codec
from rxmps3.model import jsontext, valuetext
from rxmps3.model.conditions import Conditions
from rxmps3.model.names import pack_name, value_name
from rxmps3.model.state import ContentObject, Entries, Entry, Inline, Mark, State, Write, WriteId
from tests.mutating import Mutant
from tests.unit.jsons import unicode_text, values

MILLISECOND = timedelta(milliseconds=1)
NAME = "main/inc/log/00000000000000000007"
ids = st.text("0123456789abcdefghijklmnopqrstuv", min_size=12, max_size=12)
keys = unicode_text.filter(bool)
times = st.integers(946_684_800_000, 4_102_444_800_000).map(
    lambda ms: datetime.fromtimestamp(0, UTC) + ms * MILLISECOND
)


def whole_second(time: datetime) -> datetime:
    return time.replace(microsecond=0)


checkpoints = st.builds(
    codec.CheckpointRef,
    seq=st.integers(0, 10**9),
    name=unicode_text,
    sha256=st.binary().map(codec.digest),
    size=st.integers(0, 10**9),
)


@st.composite
def entries(draw: st.DrawFn, key: str) -> Entry:
    version = f"{draw(ids)}-{draw(st.integers(1, 10**9))}"
    if draw(st.booleans()):
        return Entry(version, Inline(valuetext.encode(draw(values() | st.binary().map(Blob)))))
    sha256 = hashlib.sha256(draw(st.binary())).hexdigest()
    if draw(st.booleans()):
        name = pack_name(
            draw(st.sampled_from(["a-1", "b-1"])), draw(st.integers(0, 2)), draw(st.sampled_from(["", "x"]))
        )
        size, offset = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**7))
        return Entry(version, ContentObject(name, sha256, size, offset=offset))
    return Entry(version, ContentObject(value_name(key, version), sha256, draw(st.integers(0, 10**12))))


@st.composite
def writes(draw: st.DrawFn) -> Write:
    names = draw(st.lists(keys, min_size=1, max_size=4, unique=True))
    update = {key: draw(st.none() | entries(key)) for key in names}
    return Write(WriteId(draw(ids), draw(st.integers(0, 10**9))), draw(ids), update)


@given(
    seq=st.integers(1, 10**19),
    previous=unicode_text,
    writer=ids,
    by=unicode_text,
    time=times,
    date=st.none() | times.map(whole_second),
    expired=st.lists(ids, max_size=2),
    some=st.lists(writes(), max_size=4),
    data=st.data(),
)
def test_entries_round_trip(
    seq: int,
    previous: str,
    writer: str,
    by: str,
    time: datetime,
    date: datetime | None,
    expired: list[str],
    some: list[Write],
    data: st.DataObject,
) -> None:
    def mine(write: Write) -> Write:
        return Write(WriteId(writer, write.id.number), write.nonce, write.update)

    def based(write: Write) -> str | None:
        return ("", "7", None)[write.id.number % 3]

    some = [data.draw(st.sampled_from([write, mine(write)])) for write in some]
    encoded = [codec.encode_write(one, writer, based(one)) for one in some]
    body = codec.encode_entry(seq, previous, writer, by, time, encoded, date=date, expired=expired)
    read = codec.decode_entry(body, NAME)
    assert (read.seq, read.previous) == (seq, previous)
    version = read.version
    assert (version.id, version.writer, version.by, version.time) == (str(seq), writer, by, time)
    assert (version.date, list(version.expired)) == (date, expired)
    assert list(version.writes) == some
    assert [write.based for write in version.writes] == [based(write) for write in some]


@given(
    writer=ids,
    by=unicode_text,
    time=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])),
    date=st.none() | st.datetimes(timezones=st.just(UTC)),
    expired=st.lists(ids, max_size=2),
    some=st.lists(writes(), max_size=4),
    data=st.data(),
)
def test_what_an_entry_holds_is_known_without_reading_it(
    writer: str,
    by: str,
    time: datetime,
    date: datetime | None,
    expired: list[str],
    some: list[Write],
    data: st.DataObject,
) -> None:
    def varied(write: Write) -> Write:
        id = data.draw(st.sampled_from([write.id, WriteId(writer, write.id.number)]))
        conditions = data.draw(st.none() | st.just(Conditions({"key": None})))
        return replace(write, id=id, conditions=conditions, by=data.draw(st.none() | unicode_text))

    some = list(map(varied, some))
    about = (7, "f" * 64, writer, by, time)
    encoded = [codec.encode_write(one, writer) for one in some]
    requires = codec.features_of(some)
    body = codec.encode_entry(*about, encoded, date=date, expired=expired, requires=requires)
    read, known = codec.decode_entry(body, NAME), codec.as_decoded(*about, some, date=date, expired=expired)
    assert known == read
    assert [list(one.update) for one in known.version.writes] == [list(one.update) for one in read.version.writes]


@given(st.dictionaries(keys, st.none(), max_size=4), st.dictionaries(ids, st.integers(0, 99), max_size=3), st.data())
def test_states_round_trip(names: dict[str, None], numbers: dict[str, int], data: st.DataObject) -> None:
    content = {key: data.draw(entries(key)) for key in names}
    marks = {
        writer: Mark(number, "n", data.draw(st.none() | times.map(whole_second))) for writer, number in numbers.items()
    }
    body = checkpoint_codec.encode_state(State(Entries.of(content), Map(marks), "40"), "inc", 40, "c" * 64)
    read = checkpoint_codec.decode_state(body, "the checkpoint")
    assert (read.incarnation, read.seq, read.chain) == ("inc", 40, "c" * 64)
    assert dict(read.state.entries) == content
    assert dict(read.state.writers) == marks
    assert read.state.version == "40"
    turned = State(Entries.of(dict(reversed(content.items()))), Map(reversed(marks.items())), "40")
    assert checkpoint_codec.encode_state(turned, "inc", 40, "c" * 64) == body


def test_a_checkpoint_whose_packs_come_after_its_entries_is_read_too() -> None:
    body = checkpoint_codec.encode_state(State(Entries.of(packed_entries()), Map(), "1"), "inc", 1, "c" * 64)
    members = json.loads(body)
    assert list(members).index("packs") < list(members).index("entries")
    turned = json.dumps(dict(reversed(members.items()))).encode()
    assert dict(checkpoint_codec.decode_state(turned, "the checkpoint").state.entries) == packed_entries()


@given(
    ids,
    ids,
    st.none() | checkpoints,
    st.lists(checkpoints, max_size=3).map(tuple),
    st.integers(0, 10**9),
    st.none() | times,
    st.dictionaries(st.text(max_size=8), checkpoints, max_size=3),
)
def test_heads_round_trip(
    incarnation: str,
    nonce: str,
    checkpoint: codec.CheckpointRef | None,
    kept: tuple[codec.CheckpointRef, ...],
    floor: int,
    raised_at: datetime | None,
    tags: dict[str, codec.CheckpointRef],
) -> None:
    def named(ref: codec.CheckpointRef) -> codec.CheckpointRef:
        return replace(ref, name=f"{incarnation}/checkpoint/{ref.seq:020d}-n1")

    newest = None if checkpoint is None else named(checkpoint)
    floor = min(floor, 0 if newest is None else newest.seq)
    head = codec.Head(incarnation, nonce, newest, tuple(map(named, kept)), floor, raised_at)
    assert b"tags" not in codec.encode_head(head)
    head = replace(head, tags={tag: named(ref) for tag, ref in tags.items()})
    assert (b'"requires":["tags"]' in codec.encode_head(head)) == bool(tags)
    assert codec.decode_head(codec.encode_head(head), "main/head") == head


def test_an_entry_is_what_the_design_shows() -> None:
    write = Write(
        WriteId("k3f9", 17),
        "n1",
        {
            "todo/1": Entry("k3f9-17", Inline('{"title":"milk"}')),
            "photo": Entry("k3f9-17", ContentObject("values/photo@k3f9-17", "ab" * 32, 48213)),
            "old": None,
        },
    )
    time = datetime(2026, 11, 22, 10, tzinfo=UTC)
    encoded = [codec.encode_write(write, "k3f9")]
    body = codec.encode_entry(42, "prev", "k3f9", "alice", time, encoded, date=datetime(2026, 11, 22, 9, tzinfo=UTC))
    assert json.loads(body) == {
        "format": 1,
        "requires": [],
        "seq": 42,
        "previous": "prev",
        "writer": "k3f9",
        "by": "alice",
        "time": "2026-11-22T10:00:00.000Z",
        "date": "2026-11-22T09:00:00Z",
        "writes": [
            {
                "number": 17,
                "nonce": "n1",
                "update": {
                    "todo/1": {"version": "k3f9-17", "value": {"title": "milk"}},
                    "photo": {
                        "version": "k3f9-17",
                        "object": "values/photo@k3f9-17",
                        "type": "json",
                        "sha256": "ab" * 32,
                        "size": 48213,
                    },
                    "old": None,
                },
            }
        ],
        "check": hashlib.sha256(body[: body.index(b',"check"')] + b"}").hexdigest(),
    }


def packed_entries() -> dict[str, Entry]:
    def entry(number: int, offset: int) -> Entry:
        return Entry("k3f9-17", ContentObject(pack_name("k3f9-17", number), "00" * 31 + "ff", 100, offset=offset))

    return {"a": entry(0, 0), "b": entry(0, 100), "c": entry(1, 0)}


def packed_write() -> Write:
    return Write(WriteId("k3f9", 17), "n1", packed_entries())


def test_a_reference_into_a_pack_is_short() -> None:
    sha256 = "A" * 41 + "P8"
    assert json.loads(codec.encode_write(packed_write(), "k3f9")) == {
        "number": 17,
        "nonce": "n1",
        "packs": ["values/@k3f9-17.0", "values/@k3f9-17.1"],
        "update": {"a": [0, 0, 100, sha256], "b": [0, 100, 100, sha256], "c": [1, 0, 100, sha256]},
    }


def test_what_refers_to_packs_says_so_to_a_release_that_does_not_know_them(mutant: Mutant) -> None:
    write = packed_write()
    body = codec.encode_entry(
        1, "", "w", "", datetime(2026, 1, 1, tzinfo=UTC), [codec.encode_write(write, "w")],
        requires=codec.features_of([write]),
    )  # fmt: skip
    state = checkpoint_codec.encode_state(State(Entries.of(packed_entries()), Map(), "1"), "inc", 1, "c" * 64)
    assert codec.decode_entry(body, NAME).version.writes == (write,)
    assert dict(checkpoint_codec.decode_state(state, "the checkpoint").state.entries) == packed_entries()
    mutant.replace(codec.KNOWN_FEATURES, frozenset({codec.TAGS}), within=codec)
    for read in (
        lambda: codec.decode_entry(body, NAME),
        lambda: checkpoint_codec.decode_state(state, "the checkpoint"),
    ):
        with pytest.raises(Unsupported, match="packs") as refused:
            read()
        assert "upgrade" in str(refused.value)


@pytest.mark.parametrize(
    "part",
    [
        [],
        [0, 0, 1],
        [2, 0, 1, "A" * 43],
        [-1, 0, 1, "A" * 43],
        [0, -1, 1, "A" * 43],
        [0, 0, -1, "A" * 43],
        [0, 0, 1.0, "A" * 43],
        [0, True, 1, "A" * 43],
        [0, 0, 1, "A" * 42],
        [0, 0, 1, "A" * 42 + "B"],
        [0, 0, 1, None],
        [0, 0, 1, "A" * 43, 7],
        [0, 0, 1, "A" * 43, "v-1", 0],
    ],
    ids=repr,
)
def test_what_is_no_reference_into_a_pack_is_corrupt(part: list[Any]) -> None:
    write = {"number": 1, "nonce": "n", "packs": ["values/@w-1.0", "values/@w-1.1"], "update": {"a": part}}
    with pytest.raises(Corrupt, match="pack"):
        codec.decode_write(write, "w", "an entry")


@pytest.mark.parametrize("packs", ["values/@w-1.0", ["values/a@w-1"], ["../head"], [3], [""], {}], ids=repr)
def test_only_packs_are_named_as_such(packs: Any) -> None:
    write = {"number": 1, "nonce": "n", "packs": packs, "update": {"a": [0, 0, 1, "A" * 43]}}
    with pytest.raises(Corrupt):
        codec.decode_write(write, "w", "an entry")


def test_a_write_names_its_writer_only_where_another_committed_it() -> None:
    write = Write(WriteId("old", 3), "n", {"a": None})
    assert json.loads(codec.encode_write(write, "new"))["writer"] == "old"
    assert "writer" not in json.loads(codec.encode_write(write, "old"))


@given(unicode_text)
def test_the_same_entry_has_the_same_bytes(text: str) -> None:
    def body() -> bytes:
        write = Write(WriteId("w", 1), "n", {"b": None, "a": Entry("w-1", Inline(jsontext.encode(text)))})
        return codec.encode_entry(1, "", "w", "", datetime(2026, 1, 1, tzinfo=UTC), [codec.encode_write(write, "w")])

    assert body() == body()


def test_the_chain_begins_with_the_incarnation() -> None:
    assert codec.genesis("inc") == hashlib.sha256(b"inc").hexdigest()
    assert codec.genesis("inc") != codec.genesis("other")


GOOD: dict[str, Any] = {
    "format": 1,
    "requires": [],
    "seq": 7,
    "previous": "p",
    "writer": "w",
    "by": "",
    "time": "2026-11-22T10:00:00.000Z",
    "date": "2026-11-22T10:00:00Z",
    "expired": ["old"],
    "writes": [
        {
            "number": 1,
            "nonce": "n",
            "update": {
                "inline": {"version": "w-1", "value": 1},
                "stored": {
                    "version": "w-1",
                    "object": "values/stored@w-1",
                    "type": "json",
                    "sha256": "a" * 64,
                    "size": 9,
                },
            },
        }
    ],
}
DELETE = object()
Change = Callable[[dict[str, Any]], None]


def altered(path: str, value: Any, base: dict[str, Any] | None = None) -> bytes:
    body = json.loads(json.dumps(GOOD if base is None else base))
    *above, last = path.split(".")
    target: Any = body
    for step in above:
        target = target[int(step)] if step.isdigit() else target[step]
    if value is DELETE:
        del target[last]
    else:
        target[last] = value
    return json.dumps(body).encode()


def test_the_good_entry_is_good() -> None:
    codec.decode_entry(json.dumps(GOOD).encode(), NAME)


WRITE = "writes.0"
STORED = "writes.0.update.stored"
MALFORMED = [
    ("format", [0, "1", None, 1.5, [], DELETE, -1, True]),
    ("requires", [None, "x", {}, 1]),
    ("seq", ["7", None, 7.0, -1, True, DELETE]),
    ("previous", [1, None, DELETE, []]),
    ("writer", [1, None, DELETE]),
    ("by", [1, None, DELETE, {}]),
    ("time", [1, None, DELETE, "yesterday", "2026-13-01T00:00:00Z"]),
    ("date", [1, "yesterday", []]),
    ("expired", [None, "x", {}, [1], [None]]),
    ("writes", [None, {}, "x", DELETE, [1], [[]], [None]]),
    (f"{WRITE}.number", ["1", None, 1.0, -1, True, DELETE]),
    (f"{WRITE}.nonce", [1, None, DELETE]),
    (f"{WRITE}.writer", [1, None, []]),
    (f"{WRITE}.update", [None, [], "x", 1, DELETE, {}, {"": None}, {"k": 1}, {"k": []}, {"k": "v"}, {"k": {}}]),
    (f"{STORED}.version", [1, None, DELETE]),
    (f"{STORED}.type", [1, None, DELETE]),
    (
        f"{STORED}.object",
        [1, None, DELETE, "", "head", "values/a b@w-1", "values/@w-1", "values/x", "other/stored@w-1"],
    ),
    (f"{STORED}.sha256", [1, None, DELETE, "", "a" * 63, "A" * 64, "g" * 64]),
    (f"{STORED}.size", ["9", None, -1, 9.5, DELETE, True]),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path}={'gone' if value is DELETE else ascii(value)[:24]}")
        for path, bad in MALFORMED
        for value in bad
    ],
)
def test_a_malformed_member_is_corrupt_and_the_object_named(path: str, value: Any) -> None:
    with pytest.raises(Corrupt) as caught:
        codec.decode_entry(altered(path, value), NAME)
    assert NAME in str(caught.value)


@pytest.mark.parametrize("value", ["1e999", "[-1e999]", '"\\ud800"', '{"\\udfff":1}', "NaN", "9" * 5000])
def test_an_inline_value_that_no_client_writes_spoils_itself_alone(value: str) -> None:
    body = json.dumps(GOOD).replace('"value": 1', f'"value": {value}').encode()
    (write,) = codec.decode_entry(body, NAME).version.writes
    (content,) = (entry.content for entry in write.update.values() if entry and isinstance(entry.content, Inline))
    assert content.text == value.replace(" ", "")
    with pytest.raises(Corrupt):
        jsontext.decode(content.text)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"NaN", json.dumps(GOOD).encode()[:-1]]
)
def test_what_is_no_json_object_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match=NAME):
        codec.decode_entry(body, NAME)
    with pytest.raises(Corrupt, match="main/head"):
        codec.decode_head(body, "main/head")


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_corrupt(body: bytes) -> None:
    for decode in (codec.decode_entry, codec.decode_head):
        with pytest.raises((Corrupt, Unsupported), match="the object"):
            decode(body, "the object")


@given(values(), st.sampled_from([path for path, _ in MALFORMED]))
def test_no_member_does_worse_than_corrupt(value: Any, path: str) -> None:
    with suppress(Corrupt, Unsupported):
        codec.decode_entry(altered(path, value), NAME)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [("format", 2, "format 2"), ("requires", ["sparkles"], "sparkles"), (f"{STORED}.type", "arrow", "arrow")],
)
def test_what_is_newer_than_us_is_unsupported_and_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(Unsupported) as caught:
        codec.decode_entry(altered(path, value), NAME)
    assert NAME in str(caught.value)
    assert named in str(caught.value)
    assert "upgrade" in str(caught.value)


def test_a_newer_format_is_unsupported_whatever_else_it_holds() -> None:
    with pytest.raises(Unsupported):
        codec.decode_entry(b'{"format": 2}', NAME)


@pytest.mark.parametrize("feature", [1, None, ["x"], {}, "x"])
def test_an_unknown_feature_is_never_ignored(feature: Any) -> None:
    with pytest.raises((Unsupported, Corrupt), match=NAME):
        codec.decode_entry(altered("requires", [feature]), NAME)


HEAD: dict[str, Any] = {
    "format": 1,
    "requires": [],
    "log": "abc123",
    "nonce": "n",
    "checkpoint": {"seq": 40, "name": f"abc123/checkpoint/{40:020}-n", "sha256": "a" * 64, "size": 9},
    "kept": [],
    "floor": 12,
    "raised_at": "2026-11-22T10:00:00+00:00",
    "tags": {"v1": {"seq": 7, "name": f"abc123/checkpoint/{7:020}-m", "sha256": "b" * 64, "size": 9}},
}


def test_the_head_that_is_altered_below_is_sound() -> None:
    head = codec.decode_head(json.dumps(HEAD).encode(), "main/head")
    assert head.checkpoint is not None
    assert [ref.seq for ref in head.refs] == [7, 40]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path}={'gone' if value is DELETE else ascii(value)[:24]}")
        for path, bad in [
            ("format", [0, "1", DELETE]),
            ("requires", ["x", {}]),
            ("log", [1, None, DELETE, "", "a/b", "../x", "é"]),
            ("nonce", [1, None, DELETE]),
            ("checkpoint", [1, [], "x", {}]),
            ("checkpoint.seq", [-1, "40", None, DELETE]),
            ("checkpoint.name", [1, None, DELETE]),
            ("checkpoint.sha256", ["", 1, None, DELETE]),
            ("checkpoint.size", [-1, "9", None, DELETE]),
            ("kept", [None, {}, [1], [{}], DELETE]),
            ("floor", [-1, "12", None, 1.5, DELETE]),
            ("raised_at", [1, "soon", []]),
            ("tags", [None, [], 1, {"v": 1}]),
            ("tags.v1", [None, [], {}]),
            ("tags.v1.name", [1, "x/checkpoint/7-n", DELETE]),
            ("tags.v1.sha256", ["", DELETE]),
        ]
        for value in bad
    ],
)
def test_a_malformed_head_is_corrupt_and_named(path: str, value: Any) -> None:
    with pytest.raises(Corrupt, match="main/head"):
        codec.decode_head(altered(path, value, HEAD), "main/head")


@pytest.mark.parametrize(("path", "value"), [("format", 2), ("requires", ["sparkles"])])
def test_a_newer_head_is_unsupported(path: str, value: Any) -> None:
    with pytest.raises(Unsupported, match="main/head"):
        codec.decode_head(altered(path, value, HEAD), "main/head")
