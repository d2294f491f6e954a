"""rxmps3: a causally consistent, multiplayer key-value database in any S3-compatible bucket, as streams.

::

    import asyncio, rxmps3

    async def main():
        async with rxmps3.connect("s3://bucket/app") as db:
            db.subscribe("greeting", print)
            await db.put("greeting", "hello")

    asyncio.run(main())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Closed,
    Conflict,
    Corrupt,
    Error,
    Failure,
    Gone,
    InvalidInput,
    InvalidKey,
    InvalidOption,
    InvalidValue,
    NotKept,
    NotLoaded,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Replaced,
    Throttled,
    Unavailable,
    Unsupported,
    UnsureTime,
    WrongLoop,
)
from rxmps3.model.missing import MISSING

if TYPE_CHECKING:
    from rxmps3 import bells, reducers
    from rxmps3.database.connect import Connecting, ConnectOptions, connect
    from rxmps3.database.database import Database
    from rxmps3.database.past import Difference, KeyVersion, Past, Recorded
    from rxmps3.database.presence import Participant, Presence
    from rxmps3.database.receipts import Receipts
    from rxmps3.database.transaction import Transaction
    from rxmps3.model.collections.delta import Delta
    from rxmps3.model.snapshot import Snapshot
    from rxmps3.model.state import Entry, ManifestVersion, View, Write
    from rxmps3.model.valuetext import Blob
    from rxmps3.replica.budget import Budget
    from rxmps3.replica.cost import Cost
    from rxmps3.replica.options import Status
    from rxmps3.replica.receipt import Receipt
    from rxmps3.storage.metered import Usage
    from rxmps3.storage.prices import Prices
    from rxmps3.streams.collection import Collection, Grouped, Sorted
    from rxmps3.streams.events import Change, Reset
    from rxmps3.streams.key import Key, KeyEntry
    from rxmps3.streams.stream import Live, Stream

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "AccessDenied",
    "Blob",
    "BucketNotFound",
    "Budget",
    "Change",
    "Closed",
    "Collection",
    "Conflict",
    "ConnectOptions",
    "Connecting",
    "Corrupt",
    "Cost",
    "Database",
    "Delta",
    "Difference",
    "Entry",
    "Error",
    "Failure",
    "Gone",
    "Grouped",
    "InvalidInput",
    "InvalidKey",
    "InvalidOption",
    "InvalidValue",
    "Key",
    "KeyEntry",
    "KeyVersion",
    "Live",
    "ManifestVersion",
    "NotKept",
    "NotLoaded",
    "NotSent",
    "OutcomeUnknown",
    "Overloaded",
    "Participant",
    "Past",
    "Presence",
    "Prices",
    "Receipt",
    "Receipts",
    "Recorded",
    "Rejected",
    "Replaced",
    "Reset",
    "Snapshot",
    "Sorted",
    "Status",
    "Stream",
    "Throttled",
    "Transaction",
    "Unavailable",
    "Unsupported",
    "UnsureTime",
    "Usage",
    "View",
    "Write",
    "WrongLoop",
    "bells",
    "connect",
    "reducers",
]

_HOMES = {
    "Connecting": "rxmps3.database.connect",
    "ConnectOptions": "rxmps3.database.connect",
    "connect": "rxmps3.database.connect",
    "Database": "rxmps3.database.database",
    "Difference": "rxmps3.database.past",
    "KeyVersion": "rxmps3.database.past",
    "Past": "rxmps3.database.past",
    "Recorded": "rxmps3.database.past",
    "Participant": "rxmps3.database.presence",
    "Presence": "rxmps3.database.presence",
    "Receipts": "rxmps3.database.receipts",
    "Transaction": "rxmps3.database.transaction",
    "Delta": "rxmps3.model.collections.delta",
    "Snapshot": "rxmps3.model.snapshot",
    "Entry": "rxmps3.model.state",
    "ManifestVersion": "rxmps3.model.state",
    "View": "rxmps3.model.state",
    "Write": "rxmps3.model.state",
    "Blob": "rxmps3.model.valuetext",
    "Budget": "rxmps3.replica.budget",
    "Cost": "rxmps3.replica.cost",
    "Prices": "rxmps3.storage.prices",
    "Status": "rxmps3.replica.options",
    "Usage": "rxmps3.storage.metered",
    "Receipt": "rxmps3.replica.receipt",
    "Collection": "rxmps3.streams.collection",
    "Grouped": "rxmps3.streams.collection",
    "Sorted": "rxmps3.streams.collection",
    "Change": "rxmps3.streams.events",
    "Reset": "rxmps3.streams.events",
    "Key": "rxmps3.streams.key",
    "KeyEntry": "rxmps3.streams.key",
    "Live": "rxmps3.streams.stream",
    "Stream": "rxmps3.streams.stream",
}
"""Where each name comes from that is not imported yet."""
_ROOMS = frozenset(
    {"bells", "database", "local", "log", "model", "operators", "reducers", "replica", "runtime", "storage", "streams"}
)


def __getattr__(name: str) -> Any:
    """Import what is used, when it is: a program that does nothing with a database yet starts at once."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
