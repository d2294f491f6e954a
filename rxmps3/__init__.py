"""rxmps3: a causally consistent, multiplayer key-value database in any S3-compatible bucket, as streams.

::

    import asyncio, rxmps3

    async def main():
        async with rxmps3.connect("s3://bucket/app") as db:
            db.subscribe("greeting", print)
            await db.put("greeting", "hello")

    asyncio.run(main())
"""

from rxmps3.client import Database
from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Closed,
    Conflict,
    Corrupt,
    Error,
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
    Throttled,
    Unavailable,
    Unsupported,
    WrongLoop,
)
from rxmps3.failures import Failure
from rxmps3.missing import MISSING
from rxmps3.opening import Connecting, connect
from rxmps3.options import Status
from rxmps3.past import Difference, KeyVersion, Past, Recorded
from rxmps3.presence import Participant, Presence
from rxmps3.receipt import Receipt
from rxmps3.receipts import Receipts
from rxmps3.state import Entry, ManifestVersion, View, Write
from rxmps3.streams.events import Change, Reset
from rxmps3.streams.key import Key, KeyEntry
from rxmps3.streams.stream import Live, Stream
from rxmps3.transaction import Transaction

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "AccessDenied",
    "BucketNotFound",
    "Change",
    "Closed",
    "Conflict",
    "Connecting",
    "Corrupt",
    "Database",
    "Difference",
    "Entry",
    "Error",
    "Failure",
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
    "Receipt",
    "Receipts",
    "Recorded",
    "Rejected",
    "Reset",
    "Status",
    "Stream",
    "Throttled",
    "Transaction",
    "Unavailable",
    "Unsupported",
    "View",
    "Write",
    "WrongLoop",
    "connect",
]
