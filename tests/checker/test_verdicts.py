"""The checker finds what is planted, and nothing where nothing is."""

from __future__ import annotations

import json

import pytest

from tests.checker.logs import read_log, read_mps3, read_sequenced, read_versioned, time_of
from tests.checker.planted import NOON, Person, Shelf, canonical, mps3, mps3_name, sequenced, write_of
from tests.checker.trace import COUNTER, Call, Event, Session, id_of, read_session, tag_key, value_of
from tests.checker.verdicts import KINDS, Expected, Report, judge

A_LARGE_ONE = next(number for number in range(100) if len(canonical(value_of(f"eve.0.{number}"))) > 4096)


class Story:
    """Two people who write in turn, see each other, and are told of it."""

    def __init__(self) -> None:
        clock = [0.0]
        self.ana, self.bob = Person("ana", clock), Person("bob", clock)
        self.first = self.ana.call("x", "y")
        self.ana.sees(self.first)
        self.ana.told(self.first)
        self.bob.sees(self.first)
        self.second = self.bob.call("x")
        self.bob.sees(self.second)
        self.bob.told(self.second)
        self.ana.sees(self.second)
        self.third = self.ana.call("y", deletes=["x"])
        self.ana.sees(self.third)
        self.ana.told(self.third)
        self.bob.sees(self.third)
        self.bob.refreshes("y", self.third.id)
        self.bob.refreshes("x", None)

    @property
    def sessions(self) -> list[Session]:
        return [self.ana.session, self.bob.session]

    def judged(self, *calls: Call) -> Report:
        """Judge it with a log of these writes, each an entry."""
        log = read_sequenced(sequenced([[call] for call in calls]))
        assert log.problems == []
        return judge(log, self.sessions, Expected())


def kinds(report: Report) -> set[str]:
    assert set(report.found) <= set(KINDS)
    return set(report.found)


def test_a_sound_run_is_clean() -> None:
    story = Story()
    state = {"y": story.third.id, **{tag_key("ana", n): f"ana.0.{n}" for n in (0, 1)}, tag_key("bob", 0): "bob.0.0"}
    story.ana.ends(state)
    report = story.judged(story.first, story.second, story.third)
    assert report.is_clean, str(report)
    assert (report.calls, report.acknowledged, report.in_log, report.seen) == (3, 3, 3, 8)
    assert str(report).startswith("3 writes, 3 acknowledged")


def test_a_lost_write() -> None:
    story = Story()
    assert "lost" in kinds(story.judged(story.first, story.second))
    assert "lost" in kinds(story.judged(story.first, story.third))


def test_a_write_that_was_only_called_stored_is_lost_too() -> None:
    story = Story()
    call = story.bob.call("z")
    call.stored = 100.0
    assert kinds(story.judged(story.first, story.second, story.third)) == {"lost"}
    call.failed = "Rejected: too large"
    assert story.judged(story.first, story.second, story.third).is_clean


def test_a_doubled_write() -> None:
    story = Story()
    again = Call(story.first.id, story.first.update, 0)
    shelf = sequenced([[story.first], [story.second], [story.third], [again]])
    assert "doubled" not in kinds(judge(read_sequenced(shelf), story.sessions, Expected())), "its number and nonce tell"
    name = max(name for name in shelf.bodies if "/log/" in name)
    entry = json.loads(shelf.bodies[name])
    entry["writes"][0]["writer"] = "another"
    shelf.bodies[name] = canonical(entry)
    assert "doubled" in kinds(judge(read_sequenced(shelf), story.sessions, Expected()))


def test_a_reordered_write() -> None:
    story = Story()
    found = kinds(story.judged(story.second, story.first, story.third))
    assert {"reordered", "not causal", "turned back"} <= found


def test_real_time_is_kept_where_no_causality_shows() -> None:
    clock = [0.0]
    ana, bob = Person("ana", clock), Person("bob", clock)
    first = ana.call("x")
    ana.told(first)
    second = bob.call("y")
    log = read_sequenced(sequenced([[second], [first]]))
    sessions = [ana.session, bob.session]
    assert kinds(judge(log, sessions, Expected())) == {"reordered"}
    assert judge(log, sessions, Expected(linear=False)).is_clean


