"""Object names, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rxmps3 import Corrupt, InvalidKey, InvalidOption
from rxmps3.model.names import (
    Layout,
    check_key,
    escape,
    foreign_folders,
    parse_value_name,
    presence_folder,
    probe,
    unescape,
    value_name,
)

ODD = [
    '&$@=;[~|^  :+,"?\\{^}%]>#',
    "".join(map(chr, range(32))),
    "\x7f",
    "\x80",
    "a",
    "a/b",
    "a/",
    "/a",
    "a//b",
    "//",
    "/",
    ".",
    "..",
    "a/../b",
    "./a",
    "a/.",
    "...",
    "😀",
    "e\u0301",
    "\u00e9",
    "%2F",
    "%",
    "a%2Fb",
    "\ufeff",
    "\U0010ffff",
    "/".join(["d"] * 200),
    "A",
    "k@v",
]
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.text("/.%a@", min_size=1)
versions = st.from_regex(r"[0-9a-v]{12}-[0-9]{1,10}", fullmatch=True)
NAME = re.compile(r"[A-Za-z0-9\-._~/%@]+")


def assert_safe(name: str) -> None:
    assert NAME.fullmatch(name)
    assert not {"", ".", ".."} & set(name.split("/"))


@given(keys)
def test_keys_go_both_ways_through_safe_names(key: str) -> None:
    assert_safe(escape(key))
    assert unescape(escape(key)) == key


@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_odd_keys_go_both_ways(key: str) -> None:
    name = value_name(key, "k3f9-17")
    assert_safe(name)
    assert parse_value_name(name) == (key, "k3f9-17")


def test_different_odd_keys_have_different_names() -> None:
    assert len({escape(key) for key in ODD}) == len(ODD)


@given(keys, keys)
@example("a//b", "a/%2Fb")
@example("a/.", "a/%2E")
def test_no_two_keys_share_a_name(left: str, right: str) -> None:
    assert (escape(left) == escape(right)) == (left == right)


@given(keys, versions)
def test_value_names_go_both_ways(key: str, version: str) -> None:
    assert parse_value_name(value_name(key, version)) == (key, version)


def test_plain_keys_keep_their_path() -> None:
    assert value_name("photos/2026/cat.jpg", "w-1") == "values/photos/2026/cat.jpg@w-1"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "values/",
        "values/@w-1",
        "values/a",
        "a@w-1",
        "other/a@w-1",
        "values/%61@w-1",
        "values/a b@w-1",
        "values/a//b@w-1",
        "values/../b@w-1",
        "values/%2f@w-1",
        "values/%FF@w-1",
        "values/é@w-1",
        "values/a@",
        "values/a@../../head",
        "values/a@w/1",
    ],
)
def test_what_is_not_the_name_of_a_value_is_corrupt(name: str) -> None:
    with pytest.raises(Corrupt, match=re.escape(repr(name))):
        parse_value_name(name)


@pytest.mark.parametrize("key", ["", 1, None, b"a", ["a"]], ids=repr)
def test_a_key_is_a_string_that_is_not_empty(key: object) -> None:
    with pytest.raises(InvalidKey):
        check_key(key, 1000)


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb"])
def test_a_key_is_valid_unicode(key: str) -> None:
    with pytest.raises(InvalidKey, match="Unicode"):
        check_key(key, 1000)


@pytest.mark.parametrize(("letter", "bytes_each"), [("a", 1), (" ", 3), ("é", 6), ("😀", 12)])
def test_the_limit_counts_escaped_bytes(letter: str, bytes_each: int) -> None:
    fitting = letter * (120 // bytes_each)
    assert check_key(fitting, 120) == fitting
    with pytest.raises(InvalidKey, match="once escaped"):
        check_key(fitting + letter, 120)


@given(keys.filter(lambda name: not name.startswith(".rxmps3")))
def test_a_manifest_has_one_folder_of_one_segment(manifest: str) -> None:
    root = Layout(manifest, 10_000).root
    assert_safe(root + "x")
    assert root.count("/") == 1


@pytest.mark.parametrize("manifest", ["", ".rxmps3", ".rxmps3-probe", "\ud800"], ids=ascii)
def test_some_manifest_names_are_refused(manifest: str) -> None:
    with pytest.raises(InvalidOption):
        Layout(manifest)


def test_a_manifest_name_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(InvalidOption, match="no room"):
        Layout("m" * 950)


@given(st.integers(0, 10**20 - 1))
def test_entries_go_both_ways(seq: int) -> None:
    layout = Layout("main")
    assert layout.seq_of("inc", layout.entry("inc", seq)) == seq


@given(st.integers(0, 10**20 - 2))
def test_entries_sort_as_their_numbers(seq: int) -> None:
    layout = Layout("main")
    assert layout.entry("inc", seq) < layout.entry("inc", seq + 1)


@pytest.mark.parametrize("name", ["main/inc/log/1", "main/inc/log/x", "main/head", "main/inc/log/" + "٣" * 20, ""])
def test_other_names_are_no_entries(name: str) -> None:
    assert Layout("main").seq_of("inc", name) is None


def test_the_names_of_a_manifest() -> None:
    layout = Layout("my app")
    assert layout.head == "my%20app/head"
    assert layout.entry("abc", 42) == "my%20app/abc/log/00000000000000000042"
    assert layout.checkpoint("abc", 40, "n1") == "my%20app/abc/checkpoint/00000000000000000040-n1"
    assert layout.content("values/k@w-1") == "my%20app/values/k@w-1"
    assert probe("n1") == ".rxmps3-probe/n1"


@pytest.mark.parametrize("manifest", ODD)
def test_presence_is_outside_every_manifest(manifest: str) -> None:
    folder = presence_folder(manifest)
    assert re.fullmatch(r"\.rxmps3-presence/[A-Za-z0-9._~%-]+/", folder)
    assert folder != ".rxmps3-presence/./"
    assert folder == f".rxmps3-presence/{Layout(manifest, 10_000).root}"


def test_a_manifest_that_is_no_text_has_no_presence() -> None:
    with pytest.raises(InvalidOption):
        presence_folder("\ud800")


@given(st.integers(150, 1024), st.integers(1, 10**12))
def test_the_longest_key_fits_an_object_name(name_limit: int, number: int) -> None:
    layout = Layout("main", name_limit)
    key = next(key for length in range(layout.key_limit, 0, -1) if len(escape(key := "k" * length)) <= layout.key_limit)
    check_key(key, layout.key_limit)
    version = f"{'v' * 12}-{number}"
    assert len(layout.content(value_name(key, version)).encode()) <= name_limit


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        ((), ()),
        (("values/k@w-1", "values/a/b@w-2.again", "values/@w-3.0"), ()),
        (
            ("values/k@w-1", "values/app/main/head", "values/app/main/w/log/1", "values/b/x"),
            ("values/app/main/", "values/b/"),
        ),
        (("values/k@w-1", "values/manifest.json"), ("values/",)),
    ],
)
def test_folders_with_something_else_than_values(names: tuple[str, ...], folders: tuple[str, ...]) -> None:
    assert foreign_folders(names) == folders
