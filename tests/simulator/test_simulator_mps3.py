"""What comes of the plans made by hand for the mps3 log, with every rule in force."""

from __future__ import annotations

from tests.simulator import play
from tests.simulator.plans_mps3 import DELETED_TWICE, FORGOTTEN, LAST_WORDS, MASKED, TWO_DELETIONS, VANISHING


def test_a_deletion_that_somebody_else_made_counts_as_made_and_what_follows_it_is_its_writers():
    report = play(DELETED_TWICE)
    assert report.ok, report.explain()
    assert report.requests["ann"]["put operation"] == 3, "the deletion went out once"


def test_a_deletion_that_is_repeated_is_its_own_write():
    report = play(TWO_DELETIONS)
    assert report.ok, report.explain()
    assert report.counts["entries"] == 3


def test_an_operation_that_the_next_one_could_not_see_counts():
    report = play(MASKED)
    assert report.ok, report.explain()
    assert report.counts["entries"] == 3


def test_an_operation_that_vanishes_is_a_reason_to_list_again():
    report = play(VANISHING)
    assert report.ok, report.explain()
    assert any("Missing" in line for line in report.lines if "bob.0 get main@" in line)


def test_an_operation_that_is_on_its_way_when_its_process_dies_is_waited_for():
    report = play(LAST_WORDS)
    assert report.ok, report.explain()
    assert report.requests["ann"]["put operation"] == 2


def test_a_write_that_was_overwritten_and_collected_is_not_written_again():
    report = play(FORGOTTEN)
    assert report.ok, report.explain()
    assert any("ends: OutcomeUnknown" in line for line in report.lines)