def test_a_forged_entry() -> None:
    story = Story()
    forged = Call("eve.0.0", {tag_key("eve", 0): "eve.0.0", "x": "eve.0.0"}, 0)
    assert kinds(story.judged(story.first, story.second, story.third, forged)) == {"forged"}
    deletes = Call("eve.0.0", {"y": None}, 0)
    assert kinds(story.judged(story.first, story.second, story.third, deletes)) == {"forged"}


def test_a_refused_write_that_is_there_all_the_same() -> None:
    story = Story()
    story.third.failed, story.third.acknowledged, story.third.stored = "Conflict: x", None, None
    assert "forged" in kinds(story.judged(story.first, story.second, story.third))


def test_half_a_write() -> None:
    story = Story()
    half = Call(story.first.id, {key: id for key, id in story.first.update.items() if key != "y"}, 0)
    assert "torn" in kinds(story.judged(half, story.second, story.third))


def test_half_a_write_that_was_only_shown() -> None:
    clock = [0.0]
    ana, bob = Person("ana", clock), Person("bob", clock)
    before, call = ana.call("x", "y"), ana.call("x", "y")
    bob.sees(before)
    bob.session.events[-1].seen = dict(before.update)
    bob.sees(Call(call.id, {key: call.id for key in call.update if key != "y"}, 0))
    report = judge(read_sequenced(sequenced([[before], [call]])), [ana.session, bob.session], Expected(linear=False))
    assert "torn" in kinds(report)


@pytest.mark.parametrize(("client", "life", "found"), [("ana", "ana.1", set[str]()), ("cid", "cid.0", {"torn"})])
def test_what_an_earlier_process_left_may_still_be_pending_on_top_of_what_came_after(
    client: str, life: str, found: set[str]
) -> None:
    """Until it is found in the log. To anybody else half of the write that replaced it is shown."""
    left = Call("ana.0.0", {"x": "ana.0.0"}, 1.0)
    after = Call("bob.0.0", {"x": "bob.0.0", "y": "bob.0.0"}, 2.0)
    later = Session(client, life)
    later.events += [Event(3.0, seen=left.update), Event(4.0, seen={"y": "bob.0.0"})]
    sessions = [Session("ana", "ana.0"), Session("bob", "bob.0"), later]
    for session, call in zip(sessions, (left, after), strict=False):
        session.events.append(Event(call.at, call=call))
    log = read_sequenced(sequenced([[left], [after]]))
    assert kinds(judge(log, sessions, Expected(linear=False))) & {"torn"} == found


@pytest.mark.parametrize(("failed", "found"), [(None, set[str]()), ("Conflict: counter", {"turned back"})])
def test_what_an_earlier_process_left_may_be_refused_by_the_next(failed: str | None, found: set[str]) -> None:
    """A write with a condition is shown by the next process of its client until that finds that it does not hold. One
    whose refusal had been told is shown to nobody any more."""
    left = Call("ana.0.0", {COUNTER: "ana.0.0"}, 1.0, failed=failed)
    after = Call("bob.0.0", {COUNTER: "bob.0.0"}, 2.0)
    first, bob, later = Session("ana", "ana.0"), Session("bob", "bob.0"), Session("ana", "ana.1")
    first.events.append(Event(left.at, call=left))
    bob.events.append(Event(after.at, call=after))
    later.events += [Event(3.0, seen={COUNTER: left.id}), Event(4.0, seen={COUNTER: after.id})]
    log = read_sequenced(sequenced([[after]]))
    assert kinds(judge(log, [first, bob, later], Expected())) == found


def test_a_view_that_turns_back() -> None:
    story = Story()
    story.bob.sees(story.second)
    assert {"turned back", "not causal"} <= kinds(story.judged(story.first, story.second, story.third))


