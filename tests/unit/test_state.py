"""The words of state.py one by one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3 import Corrupt
from rxmps3.model.state import (
    MOST_GAPS,
    Committed,
    ContentObject,
    Entry,
    Inline,
    Loaded,
    ManifestVersion,
    Mark,
    State,
    View,
    Write,
    WriteId,
    Wrote,
    fold,
    step,
)
from tests.unit.test_state_model import make_write


def version(id: str, *writes: Write, writer: str = "w") -> ManifestVersion:
    return ManifestVersion(id, writer, "someone", None, writes)


def texts(state: State | View) -> dict[str, str]:
    return {key: entry.content.text for key, entry in state.items() if isinstance(entry.content, Inline)}


def test_a_write_names_the_version_of_its_entries() -> None:
    assert WriteId("k3f9", 17).version == "k3f9-17"


def test_fold_applies_writes_in_order_and_moves_the_version() -> None:
    state = fold(State(), version("1", make_write("w", 1, {"a": "1", "b": "1"}), make_write("w", 2, {"a": None})))
    assert texts(state) == {"b": "1"}
    assert state.writers["w"] == Mark(2, "nonce-w-2")
    assert state.version == "1"


def test_fold_leaves_the_old_state_alone() -> None:
    old = fold(State(), version("1", make_write("w", 1, {"a": "1"})))
    new = fold(old, version("2", make_write("w", 2, {"a": "2", "b": "2"})))
    assert texts(old) == {"a": "1"}
    assert texts(new) == {"a": "2", "b": "2"}


def test_deleting_what_is_not_there_is_fine() -> None:
    assert texts(fold(State(), version("1", make_write("w", 1, {"a": None})))) == {}


def test_a_resent_write_counts_once() -> None:
    first, second = make_write("w", 1, {"a": "1"}), make_write("w", 2, {"a": "2"})
    state = State()
    for number, write in enumerate([first, second, first, second], start=1):
        state = fold(state, version(str(number), write))
    assert texts(state) == {"a": "2"}
    assert state.version == "4"


def test_a_resent_write_counts_once_within_one_version_too() -> None:
    first, second = make_write("w", 1, {"a": "1"}), make_write("w", 2, {"a": "2"})
    assert texts(fold(State(), version("1", first, second, first, second))) == {"a": "2"}


def test_an_entry_may_carry_writes_of_several_writers() -> None:
    state = fold(State(), version("1", make_write("old", 9, {"a": "9"}), make_write("w", 1, {"b": "1"})))
    assert set(state.writers) == {"old", "w"}


@pytest.mark.parametrize("together", [True, False])
def test_one_number_with_two_nonces_is_corrupt(together: bool) -> None:
    one, other = make_write("w", 1, {"a": "1"}), make_write("w", 1, {"a": "2"}, nonce="other")
    known = State() if together else fold(State(), version("1", one))
    with pytest.raises(Corrupt, match="w-1"):
        fold(known, version("2", one, other))


def test_a_number_that_was_skipped_may_still_come_and_counts_once() -> None:
    """A torn copy of an outbox commits later writes first; the original still has the earlier ones."""
    state = fold(State(), version("1", *(make_write("w", number, {f"k{number}": "1"}) for number in (2, 3, 7))))
    assert state.writers["w"].gaps == ((1, 1), (4, 6))
    late = make_write("w", 5, {"k5": "1"})
    assert not state.has_committed(late)
    state = fold(state, version("2", late))
    assert state.writers["w"].gaps == ((1, 1), (4, 4), (6, 6))
    assert "k5" in state
    assert state.has_committed(late)
    state = fold(state, version("3", make_write("w", 5, {"k5": "2"})))
    assert state["k5"].content == Inline("1")


def test_only_so_many_gaps_are_remembered() -> None:
    state = fold(
        State(), version("1", *(make_write("w", 2 * number, {"k": "1"}) for number in range(1, MOST_GAPS + 3)))
    )
    assert state.writers["w"].gaps[0] == (5, 5)
    assert len(state.writers["w"].gaps) == MOST_GAPS
    assert state.has_committed(make_write("w", 3, {"k": "1"}))


def test_has_committed_knows_number_and_nonce() -> None:
    state = fold(State(), version("1", make_write("w", 4, {"a": "1"}), make_write("w", 5, {"a": "1"})))
    assert state.has_committed(make_write("w", 5, {"a": "1"}))
    assert state.has_committed(make_write("w", 4, {"a": "1"}))
    assert not state.has_committed(make_write("w", 3, {"a": "1"}))
    assert not state.has_committed(make_write("w", 6, {"a": "1"}))
    assert not state.has_committed(make_write("v", 1, {"a": "1"}))
    with pytest.raises(Corrupt):
        state.has_committed(make_write("w", 5, {"a": "1"}, nonce="other"))


def test_a_corrupt_event_leaves_the_view_as_it_was() -> None:
    view = step(View(), Wrote(make_write("me", 1, {"a": "1"}))).view
    with pytest.raises(Corrupt):
        step(view, Committed(version("1", make_write("w", 1, {}), make_write("w", 1, {}, nonce="other"))))
    assert texts(view) == {"a": "1"}
    assert len(view.pending) == 1


def test_a_foreign_write_with_my_number_but_another_nonce_settles_nothing() -> None:
    view = step(View(), Wrote(make_write("me", 1, {"a": "1"}))).view
    moved = step(view, Committed(version("1", make_write("me", 1, {"a": "2"}, nonce="other"))))
    assert moved.effects == ()
    assert texts(moved.view) == {"a": "1"}


def test_loading_a_state_that_took_my_number_for_another_write_is_corrupt() -> None:
    view = step(View(), Wrote(make_write("me", 1, {"a": "1"}))).view
    theirs = fold(State(), version("1", make_write("me", 1, {"a": "2"}, nonce="other")))
    with pytest.raises(Corrupt):
        step(view, Loaded(theirs))


def test_what_a_loaded_state_changes_and_settles_is_told_in_order() -> None:
    mine = [make_write("me", number, {f"own/{number}": "1"}) for number in range(1, 9)]
    view = step(View(), Loaded(State())).view
    for write in mine:
        view = step(view, Wrote(write)).view
    theirs = fold(
        State(), version("1", *mine, make_write("w", 1, {f"key/{number}": "2" for number in range(9, 0, -1)}))
    )
    taken = step(view, Loaded(theirs))
    keys = [change.key for change in taken.changes]
    assert len(keys) == 17
    assert keys == sorted(keys)
    assert [settled.id for settled in taken.effects] == [write.id for write in mine]


@given(st.text(), st.text())
def test_values_are_the_same_if_their_texts_are(left: str, right: str) -> None:
    inline = [Entry("v-1", Inline(f'"{text}"')) for text in (left, right)]
    stored = [
        Entry("v-2", ContentObject("n", hashlib.sha256(f'"{text}"'.encode("utf-8", "replace")).hexdigest(), 1))
        for text in (left, right)
    ]
    try:
        (left + right).encode()
    except UnicodeEncodeError:
        return
    for one in (inline[0], stored[0]):
        for other in (inline[1], stored[1]):
            assert one.same_value(other) == (left == right)
    assert not inline[0].same_value(None)


def test_a_view_is_a_mapping() -> None:
    view = step(View(), Wrote(make_write("me", 1, {"a": "1", "b": None}))).view
    assert list(view) == ["a"]
    assert view["a"].version == "me-1"
    with pytest.raises(KeyError):
        view["b"]
    assert "b" not in view
    assert 1 not in view


def test_old_views_stay_valid() -> None:
    views = [View()]
    for number in range(1, 50):
        views.append(step(views[-1], Wrote(make_write("me", number, {"k": str(number)}))).view)
    assert [texts(view).get("k") for view in views] == [None, *(str(number) for number in range(1, 50))]
