"""Every promise holds in every state of the model; and without any one of its rules, one does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from tests.model.spin import HERE, Search

pytestmark = pytest.mark.timeout(180)  # the first test compiles the model

RULES = {
    name: int(bit)
    for name, bit in re.findall(r"^#define ([A-Z_]+) (\d+) +/\*", (HERE / "log.pml").read_text(), re.MULTILINE)
}
TWO_WRITE = {"NUMBERS": 3, "WRITES_0": 0b001, "WRITES_1": 0b100}
"""Two clients write once each, a third one reads."""
THREE_WRITES = {**TWO_WRITE, "WRITES_0": 0b011}
ONE_WRITES = {"NUMBERS": 2, "WRITES_1": 0b110, "CALM": 1}
"""One client writes twice, and hears of each request: in the model a second attempt has the same bytes."""
ONE_KEEPS = {**THREE_WRITES, "KEEPERS": 0b100}
"""And the third one collects."""
TWO_KEEP = {**THREE_WRITES, "KEEPERS": 0b110}


@dataclass(frozen=True)
class Sound:
    """A configuration in which every promise holds.

    Attributes:
        settings: how often what may happen.
        states: how many states it has.
    """

    settings: dict[str, int]
    states: int
    marks: tuple[pytest.MarkDecorator, ...] = field(default=())


HEAVY = (pytest.mark.heavy, pytest.mark.timeout(900))
SOUND = {
    "late and doubled requests, a death": Sound({**THREE_WRITES, "LATE": 1, "DEATHS": 1}, 71_974),
    "a death, with a disk": Sound({**TWO_WRITE, "LATE": 1, "DEATHS": 1, "DISKS": 1}, 14_618),
    "a copied outbox": Sound({**TWO_WRITE, "NUMBERS": 2, "LATE": 1, "CLONES": 1}, 16_658),
    "collection": Sound(ONE_KEEPS, 1_588_052, marks=HEAVY),
    "collection, late requests": Sound({**ONE_KEEPS, "NUMBERS": 2, "WRITES_0": 1, "LATE": 1}, 316_497, marks=HEAVY),
    "a wiped bucket": Sound({**TWO_WRITE, "WIPES": 1, "DEATHS": 1, "DISKS": 1}, 256_860, marks=HEAVY),
    "a wiped bucket, a death": Sound({**TWO_WRITE, "WIPES": 1, "DEATHS": 1}, 170_747),
    "a restored bucket": Sound({**TWO_WRITE, "RESTORES": 1}, 214_935),
    "a restored bucket, a death": Sound({**TWO_WRITE, "RESTORES": 1, "DEATHS": 1}, 797_600, marks=HEAVY),
    "a restored bucket, a death, with a disk": Sound({**ONE_WRITES, "RESTORES": 1, "DEATHS": 1, "DISKS": 1}, 186_100),
    "collection, late requests, a death, with a disk": Sound(
        {**ONE_KEEPS, "WRITES_0": 1, "NUMBERS": 2, "LATE": 1, "DEATHS": 1, "DISKS": 1}, 2_830_792, marks=HEAVY
    ),
    "two who collect": Sound({**TWO_KEEP, "NUMBERS": 2, "WRITES_0": 1}, 815_843, marks=HEAVY),
}

BROKEN: dict[str, tuple[str, dict[str, int]]] = {
    "CREATE_IF_ABSENT": ("one content per number", TWO_WRITE),
    "READ_BACK": ("each write is in the log once", TWO_WRITE),
    "SAME_NUMBER": ("what is acknowledged is in the log", TWO_WRITE),
    "UNKNOWN_IS_UNKNOWN": ("what is acknowledged is in the log", TWO_WRITE),
    "LEASE_CREATED": ("what is acknowledged is in the log", ONE_KEEPS),
    "LEASE_FOUND": ("what is acknowledged is in the log", ONE_KEEPS),
    "LEASE_ABSENT": ("a look ends at the end of the log", ONE_KEEPS),
    "LEASE_ENDS": ("a look ends at the end of the log", ONE_KEEPS),
    "GRACE": ("a look ends at the end of the log", ONE_KEEPS),
    "GRACE_ANEW": ("a look ends at the end of the log", ONE_KEEPS),
    "BELOW_THE_FLOOR": ("a look ends at the end of the log", ONE_KEEPS),
    "FLOOR_HAS_STATE": ("whoever is left behind recovers", ONE_KEEPS),
    "IF_MATCH": ("floor and checkpoint only rise", TWO_KEEP),
    "ONE_FIRST_HEAD": ("the head keeps its log", TWO_WRITE),
    "COUNT_ONCE": ("a write counts once", {**TWO_WRITE, "CLONES": 1}),
    "MARKS_KEPT": ("each write is in the log once", ONE_KEEPS),
    "KNOWN_AGAIN": ("each write is in the log once", {**TWO_WRITE, "DEATHS": 1}),
    "CHECK_LIVE": ("what is acknowledged is in the log", {**TWO_WRITE, "WIPES": 1}),
    "CHECK_PLACE": ("what is acknowledged is in the log", {**TWO_WRITE, "RESTORES": 1}),
    "COMPARE_PROVEN": (
        "what is acknowledged is in the log",
        {**ONE_WRITES, "RESTORES": 1, "DEATHS": 1, "DISKS": 1},
    ),
    "KEEP_DOUBTFUL": ("what is acknowledged in vain is kept", {**TWO_WRITE, "WIPES": 1}),
    "COMPARE_PLACE": ("nobody goes on from what is not there", {**TWO_WRITE, "DEATHS": 1, "DISKS": 1, "RESTORES": 1}),
    "COPY_ABOVE_FLOOR": (
        "nobody finds the log damaged",
        {**ONE_KEEPS, "NUMBERS": 2, "WRITES_0": 1, "DEATHS": 1, "DISKS": 1},
    ),
    "SAME_LOG": ("what is acknowledged is in the log", {**TWO_WRITE, "WIPES": 1}),
    "CHAIN": ("each write is in the log once", {**TWO_WRITE, "RESTORES": 1}),
}
"""By the name of a rule: the promise that is broken without it, and where."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=one.marks) for name, one in SOUND.items()])
def test_every_promise_holds_in_every_state(name: str, explorer: Search):
    sound = SOUND[name]
    verdict = explorer.run({**sound.settings, "BROKEN": 0})
    assert not verdict.error, "\n".join([verdict.error, *verdict.story])
    assert verdict.complete, verdict.text
    assert verdict.states == sound.states