def test_a_view_that_skips_a_write() -> None:
    story = Story()
    clock = [50.0]
    carl = Person("carl", clock)
    carl.sees(story.second)
    log = read_sequenced(sequenced([[story.first], [story.second], [story.third]]))
    report = judge(log, [*story.sessions, carl.session], Expected())
    assert kinds(report) == {"turned back"}, "the keys of the first write alone are missing"


def test_what_was_shown_is_in_no_log() -> None:
    story = Story()
    ghost = Person("carl", [60.0]).call("z")
    story.bob.sees(ghost)
    assert "forged" in kinds(story.judged(story.first, story.second, story.third))


def test_a_damaged_value_that_was_shown() -> None:
    story = Story()
    story.bob.reads("y", id_of({"w": story.third.id, "pad": "another"}))
    assert "forged" in kinds(story.judged(story.first, story.second, story.third))


def test_a_get_that_is_not_fresh() -> None:
    story = Story()
    story.ana.refreshes("y", story.first.id)
    assert "not fresh" in kinds(story.judged(story.first, story.second, story.third))


def test_an_end_that_is_another_for_one() -> None:
    story = Story()
    story.bob.ends({"x": story.second.id})
    assert kinds(story.judged(story.first, story.second, story.third)) == {"diverged"}


def test_a_client_that_never_gets_through() -> None:
    story = Story()
    story.bob.session.stopped = "3 writes stay pending"
    assert kinds(story.judged(story.first, story.second, story.third)) == {"stuck"}


def test_what_was_called_before_the_bucket_was_replaced_need_not_be_there() -> None:
    story = Story()
    log = read_sequenced(sequenced([[story.third]]))
    assert judge(log, story.sessions, Expected(since=story.third.at)).is_clean
    assert kinds(judge(log, story.sessions, Expected(since=story.third.at + 1))) == {"stuck"}
    assert kinds(judge(read_sequenced(Shelf()), story.sessions, Expected(since=story.third.at))) == {"lost"}


def test_increments_that_did_not_see_each_other() -> None:
    shelf = sequenced([])
    log = read_sequenced(shelf)
    for number in (1, 2, 2):
        id = f"ana.0.{len(log.items)}"
        log.items.append(type_of_item(id, number))
        log.state = {"counter": id}
    sessions = [Session("ana", "ana.0")]
    report = judge(log, sessions, Expected())
    assert "lost" in kinds(report)
    assert any("counts 2 after 2" in one for one in report.found["lost"])


def type_of_item(id: str, number: int):
    from tests.checker.logs import Item

    return Item(f"entry of {id}", {"counter": id}, {"counter": number})


# -- the folds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ["hole", "chain", "bit", "shape", "value", "stranger", "no head"])
def test_a_sequenced_log_that_contradicts_itself(spoil: str) -> None:
    story = Story()
    big = Call(f"eve.0.{A_LARGE_ONE}", {"big": f"eve.0.{A_LARGE_ONE}"}, 0)
    shelf = sequenced([[story.first], [story.second], [big]])
    assert read_sequenced(shelf).problems == []
    assert read_sequenced(shelf).state["big"] == big.id
    second = next(name for name in shelf.bodies if name.endswith("0002"))
    entry = json.loads(shelf.bodies[second])
    if spoil == "hole":
        del shelf.bodies[second]
    elif spoil == "chain":
        shelf.bodies[second] = canonical(entry | {"previous": "0" * 64})
    elif spoil == "bit":
        shelf.bodies[second] = shelf.bodies[second].replace(b"12", b"13", 1).replace(b"10:00", b"10:01", 1)
    elif spoil == "shape":
        shelf.bodies[second] = canonical(entry | {"seq": 3})
    elif spoil == "value":
        name = next(name for name in shelf.bodies if "/values/" in name)
        shelf.bodies[name] = shelf.bodies[name].replace(b"a", b"b", 1)
    elif spoil == "stranger":
        shelf.bodies["main/another/log/00000000000000000001"] = b"{}"
    else:
        del shelf.bodies["main/head"]
    assert read_sequenced(shelf).problems != []


