"""What comes of the plans made by hand, with every rule in force."""

from __future__ import annotations

from dataclasses import replace

from tests.simulator import ClientPlan, Fault, Plan, Step, Weather, play
from tests.simulator.plans import EVEN, HOUR, LATECOMER, SLEEPER, client, latecomer, offsets, sleeping_opener, uploader


def test_a_writer_that_slept_through_a_collection_does_not_believe_in_what_it_created():
    ann, *others = SLEEPER.clients
    first, second = ann.steps
    second = replace(second, wait=5, sleeps=(0.005, 3 * HOUR))  # with her request on its way
    report = play(replace(SLEEPER, clients=(replace(ann, steps=(first, second)), *others), stalls=()))
    assert report.ok, report.explain()
    assert report.counts["ghosts"] == 1
    assert report.counts["collected entries"] >= 4


def test_a_value_that_was_uploaded_long_ago_is_uploaded_again():
    report = play(LATECOMER)
    assert report.ok, report.explain()
    assert report.counts["collected values"] == 1


def test_a_value_whose_upload_was_confirmed_long_after_it_was_stored_is_uploaded_again():
    report = play(latecomer(0.08))
    assert report.ok, report.explain()


def test_a_commit_that_leaves_long_after_its_uploads_is_mended():
    kim = client("kim", Step("compact", 26 * HOUR), Step("compact", HOUR), retention=25 * HOUR)
    report = play(Plan(1, (uploader(0.11), kim), EVEN, faults=()))
    (violation,) = report.violations
    assert violation.rule == "what the log names is there", "for a moment: nothing can stop a request on its way"
    assert "at the end" not in violation.detail


def test_a_commit_is_one_request():
    puts = [Step("put", 0.2, (f"key/{number}",), follow=True) for number in range(20)]
    first, more = (play(Plan(1, (client("ann", *puts[:count]),), EVEN, faults=())).requests["ann"] for count in (1, 20))
    assert {channel: more[channel] - first[channel] for channel in more if more[channel] != first[channel]} == {
        "put log": 19,
        "get log": 1,  # of the look at the very end, which asks for the first entry and for the last
    }


def test_looking_when_nothing_is_new_is_one_request():
    def requests(seconds: float) -> dict[str, int]:
        watching = ClientPlan("bob", poll=10.0, steps=(Step("observe", 5, ("key/0",)), Step("dispose", seconds)))
        writing = client("ann", Step("put", 0, ("key/0",), follow=True))
        return play(Plan(1, (writing, watching), EVEN, faults=())).requests["bob"]

    short, long = requests(100), requests(1100)
    more = {channel: long[channel] - short[channel] for channel in long if long[channel] != short[channel]}
    assert more.keys() == {"get log", "get head"}
    looks = more["get head"]
    assert 45 <= looks <= 101, "whether the log is there, every ten seconds at most"
    assert 100 <= more["get log"] - looks <= 125  # every 8 to 10 seconds


def test_looking_twice_within_ten_seconds_is_one_request():
    watching = ClientPlan("bob", poll=1.0, steps=(Step("observe", 5, ("key/0",)), Step("dispose", HOUR)))
    writing = client("ann", Step("put", 0, ("key/0",), follow=True))
    requests = play(Plan(1, (writing, watching), EVEN, faults=())).requests["bob"]
    assert requests["get log"] + requests["get head"] <= HOUR / 0.8 * 1.2 + 20
    assert requests["get head"] <= HOUR / 10 + 5


# -- standing still, wherever it happens ---------------------------------------------------------------------


def test_whoever_falls_asleep_while_opening_opens():
    for after in offsets(0.0, 0.4, 0.01):
        report = play(sleeping_opener(after))
        assert report.ok, f"asleep after {after:.2f} s\n{report.explain()}"
        assert report.counts["collected entries"] > 0


def test_whoever_falls_asleep_while_compacting_does_no_harm():
    for after in offsets(0.0, 3.0, 0.05):
        ann = client("ann", *(Step("put", 5 * HOUR, ("big/0",), size=300) for _ in range(6)), inline_limit=40)
        kim = client("kim", *(Step("compact", 6 * HOUR) for _ in range(9)), retention=7 * HOUR)
        lea = client("lea", Step("compact", 35.5 * HOUR, sleeps=(after, 18 * HOUR)), retention=7 * HOUR)
        report = play(Plan(1, (ann, kim, lea), replace(EVEN, clear_at=60 * HOUR), faults=()))
        assert report.ok, f"asleep after {after:.2f} s\n{report.explain()}"
        assert report.counts["collected entries"] > 0


def test_whoever_falls_asleep_while_writing_writes():
    kim = client("kim", *(Step("put", HOUR, ("key/1",)) for _ in range(2)), *(Step("compact", 5 * HOUR),) * 8)
    for after in offsets(0.0, 2.0, 0.05):
        ann = client("ann", Step("put", 0, ("big/0",), size=300, sleeps=(after, 20 * HOUR)), inline_limit=40)
        report = play(Plan(1, (ann, kim), EVEN, faults=()))
        assert report.ok, f"asleep after {after:.2f} s\n{report.explain()}"


# -- streams that wait for a download ------------------------------------------------------------------------

_SLOW_DOWNLOAD = tuple(Fault("cid", "get values", nth, "slow", 0.9) for nth in (1, 2))
_SOON = Weather(latency=0.05, spread=0.0, clear_at=60.0)


def test_a_window_closes_up_when_a_key_in_it_is_deleted():
    bob = client("bob", Step("put_all", 0, ("todo/0", "todo/3"), size=300, follow=True), inline_limit=40)
    cid = client(
        "cid",
        Step("put", 10, ("todo/1",), follow=True),
        Step("observe_prefix", 0, ("todo/",), size=-2),
        Step("delete", 0.1, ("todo/1",)),
    )
    report = play(Plan(1, (bob, cid), _SOON, faults=_SLOW_DOWNLOAD))
    assert report.ok, report.explain()


def test_what_was_taken_back_is_not_shown_again():
    bob = client(
        "bob",
        Step("put", 0, ("key/0",), follow=True),
        Step("put", 10, ("key/2",), size=300, follow=True),
        inline_limit=40,
    )
    cid = client(
        "cid",
        Step("observe_prefix", 5, ("key/",)),
        Step("refresh", 8, ("todo/0",)),
        Step("cancel", 0.1, ("key/0",)),
        Step("put", 0.1, ("key/1",)),
    )
    report = play(Plan(1, (bob, cid), _SOON, faults=_SLOW_DOWNLOAD))
    assert report.ok, report.explain()


def test_a_change_that_was_taken_back_while_it_waited_is_told():
    bob = client(
        "bob",
        Step("put", 0, ("key/0",), follow=True),
        Step("put", 10, ("key/2",), size=300, follow=True),
        inline_limit=40,
    )
    cid = client(
        "cid",
        Step("changes", 5, ("key/",)),
        Step("refresh", 8, ("todo/0",)),
        Step("cancel", 0.1, ("key/1",), size=300),
        inline_limit=40,
        cache_bytes=0,
    )
    report = play(Plan(1, (bob, cid), _SOON, faults=_SLOW_DOWNLOAD))
    assert report.ok, report.explain()