@pytest.mark.parametrize("rule", BROKEN)
def test_without_a_rule_a_promise_is_broken(rule: str, explorer: Search):
    promise, settings = BROKEN[rule]
    verdict = explorer.run({**settings, "BROKEN": 1 << RULES[rule]})
    assert verdict.error == promise, verdict.story
    assert verdict.story


def test_each_rule_has_a_configuration_without_it():
    assert BROKEN.keys() == RULES.keys()


def test_between_two_looks_a_write_may_be_acknowledged_in_vain(explorer: Search):
    """The excuse in log.pml is needed."""
    assert explorer.run({**TWO_WRITE, "WIPES": 1, "BROKEN": 0, "NO_EXCUSE": 1}).error == (
        "what is acknowledged is in the log"
    )


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_everything_that_can_happen_does(each_statement: Search):
    """Each step of the model is taken in one of these."""
    small = {**TWO_WRITE, "NUMBERS": 2}
    runs = [
        {**small, "KEEPERS": 0b100, "LATE": 1, "BROKEN": 0},
        {**small, "WIPES": 1, "DEATHS": 1, "DISKS": 1, "BROKEN": 0},
        {**small, "RESTORES": 1, "BROKEN": 0},
        {**small, "CLONES": 1, "LATE": 1, "DEATHS": 1, "BROKEN": 0},
    ]
    said = [{line for line in each_statement.run(run).unreached if line.startswith("printf")} for run in runs]
    assert all(said), "each of these runs leaves something out"
    never = set[str].intersection(*said)
    assert never == {r"printf('%d deletes entry %d\n',i,3)"}, "with two numbers there are two entries"