def test_the_versioned_log_holds_back_what_comes_before_its_cause() -> None:
    story = Story()
    shelf = Shelf()

    def version(id: str, call: Call, *, previous: str = "", own: str = "") -> None:
        body = {
            "by": "", "checkpoint": None, "date": "", "format": 1, "log": "versioned", "nonce": id, "own": own,
            "previous": previous, "requires": [], "time": "", "writer": call.id.rpartition(".")[0],
            "writes": [write_of(shelf, "", call, always=True)],
        }  # fmt: skip
        shelf.versioned.setdefault("main", {})[id] = canonical(body)

    version("v2", story.second, previous="v1")
    version("v1", story.first)
    version("v3", story.third, previous="v2", own="v1")
    log = read_versioned(shelf)
    assert log.problems == []
    assert [item.where for item in log.items] == ["version v1", "version v2", "version v3"]
    assert judge(log, story.sessions, Expected()).is_clean
    version("v4", story.first, previous="v3")
    assert len(read_versioned(shelf).items) == 3, "a write counts once"


def test_the_mps3_log() -> None:
    assert time_of(mps3_name(0)) == NOON
    assert time_of("manifest.json@2bntlhqn_abc_vv") is None
    story = Story()
    shelf = mps3([(0, 100, [story.first]), (4000, 4100, [story.second]), (9000, 9050, [story.third])])
    log = read_mps3(shelf)
    assert log.problems == []
    expected = Expected(linear=False, single=False)
    assert judge(log, story.sessions, expected).is_clean
    late = dict(shelf.times)
    shelf.times[mps3_name(4000)] = late[mps3_name(4000)].replace(second=10)
    report = judge(read_mps3(shelf), story.sessions, expected)
    assert "lost" in kinds(report), "stored so late that it does not count"


def test_an_mps3_log_whose_newest_state_is_not_the_fold() -> None:
    story = Story()
    shelf = mps3([(0, 100, [story.first]), (1000, 1100, [story.second]), (60_000, 60_050, [story.third])])
    newest = mps3_name(60_000)
    body = json.loads(shelf.bodies[newest])
    del body["files"][f"b/p/{tag_key('bob', 0)}"]
    shelf.bodies[newest] = json.dumps(body).encode()
    assert "lost" in kinds(judge(read_log(shelf, "mps3"), story.sessions, Expected(linear=False, single=False)))


def test_several_writes_in_one_operation() -> None:
    clock = [0.0]
    ana = Person("ana", clock)
    first, second = ana.call("x", "y"), ana.call("x")
    log = read_mps3(mps3([(0, 100, [first, second])]))
    expected = Expected(linear=False, single=False)
    assert judge(log, [ana.session], expected).is_clean
    log = read_mps3(mps3([(0, 100, [second, first])]))
    assert kinds(judge(log, [ana.session], expected)) == {"torn"}


def test_a_record_that_ends_in_the_middle_of_a_line(tmp_path) -> None:
    path = tmp_path / "ana.3.jsonl"
    call = json.dumps({"e": "call", "t": 1.0, "id": "ana.3.0", "update": {"x": "ana.3.0"}})
    path.write_text(f'{call}\n{{"e": "ack", "t": 2.0, "id": "ana')
    session = read_session(path)
    assert (session.client, session.name, len(session.calls)) == ("ana", "ana.3", 1)
    assert session.calls[0].acknowledged is None


def test_gets_may_be_behind_a_stream_but_not_behind_each_other() -> None:
    story = Story()
    carl = Person("carl", [60.0])
    log = read_sequenced(sequenced([[story.first], [story.second], [story.third]]))
    carl.sees(story.first, story.second)
    carl.reads("x", story.first.id)
    sessions = [*story.sessions, carl.session]
    assert judge(log, sessions, Expected()).is_clean
    carl.reads("x", story.second.id)
    assert judge(log, sessions, Expected()).is_clean
    carl.reads("x", story.first.id)
    assert kinds(judge(log, sessions, Expected())) == {"turned back", "not causal"}
