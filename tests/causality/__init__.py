"""Was it causally consistent? Checkers for recorded runs.

Record what sessions wrote and saw in a `History`; then ask::

    history = History()
    alice, bob = history.session("alice"), history.session("bob")
    put = alice.write({"x": "a-1", "y": "a-1"})           # one atomic write; None deletes
    bob.read({"x": "a-1", "y": None})                     # one observation of two keys; None: no value
    for violation in check_atomic(history):
        print(violation)                                  # FracturedRead: bob#0 sees x='a-1' …

=====================  =============================================================================  ==============
check                  promise                                                                        needs
=====================  =============================================================================  ==============
`check_ccv`            causal convergence: own writes are seen, causes before effects, and everyone   the history
                       agrees in the end
`check_atomic`         the same, and writes of several keys are seen whole                            the history
`check_prefixes`       sessions saw prefixes of the log with their pending writes on top, and never   the log, too
                       went back
`check_exactly_once`   every acknowledged write is in the log once, none twice, none invented         the log, too
`check_history`        all of these
=====================  =============================================================================  ==============

Values must be unique: no two writes put the same value at a key. That makes it plain who read from whom, and the
problem polynomial; in general it is NP-complete. Deletes carry the id of their write as a tag. A reader cannot see
that tag: it reads ``None``, and the checkers find out by elimination which delete it may have been. What is not
certain is not reported.

Pure and synchronous. The black-box checks take a second or two for 10,000 operations, growing with the square; the
white-box checks are linear.

Sources: A. Bouajjani, C. Enea, R. Guerraoui, J. Hamza, "On verifying causal consistency", POPL 2017;
R. Biswas, C. Enea, "On the complexity of checking transactional consistency", OOPSLA 2019.
"""

from __future__ import annotations

from tests.causality.history import INIT, Deleted, History, Init, Observed, Operation, Session, Written
from tests.causality.patterns import check_atomic, check_ccv
from tests.causality.prefixes import Log, LoggedWrite, check_exactly_once, check_prefixes
from tests.causality.violations import Pattern, Violation

__all__ = [
    "INIT",
    "Deleted",
    "History",
    "Init",
    "Log",
    "LoggedWrite",
    "Observed",
    "Operation",
    "Pattern",
    "Session",
    "Violation",
    "Written",
    "check_atomic",
    "check_ccv",
    "check_exactly_once",
    "check_history",
    "check_prefixes",
]


def check_history(history: History, log: Log | None = None) -> list[Violation]:
    """Run all checks: those that need the history alone and, given the log, those that need it."""
    violations = [*check_ccv(history), *check_atomic(history)]
    if log is not None:
        violations += check_prefixes(log, history)
        violations += check_exactly_once(log, history)
    return list(dict.fromkeys(violations))
