"""The white-box checks in small: a log, and what sessions saw of it."""

from __future__ import annotations

from tests.causality import History, LoggedWrite, Pattern, check_exactly_once, check_prefixes
from tests.causality.test_causality import patterns, plain


def test_a_write_in_the_log_that_nobody_made() -> None:
    assert patterns(check_exactly_once([[LoggedWrite("w", {"x": "1"})]], History())) == {Pattern.INVENTED_WRITE}


def test_a_write_in_the_log_that_was_made_otherwise() -> None:
    history = History()
    history.session("a").write({"x": "1", "y": None}, id="w")
    assert check_exactly_once([[LoggedWrite("w", {"x": "1", "y": None})]], history) == []
    for update in [{"x": "2", "y": None}, {"x": "1"}, {"x": "1", "y": "1"}, {"x": "1", "y": None, "z": None}]:
        assert patterns(check_exactly_once([[LoggedWrite("w", update)]], history)) == {Pattern.INVENTED_WRITE}


def test_a_write_that_lands_in_what_its_session_had_read_already() -> None:
    history = History()
    a, b = history.session("a"), history.session("b")
    a.write({"x": "1"}, id="first")
    b.read({"x": "1"})
    b.write({"y": "1"}, id="second")
    right = [[LoggedWrite("first", {"x": "1"})], [LoggedWrite("second", {"y": "1"})]]
    assert check_prefixes(right, history) == []
    assert patterns(check_prefixes(right[::-1], history)) == {Pattern.BACKDATED_WRITE}
    assert patterns(check_prefixes([right[0] + right[1]], history)) == {Pattern.BACKDATED_WRITE}


def test_what_is_overwritten_within_one_version_is_never_seen() -> None:
    history = History()
    a, b = history.session("a"), history.session("b")
    log = [[LoggedWrite(w.id, plain(w)) for w in [a.write({"x": "1"}), a.write({"x": None}), a.write({"x": "2"})]]]
    b.read({"x": None})
    b.read({"x": "2"})
    assert check_prefixes(log, history) == []
    for unseen in ("1", None):
        b.read({"x": unseen})
    history.session("c").read({"x": "1"})
    assert patterns(check_prefixes(log, history)) == {Pattern.NOT_A_PREFIX, Pattern.PREFIX_SHRANK}
    assert len(check_prefixes(log, history)) == 3


def test_a_write_that_is_in_the_log_twice_counts_where_it_comes_first() -> None:
    history = History()
    a, b = history.session("a"), history.session("b")
    first, second = ([LoggedWrite(w.id, plain(w))] for w in [a.write({"x": "1"}), a.write({"x": "2"})])
    b.read({"x": "2"}, prefix=3)
    assert check_prefixes([first, second, first], history) == []
    assert patterns(check_exactly_once([first, second, first], history)) == {Pattern.DUPLICATE_WRITE}


def test_one_step_back_is_reported_once() -> None:
    history = History()
    a, b = history.session("a"), history.session("b")
    log = [[LoggedWrite(w.id, plain(w))] for w in [a.write({"x": "1"}), a.write({"x": "2"}), a.write({"x": "3"})]]
    for value in ["3", "1", "1", "2", "3"]:
        b.read({"x": value})
    assert [violation.pattern for violation in check_prefixes(log, history)] == [Pattern.PREFIX_SHRANK]


def test_writes_of_an_outbox_that_was_taken_over_are_seen_on_top() -> None:
    history = History()
    before, other = history.session("before"), history.session("other")
    left = before.write({"x": "left"})
    foreign = other.write({"x": "foreign"})
    log = [[LoggedWrite(foreign.id, plain(foreign))], [LoggedWrite(left.id, plain(left))]]
    for name, inherited in {"heir": [left], "stranger": []}.items():
        session = history.session(name, inherited=inherited)
        session.read({"x": "left"})
        session.read({"x": "left"}, prefix=1 if inherited else 2)
    assert check_prefixes(log, history) == []
    history.session("second stranger").read({"x": "left"}, prefix=1)
    assert patterns(check_prefixes(log, history)) == {Pattern.NOT_A_PREFIX}


def test_a_prefix_beyond_the_log() -> None:
    history = History()
    history.session("a").read({"x": None}, prefix=3)
    assert patterns(check_prefixes([], history)) == {Pattern.NOT_A_PREFIX}
