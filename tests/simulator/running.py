"""Running plans: one, or many; and what they had to report."""

from __future__ import annotations

import functools
import gc
import hashlib
import logging
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rxmps3.log import checkpoint, chunks
from rxmps3.log.protocol import ProtocolName
from rxmps3.runtime.clock import SystemClock
from rxmps3.testing.virtual import Deadlock, Livelock, VirtualLoop, end_loop
from tests.simulator.drawing import draw_plan, harmed, with_bell, with_partial_replicas
from tests.simulator.plan import Fault, Plan
from tests.simulator.recorder import Violation
from tests.simulator.shrinking import shrink
from tests.simulator.workers import processors, spread
from tests.simulator.world import World

__all__ = ["Report", "Summary", "main", "play", "run_many", "simulate"]

_TURNS = 500_000
_TURNS_PER_NAME = 2_000_000
"""Where a page of a listing has one name only, each look of the mps3 log is as many requests as there are names."""

_LARGE = 80
"""From what weight on a checkpoint is in chunks, if it ever is: that of two or three entries."""


@dataclass
class Report:
    """What a run came to.

    Attributes:
        plan: what was to happen; its faults as drawn or listed.
        violations: the rules that were broken; none in a good run.
        faults: the faults that happened.
        counts: of steps, acknowledged writes, emissions, requests, entries.
        requests: how many each client made, by channel, such as ``"put log"``.
        trace: what happened, in order.
        seconds: virtual time that passed.
    """

    plan: Plan
    violations: list[Violation]
    faults: tuple[Fault, ...]
    counts: Counter[str]
    requests: dict[str, dict[str, int]]
    trace: list[tuple[Any, ...]] = field(repr=False)
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.violations

    @cached_property
    def lines(self) -> list[str]:
        """The trace as text."""
        return [f"{line[0]:12.6f} " + " ".join(map(str, line[1:])) for line in self.trace]

    @cached_property
    def digest(self) -> str:
        """A hash of the trace: the same for the same plan, in every process."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    @property
    def explicit_plan(self) -> Plan:
        """The plan with the faults that happened listed: it repeats the run, and can be cut down."""
        return replace(self.plan, faults=self.faults)

    def broke(self, rule: str) -> bool:
        """Whether it broke a rule."""
        return any(violation.rule == rule for violation in self.violations)

    def shrunk(self, budget: int = 400) -> Report:
        """The smallest run found that breaks the same rule as this one's first violation."""
        if self.ok:
            return self
        rule = self.violations[0].rule

        def attempt(plan: Plan) -> Plan | None:
            report = play(plan)
            return report.explicit_plan if report.broke(rule) else None

        return play(shrink(self.explicit_plan, attempt, budget))

    def explain(self) -> str:
        """For a person: what was wrong, the plan and the trace."""
        wrong = [f"seed {self.plan.seed}: {violation}" for violation in self.violations] or ["nothing was wrong"]
        return "\n".join([*wrong, "", self.plan.describe(), "", *self.lines])


def simulate(
    seed: int,
    *,
    clients: int = 5,
    steps: int = 30,
    faults: bool = True,
    protocol: ProtocolName = "sequenced",
    bells: bool = False,
    partial: bool = False,
) -> Report:
    """One random run.

    Args:
        seed: decides everything: the same seed is the same run, byte for byte.
        clients: how many players at most.
        steps: how many things each of them does at most.
        faults: whether anything goes wrong.
        protocol: of the log.
        bells: whether there is a bell between the players, of whatever kind.
        partial: whether some of the players keep only some of the keys.
    """
    plan = draw_plan(seed, clients=clients, steps=steps, faults=faults, protocol=protocol)
    plan = with_partial_replicas(plan) if partial else plan
    plan = harmed(plan) if faults else plan
    return play(with_bell(plan) if bells else plan)


def play(plan: Plan) -> Report:
    """Run a plan."""
    loop = VirtualLoop(_TURNS if plan.weather.page > 1 else _TURNS_PER_NAME)
    world = World(loop, plan)
    recorder = world.recorder
    with _listening(world), _tuned(plan):
        try:
            loop.run_until_complete(world.run())
        except (Deadlock, Livelock) as error:
            recorder.complain(type(error).__name__.lower(), str(error))
        except Exception as error:
            recorder.complain("nothing unexpected fails", f"the run itself: {error!r}")
        finally:
            trace, violations = list(recorder.trace), list(recorder.violations)
            seconds = loop.time()
            loop.set_exception_handler(_ignore)
            end_loop(loop)
    recorder.counts["entries"] = world.ledger.length
    recorder.counts["ghosts"] = world.ledger.ghosts
    for client in world.network.counts.values():
        for count in client.values():
            recorder.counts["requests"] += count
    recorder.counts["faults"] = len(world.network.happened)
    network = world.network
    return Report(plan, violations, tuple(network.happened), recorder.counts, network.counts, trace, seconds)


