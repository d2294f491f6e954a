"""For your own tests: faulty storages, manual and virtual clocks, marble diagrams, and the storage contract."""

from __future__ import annotations

from rxmps3.testing.clock import ManualClock, settle
from rxmps3.testing.faults import deny, drop_requests, fail_on, late, lose_answers, offline, resend, throttle
from rxmps3.testing.storage_contract import StorageContract, VersionedStorageContract
from rxmps3.testing.wrappers import (
    CountingStorage,
    Fault,
    FaultyStorage,
    LatencyStorage,
    ListingStorage,
    Plan,
    Request,
    StorageWrapper,
)

__all__ = [
    "CountingStorage",
    "Fault",
    "FaultyStorage",
    "LatencyStorage",
    "ListingStorage",
    "ManualClock",
    "Plan",
    "Request",
    "StorageContract",
    "StorageWrapper",
    "VersionedStorageContract",
    "deny",
    "drop_requests",
    "fail_on",
    "late",
    "lose_answers",
    "offline",
    "resend",
    "settle",
    "throttle",
]
