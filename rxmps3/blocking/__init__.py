"""The same database without ``await``: for scripts, threads, notebooks, Streamlit, Tk and Qt.

::

    from rxmps3.blocking import connect

    with connect("s3://bucket/app") as db:
        db.put("greeting", "hello").wait()
        print(db["greeting"])
"""

from rxmps3.blocking.database import Database, connect
from rxmps3.blocking.iteration import BlockingIteration
from rxmps3.blocking.key import BlockingKey
from rxmps3.blocking.key_list import KeyList
from rxmps3.blocking.past import BlockingPast, BlockingRecorded
from rxmps3.blocking.transaction import Transaction
from rxmps3.blocking.ui import UiQueue

__all__ = [
    "BlockingIteration",
    "BlockingKey",
    "BlockingPast",
    "BlockingRecorded",
    "Database",
    "KeyList",
    "Transaction",
    "UiQueue",
    "connect",
]