def _ignore(loop: object, context: object) -> None:
    """The run is over; what its remains say does not matter."""


@contextmanager
def _listening(world: World) -> Generator[None, None, None]:
    """Hear what the library logs as errors, print nothing, and leave garbage for later."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.hear(record)

    logger, ear = logging.getLogger("rxmps3"), Ear(logging.ERROR)
    before = logger.level, logger.propagate
    collecting = gc.isenabled()
    logger.addHandler(ear)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    gc.disable()
    try:
        yield
    finally:
        logger.removeHandler(ear)
        level, logger.propagate = before
        logger.setLevel(level)  # which also forgets what it remembers of the level above
        if collecting:
            gc.enable()


@contextmanager
def _tuned(plan: Plan) -> Generator[None, None, None]:
    """The library's own constants, made to fit a run of a few dozen entries."""
    before = checkpoint.LINE_ENTRIES, chunks.CUT, chunks.LARGE
    checkpoint.LINE_ENTRIES = plan.checkpoint_every
    if plan.chunk:
        chunks.CUT, chunks.LARGE = plan.chunk, _LARGE
    try:
        yield
    finally:
        checkpoint.LINE_ENTRIES, chunks.CUT, chunks.LARGE = before


@dataclass
class Summary:
    """What many runs came to."""

    runs: int = 0
    failed: list[Report] = field(default_factory=list[Report])
    counts: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        what = ", ".join(
            f"{self.counts[name]:,} {name}" for name in ("entries", "requests", "faults", "deaths", "emissions")
        )
        return (
            f"{self.runs:,} runs in {self.cpu:.1f} s ({self.runs / max(self.cpu, 1e-9):.1f} a second), "
            f"{self.seconds / 3600:,.0f} h of virtual time, {what}: {len(self.failed)} failed"
        )


def run_many(
    seeds: Iterable[int],
    *,
    clients: int = 5,
    steps: int = 30,
    faults: bool = True,
    protocol: ProtocolName = "sequenced",
    bells: bool = False,
    partial: bool = False,
    stop_after: int = 5,
    jobs: int = 1,
) -> Summary:
    """A run for each seed, until so many have failed.

    Args:
        seeds: one for each run.
        clients, steps, faults, protocol, bells, partial: as `simulate`.
        stop_after: so many failures are enough.
        jobs: how many processes share the work; what comes of it is the same.
    """
    clock, summary = SystemClock(), Summary()
    began = clock.monotonic()
    run = functools.partial(
        _reported, clients=clients, steps=steps, faults=faults, protocol=protocol, bells=bells, partial=partial
    )
    with closing(spread(run, seeds, jobs)) as reports:
        for report in reports:
            summary.runs += 1
            summary.counts.update(report.counts)
            summary.seconds += report.seconds
            if not report.ok:
                summary.failed.append(report)
                if len(summary.failed) >= stop_after:
                    break
    summary.cpu = clock.monotonic() - began
    return summary


def _reported(
    seed: int, *, clients: int, steps: int, faults: bool, protocol: ProtocolName, bells: bool, partial: bool
) -> Report:
    """A run's report, fit for another process: its trace, if anything was wrong, in words alone."""
    report = simulate(
        seed, clients=clients, steps=steps, faults=faults, protocol=protocol, bells=bells, partial=partial
    )
    return replace(report, trace=[] if report.ok else [(line[0], *map(str, line[1:])) for line in report.trace])


def main(
    seeds: int = 100,
    start: int = 0,
    *,
    clients: int = 5,
    steps: int = 30,
    faults: bool = True,
    protocol: ProtocolName = "sequenced",
    bells: bool = False,
    partial: bool = False,
    trace: bool = True,
    shrink_runs: int = 400,
    jobs: int = 1,
) -> int:
    """For the command line: run, print what came of it, and return the exit code.

    Args:
        seeds: how many runs.
        start: the first seed.
        clients: players per run, at most.
        steps: things each of them does, at most.
        faults: whether anything goes wrong.
        protocol: of the log.
        bells: whether there is a bell between the players.
        partial: whether some of the players keep only some of the keys.
        trace: print the trace of the first failure.
        shrink_runs: how many runs to spend on making the first failure small.
        jobs: how many processes share the work; 0 is one for each processor.
    """
    jobs = min(jobs or processors(), seeds)
    summary = run_many(
        range(start, start + seeds),
        clients=clients,
        steps=steps,
        faults=faults,
        protocol=protocol,
        bells=bells,
        partial=partial,
        jobs=jobs,
    )
    print(summary)
    for report in summary.failed:
        print(f"seed {report.plan.seed}: {report.violations[0]}")
    if summary.failed and trace:
        print(f"\n{summary.failed[0].shrunk(shrink_runs).explain()}")
    return 1 if summary.failed else 0
