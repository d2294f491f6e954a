"""Checks of the demonstration, from the players' reports and the log. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rxmps3.cli.demo.player import TOGETHER
from rxmps3.model.state import Inline, ManifestVersion, State, fold

__all__ = ["Evidence", "Verdict", "judge", "timings"]

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One promise, whether it was kept, and the evidence."""

    promise: str
    kept: bool
    detail: str


class Evidence:
    """The input of the checks.

    Args:
        players: their names.
        reports: each player's reports, in order.
        versions: the whole log, read afterwards.
    """

    def __init__(self, players: Sequence[str], reports: Sequence[Report], versions: Sequence[ManifestVersion]) -> None:
        self.players = players
        self.versions = versions
        self.reports = {who: [report for report in reports if report["who"] == who] for who in players}

    def of(self, who: str, event: str) -> list[Report]:
        """A player's reports of one kind."""
        return [report for report in self.reports[who] if report["event"] == event]

    def all(self, event: str) -> Iterator[Report]:
        """Both players' reports of one kind."""
        for who in self.players:
            yield from self.of(who, event)

    @property
    def finals(self) -> list[Report]:
        return list(self.all("final"))


def judge(evidence: Evidence) -> list[Verdict]:
    """The verdicts on all promises."""
    checks: Sequence[tuple[str, Callable[[Evidence], tuple[bool, str]]]] = (
        ("both players came to the end", _ended),
        ("both ended with the same keys and values", _same),
        ("every acknowledged write is in the log, once", _acknowledged),
        ("what they ended with is what the log says", _newest),
        ("own writes are seen at once, before their commit", _at_once),
        ("nobody saw half of a put_all", _whole),
        ("the other's changes come in the order of the log", _in_order),
        ("what was deleted is gone for both", _gone),
    )
    return [Verdict(promise, *check(evidence)) for promise, check in checks]


def _ended(evidence: Evidence) -> tuple[bool, str]:
    ended = [report["who"] for report in evidence.finals]
    missing = [who for who in evidence.players if who not in ended]
    return not missing, f"{' and '.join(missing)} did not" if missing else f"at version {evidence.finals[0]['head']}"


def _same(evidence: Evidence) -> tuple[bool, str]:
    states = [report["state"] for report in evidence.finals]
    if len(states) != len(evidence.players):
        return False, "there is nothing to compare"
    differing = [key for key in sorted({*states[0], *states[1]}) if not _same_value(states[0], states[1], key)]
    return not differing, f"they differ in {', '.join(differing)}" if differing else f"{len(states[0])} keys"


def _same_value(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    return key in one and key in other and json.dumps(one[key]) == json.dumps(other[key])


def _acknowledged(evidence: Evidence) -> tuple[bool, str]:
    logged = Counter(write.id.version for version in evidence.versions for write in version.writes)
    acknowledged = [report["version"] for report in evidence.all("committed")]
    wrong = [f"{version} is there {logged[version]} times" for version in acknowledged if logged[version] != 1]
    return bool(acknowledged) and not wrong, "; ".join(wrong) or f"{len(acknowledged)} writes"


def _newest(evidence: Evidence) -> tuple[bool, str]:
    state = State()
    for version in evidence.versions:
        state = fold(state, version)
    logged = {key: json.loads(entry.content.text) for key, entry in state.items() if isinstance(entry.content, Inline)}
    wrong = sorted(
        {
            key
            for report in evidence.finals
            for key in {*logged, *report["state"]}
            if not _same_value(logged, report["state"], key)
        }
    )
    if not evidence.finals:
        return False, "there is nothing to compare"
    return not wrong, f"not so: {', '.join(wrong)}" if wrong else f"{len(evidence.versions)} versions"


def _at_once(evidence: Evidence) -> tuple[bool, str]:
    """Whether the writer's view showed each put as pending before the call returned, and its commit later."""
    late: list[str] = []
    count = 0
    for who in evidence.players:
        reports = evidence.reports[who]
        events = [(report["event"], report.get("number")) for report in reports]
        for put in evidence.of(who, "put"):
            number = put["number"]
            start = events.index(("put", number))
            if ("returned", number) not in events:
                continue
            end = events.index(("returned", number))
            echoes = {
                report["key"]: report
                for report in reports[start:end]
                if report["event"] == "seen" and report["own"] and report["pending"]
            }
            shown = all(
                key in echoes and _same_value({key: echoes[key]["value"]}, put["set"], key) for key in put["set"]
            )
            gone = all(key in echoes and echoes[key]["missing"] for key in put["deleted"])
            early = ("committed", number) in events[:end]
            count += 1
            if not (shown and gone) or early:
                late.append(f"{who}'s {', '.join([*put['set'], *put['deleted']])}")
    return count > 0 and not late, f"not so: {'; '.join(late)}" if late else f"{count} writes"


def _whole(evidence: Evidence) -> tuple[bool, str]:
    seen = [(report["who"], report["values"]) for report in evidence.all("together")]
    halves = [f"{who} saw {' and '.join(map(str, values))}" for who, values in seen if len({*map(str, values)}) > 1]
    full = [who for who, values in seen if None not in values]
    enough = {*full} == {*evidence.players}
    detail = f"{len(full)} looks at {' and '.join(TOGETHER)}" if enough else "too few looks"
    return enough and not halves, "; ".join(halves) or detail


def _in_order(evidence: Evidence) -> tuple[bool, str]:
    places = {write.id.version: place for place, version in enumerate(evidence.versions) for write in version.writes}
    wrong: list[str] = []
    count = 0
    for who in evidence.players:
        last = 0
        for report in evidence.of(who, "seen"):
            if report["own"] or report["missing"]:
                continue
            count += 1
            place = places.get(report["version"], -1)
            if place < last:
                wrong.append(f"{who} went back at {report['key']}")
            last = max(last, place)
    return count > 0 and not wrong, "; ".join(wrong) or f"{count} changes"


def _gone(evidence: Evidence) -> tuple[bool, str]:
    deleted = [key for report in evidence.all("put") for key in report["deleted"]]
    left = sorted({key for report in evidence.finals for key in deleted if key in report["state"]})
    enough = bool(deleted) and len(evidence.finals) == len(evidence.players)
    return enough and not left, f"still there: {', '.join(left)}" if left else f"{len(deleted)} keys"


def timings(evidence: Evidence) -> dict[str, float]:
    """Median seconds from a put until its writer saw it, until its commit, and until the other player saw it."""
    own, commit, other = _delays(evidence)
    found = {"seen_by_its_writer": own, "committed": commit, "seen_by_the_other": other}
    return {name: round(median(delays), 4) for name, delays in found.items() if delays}


def _delays(evidence: Evidence) -> tuple[list[float], list[float], list[float]]:
    own: list[float] = []
    commit: list[float] = []
    other: list[float] = []
    for who in evidence.players:
        put_at = {report["number"]: report["at"] for report in evidence.of(who, "put")}
        returned = {report["version"]: report["number"] for report in evidence.of(who, "returned")}
        for report in evidence.of(who, "committed"):
            commit.append(report["at"] - put_at[report["number"]])
        for report in (report for player in evidence.players for report in evidence.of(player, "seen")):
            if report["version"] in returned:
                delay = report["at"] - put_at[returned[report["version"]]]
                (own if report["who"] == who else other).append(delay)
    return own, commit, other
