"""What the facts about a storage mean for rxmps3. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from rxmps3.cli.doctor.facts import PERMISSIONS, Facts, Races, Unknown
from rxmps3.log.protocol import ProtocolName
from rxmps3.log.registry import PROTOCOLS
from rxmps3.log.server_clock import MARGIN

__all__ = ["PROTOCOLS", "Report", "Row", "State", "Suitability", "judge"]

_SKEW = timedelta(seconds=5)
"""Beyond this the local clock is reported as wrong."""


class State(StrEnum):
    """How a check ended: as wished, of no consequence for most, against a promise, or not at all."""

    GOOD = "good"
    LIMITED = "limited"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        check: what was tried.
        state: how it ended.
        found: what was seen.
        means: what that means for rxmps3.
        stops: the protocols that cannot be used because of it.
    """

    check: str
    state: State
    found: str
    means: str
    stops: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "check": self.check,
            "state": str(self.state),
            "found": self.found,
            "means": self.means,
            "stops": list(self.stops),
        }


@dataclass(frozen=True)
class Suitability:
    """Whether a protocol can be used, and if not, the checks that stop it (unknown ones only if nothing else does)."""

    protocol: ProtocolName
    usable: bool
    stopped_by: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The table and the verdict.

    Attributes:
        rows: the table.
        protocols: each of `PROTOCOLS`, best first.
        recommended: the best that can be used, None if there is none.
        readable: whether an existing database may at least be read.
        by_access: no protocol can be used, and permissions alone are in the way as far as is known.
        auto: the protocol that ``protocol="auto"`` takes for a new manifest; None if it refuses, or it is not known.
    """

    rows: tuple[Row, ...]
    protocols: tuple[Suitability, ...]
    recommended: ProtocolName | None
    readable: bool
    by_access: bool
    auto: ProtocolName | None = None


def judge(facts: Facts) -> Report:
    """The table and the verdict on a storage."""
    rows = (
        *_permissions(facts),
        _missing(facts),
        _races(
            "create if absent",
            facts.creates,
            "one of several concurrent creates wins: the log's entries are safe",
            "log entries could be overwritten",
        ),
        _races(
            "compare and set",
            facts.swaps,
            "the log's head is replaced only by who has read it",
            "two clients could replace the log's head at once",
        ),
        _conditional(facts),
        _versions(facts),
        *_listing(facts),
        _checksums(facts),
        *_dates(facts),
        *_consistency(facts),
        *_probes(facts),
        *(
            _races(f"{check}, processes", found, "so it is between processes", "clients on several machines could race")
            for check, found in facts.thorough.items()
        ),
        _latency(facts),
    )
    protocols: list[Suitability] = []
    for protocol in PROTOCOLS:
        stopping = [row for row in rows if protocol in row.stops]
        known = [row for row in stopping if row.state is not State.UNKNOWN] or stopping
        protocols.append(Suitability(protocol, not stopping, tuple(row.check for row in known)))
    recommended: ProtocolName | None = next((one.protocol for one in protocols if one.usable), None)
    refused = any(row.state is State.BAD and row.check.startswith("permission:") for row in rows)
    readable = facts.permissions.get("list") is True and facts.missing == 404
    auto: ProtocolName | None = None
    for protocol in PROTOCOLS:
        broken = facts.probes.get(protocol, Unknown("not tried"))
        if broken is None or not broken.unsupported:
            auto = protocol if broken is None else None
            break
    return Report(rows, tuple(protocols), recommended, readable, recommended is None and refused, auto)


_NEEDED = {
    "list": (PROTOCOLS, "finding the log's end, opening and collecting"),
    "get": (PROTOCOLS, "reading anything"),
    "put": (PROTOCOLS, "writing anything"),
    "delete": ((), "collecting what is no longer needed"),
    "list versions": (("versioned",), "the versioned log, whose order it is"),
    "get version": (("versioned",), "the versioned log, whose entries it reads"),
    "delete version": ((), "collecting on the versioned log"),
}


def _permissions(facts: Facts) -> list[Row]:
    rows: list[Row] = []
    for verb in PERMISSIONS:
        stops, purpose = _NEEDED[verb]
        check = f"permission: {verb}"
        if not facts.offers.get(verb, True):
            rows.append(Row(check, State.LIMITED, "not offered", f"it is needed for {purpose}", stops))
            continue
        match facts.permissions.get(verb):
            case True:
                rows.append(Row(check, State.GOOD, "allowed", f"for {purpose}"))
            case False if verb == "get" and not facts.permissions.get("put"):
                rows.append(Row(check, State.UNKNOWN, "refused for a missing object", "it may hold for others", stops))
            case False:
                state = State.BAD if len(stops) == len(PROTOCOLS) else State.LIMITED
                rows.append(Row(check, state, "refused", f"it is needed for {purpose}", stops))
            case _:
                rows.append(Row(check, State.UNKNOWN, "not tried", f"it is needed for {purpose}", stops))
    return rows


def _missing(facts: Facts) -> Row:
    check = "missing object"
    match facts.missing:
        case 404:
            return Row(check, State.GOOD, "404", "a client can tell the end of the log")
        case 403:
            return Row(
                check, State.BAD, "403", "without the permission to list nobody can tell the end of the log", PROTOCOLS
            )
        case 200:
            return Row(
                check, State.BAD, "an object that was never written is found", "no answer can be trusted", PROTOCOLS
            )
        case _:
            return Row(check, State.UNKNOWN, "not known", "a client must be able to tell the end of the log", PROTOCOLS)


def _unknown(check: str, found: Unknown, means: str, stops: Sequence[str]) -> Row:
    state = State.LIMITED if found.unsupported else State.UNKNOWN
    return Row(check, state, ("not offered: " if found.unsupported else "not tried: ") + found.why, means, tuple(stops))


def _races(check: str, found: Races | Unknown, good: str, bad: str) -> Row:
    if isinstance(found, Unknown):
        return _unknown(check, found, f"without it {bad}", ("sequenced",))
    counted = f"{found.rounds} races of {found.contenders}, {len(found.violations)} violations"
    if found.violations:
        kinds = "; ".join(f"{what} ({times}×)" for what, times in Counter(found.violations).most_common())
        return Row(check, State.BAD, f"{counted}: {kinds}", bad, ("sequenced",))
    if found.rounds == found.unsure:
        return Row(check, State.UNKNOWN, f"{counted}, but nobody heard of a success", f"perhaps {bad}", ("sequenced",))
    return Row(check, State.GOOD, counted + (f", {found.unsure} unsure" if found.unsure else ""), good)


def _conditional(facts: Facts) -> Row:
    check, found = "conditional get", facts.conditional
    needing = ("sequenced", "versioned")
    if isinstance(found, Unknown):
        return _unknown(check, found, "idle polls rest on it", needing)
    if not found.changed_is_sent:
        return Row(
            check, State.BAD, "what changed is called unchanged, or is not found", "news would be missed", needing
        )
    if not found.unchanged_is_304:
        return Row(
            check, State.BAD, "what is unchanged is sent again", "the probe before the first write refuses", needing
        )
    return Row(check, State.GOOD, "304 for what is unchanged", "an idle look moves no data")


def _versions(facts: Facts) -> Row:
    check, found = "versioning", facts.versions
    if isinstance(found, Unknown):
        return _unknown(check, found, "the versioned log needs it", ("versioned",))
    if not found.ids:
        return Row(
            check, State.LIMITED, "not enabled: puts return no version of their own", "no versioned log", ("versioned",)
        )
    wrong = [
        text
        for holds, text in (
            (found.complete, "a listing lacks versions or repeats them"),
            (found.newest_first, "versions are not listed newest first"),
            (found.readable, "a version is not read by its id"),
        )
        if not holds
    ]
    if wrong:
        return Row(check, State.BAD, "; ".join(wrong), "the order of versions is the versioned log", ("versioned",))
    return Row(check, State.GOOD, "enabled; listed newest first, whole, in pages of one too", "for the versioned log")


def _listing(facts: Facts) -> list[Row]:
    order, paging, found = "listing order", "listing pages", facts.listing
    if isinstance(found, Unknown):
        return [
            _unknown(order, found, "the mps3 log needs byte order", ("mps3",)),
            _unknown(paging, found, "every log is listed when it is opened", PROTOCOLS),
        ]
    if not found.flat_order:
        first = Row(order, State.BAD, "not by bytes", "the mps3 log takes the first name for the newest", ("mps3",))
    elif not found.whole_order:
        first = Row(order, State.GOOD, "by bytes between slashes, but not across them", "listed names have no slashes")
    else:
        first = Row(order, State.GOOD, "by bytes, across slashes too", "as on Amazon's S3")
    if found.pages and found.after:
        return [first, Row(paging, State.GOOD, "pages of one are whole; start-after and prefix hold", "")]
    wrong = [] if found.pages else ["names are lost or repeated between pages"]
    wrong += [] if found.after else ["start-after or a prefix does not hold"]
    return [first, Row(paging, State.BAD, "; ".join(wrong), "logs would be read with holes", PROTOCOLS)]


def _checksums(facts: Facts) -> Row:
    check, found = "checksums", facts.checksums
    if isinstance(found, Unknown):
        return _unknown(check, found, "values are sent with their sha256", ())
    if not found.right_is_taken:
        return Row(check, State.BAD, "a body with its right sha256 is refused", "values are sent so", PROTOCOLS)
    if not found.wrong_is_refused:
        return Row(
            check, State.LIMITED, "a wrong sha256 is accepted", "what is damaged on its way is found when it is read"
        )
    return Row(check, State.GOOD, "a wrong sha256 is refused", "nothing damaged on its way is stored")


def _dates(facts: Facts) -> list[Row]:
    header, clock, dates = "Date header", "clock", facts.dates
    if dates.skew is None or dates.missing:
        found = f"missing in answers to {', '.join(dates.missing)}" if dates.missing else "never seen"
        first = Row(header, State.BAD, found, "logs measure time by the server's clock only", PROTOCOLS)
    elif dates.modified is False:
        first = Row(
            header,
            State.BAD,
            "objects do not tell when they were written",
            "collecting rests on it",
            ("sequenced", "versioned"),
        )
    else:
        first = Row(header, State.GOOD, "in every answer", "logs measure time by it")
    if dates.skew is None:
        return [first, Row(clock, State.UNKNOWN, "no dates", "")]
    seconds, margin = dates.skew.total_seconds(), dates.uncertainty.total_seconds()
    found = f"{seconds:+.1f} ± {margin:.1f} s against this machine"
    if dates.spread > MARGIN:
        found = f"its answers disagree by {dates.spread.total_seconds():.0f} s"
        return [first, Row(clock, State.BAD, found, "logs count on clocks that agree within five minutes", PROTOCOLS)]
    if abs(dates.skew) > _SKEW + dates.uncertainty:
        means = "mps3 clients correct it; S3 refuses requests more than 15 minutes off; set this machine's clock"
        return [first, Row(clock, State.LIMITED, found, means)]
    return [first, Row(clock, State.GOOD, found, "no log rests on this machine's clock")]


def _consistency(facts: Facts) -> list[Row]:
    read, listed, found = "read after write", "list after write", facts.consistency
    if isinstance(found, Unknown):
        return [_unknown(each, found, "every log needs it", PROTOCOLS) for each in (read, listed)]
    rows: list[Row] = []
    for check, violations in ((read, found.reads), (listed, found.lists)):
        if violations:
            kinds = "; ".join(f"{what} ({times}×)" for what, times in Counter(violations).most_common())
            rows.append(Row(check, State.BAD, kinds, "acknowledged writes could be missed", PROTOCOLS))
        else:
            rows.append(Row(check, State.GOOD, f"{found.rounds} rounds", "what was acknowledged is seen at once"))
    return rows


def _probes(facts: Facts) -> list[Row]:
    """What decides for ``protocol="auto"``: so the table never allows what that would refuse."""
    rows: list[Row] = []
    for protocol, broken in facts.probes.items():
        check = f"probe: {protocol}"
        if broken is None:
            rows.append(Row(check, State.GOOD, "passed", "auto can take it"))
        elif broken.unsupported:
            rows.append(Row(check, State.LIMITED, broken.why, "auto does not take it", (protocol,)))
        else:
            rows.append(Row(check, State.UNKNOWN, broken.why, "auto waits until it gets through", (protocol,)))
    return rows


def _latency(facts: Facts) -> Row:
    if not facts.latency:
        return Row("latency", State.UNKNOWN, "not measured", "")
    found = "; ".join(
        f"{verb} {one.median * 1000:.1f} ms, at most {one.max * 1000:.1f} ({one.count}×)"
        for verb, one in facts.latency.items()
    )
    return Row("latency", State.GOOD, found, "medians of small requests: a commit is one put, an idle look one get")
