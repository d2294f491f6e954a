"""rxmps3: a causally consistent, multiplayer key-value database in any S3-compatible bucket, as streams.

::

    import asyncio, rxmps3

    async def main():
        async with rxmps3.connect("s3://bucket/app") as db:
            db.subscribe("greeting", print)
            await db.put("greeting", "hello")

    asyncio.run(main())
"""

from rxmps3 import bells, reducers
from rxmps3.database.connect import Connecting, ConnectOptions, connect
from rxmps3.database.database import Database
from rxmps3.database.past import Difference, KeyVersion, Past, Recorded
from rxmps3.database.presence import Participant, Presence
from rxmps3.database.receipts import Receipts
from rxmps3.database.transaction import Transaction
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
from rxmps3.model.collections.delta import Delta
from rxmps3.model.missing import MISSING
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
